"""Frame generation: one frame from one prompt.

    servicer -> convert -> service -> backends.fallback
        -> backends.{external, diffusers, openai, placeholder}

Backends are tried best first. What made a frame, and what was passed over and
why, travels with the frame.
"""
