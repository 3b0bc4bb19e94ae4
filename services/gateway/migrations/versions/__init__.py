"""One module a change, each with the one before it."""
