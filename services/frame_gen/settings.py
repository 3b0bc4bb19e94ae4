"""Settings of frame generation: the environment's variables that begin with GATOR_FRAME_GEN_."""

from __future__ import annotations

import os

from pydantic import Field

from rpckit.settings import ServerSettings, settings_config


class Settings(ServerSettings):
    """What the frame generation service can be told."""

    model_config = settings_config("GATOR_FRAME_GEN_")

    listen: str = "127.0.0.1:50052"
    """Address to listen on, host:port. Port 0 takes a free one."""
    max_requests: int = Field(default=64, ge=1, le=10_000)
    """Frames that are made or wait at a time; one more is refused with RESOURCE_EXHAUSTED."""
    frame_timeout: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds that one backend may take for a frame before the next one is tried."""
    placeholder_threads: int = Field(default=min(os.cpu_count() or 1, 8), ge=1, le=64)
    """Placeholders that are drawn at a time."""
