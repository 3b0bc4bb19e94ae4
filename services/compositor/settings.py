"""Settings of the compositor; variables begin with GATOR_COMPOSITOR_."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rpckit.settings import ServerSettings, settings_config

X264Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"
]


class Settings(ServerSettings):
    """What the compositor can be told."""

    model_config = settings_config("GATOR_COMPOSITOR_")

    x264_preset: X264Preset = "veryfast"
    """How much time x264 takes for a smaller file."""
    crf: float = Field(default=18.0, ge=10, le=40)
    """Quality that is kept while the preset's bit rate allows it; lower is better."""
    gop_seconds: float = Field(default=8.0, ge=1, le=10)
    """Longest time between two pictures at which a player can start, in seconds."""
    threads: int = Field(default=0, ge=0, le=64)
    """Pictures of one video that are coded at the same time; each takes about 40 MB at 4K.
    0 takes the number of CPUs, at most 16."""
    max_concurrent: int = Field(default=4, ge=1, le=64)
    """Videos that are composed at the same time; each takes up to about 1 GB at 4K. More are
    refused with RESOURCE_EXHAUSTED."""
    retry_after: float = Field(default=1.0, gt=0, le=60)
    """Seconds after which a refused caller is told to try again."""
    flush_after: float = Field(default=0.25, ge=0, le=60)
    """Seconds that a scene's frame may be late before the encoder sends what it holds back.
    That costs a picture at which a player can start."""
