"""Settings of frame generation: the environment's variables that begin with GATOR_FRAME_GEN_."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from rpckit.settings import ServerSettings, settings_config

BackendName = Literal["diffusers", "openai", "placeholder"]


class Settings(ServerSettings):
    """What the frame generation service can be told."""

    model_config = settings_config("GATOR_FRAME_GEN_")

    listen: str = "127.0.0.1:50052"
    """Address to listen on, host:port. Port 0 takes a free one."""
    backends: Annotated[tuple[BackendName, ...], NoDecode] = ("diffusers", "openai", "placeholder")
    """Backends in the order in which they are tried, with commas between them. Those of image
    models have settings of their own: GATOR_FRAME_GEN_DIFFUSERS_... and GATOR_OPENAI_...
    """
    max_requests: int = Field(default=64, ge=1, le=10_000)
    """Frames that are made or wait at a time; one more is refused with RESOURCE_EXHAUSTED."""
    frame_timeout: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds that one backend may take for a frame before the next one is tried."""
    placeholder_threads: int = Field(default=min(os.cpu_count() or 1, 8), ge=1, le=64)
    """Placeholders that are drawn at a time."""

    @field_validator("backends", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value
