"""Checks of what plays videos: decoders against each other, and a page for browsers and phones.

The compressed-domain engine uses parts of H.264 that other encoders rarely do.
FFmpeg and OpenH264 agree on them bit for bit; hardware is another matter.
"""
