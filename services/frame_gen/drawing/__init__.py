"""Drawing of placeholders: a gradient, and the prompt set in type. Pure functions, no I/O."""
