"""Renders measured beside ffmpeg and x264: `python -m tests.benchmarks`, or `make bench`."""
