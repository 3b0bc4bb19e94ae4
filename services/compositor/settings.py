"""Settings of the compositor; variables begin with GATOR_COMPOSITOR_."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from rpckit.settings import ServerSettings, settings_config

X264Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"
]
"""The presets of x264; x265's have the same names."""


class Settings(ServerSettings):
    """What the compositor can be told."""

    model_config = settings_config("GATOR_COMPOSITOR_")

    listen: str = "127.0.0.1:50053"
    """Address to listen on, host:port. Port 0 takes a free one."""
    engine: Literal["auto", "reference"] = "auto"
    """What makes H.264 videos: `reference` codes every picture, `auto` only the stills and
    what cannot be told from them."""
    x264_preset: X264Preset = "veryfast"
    """How much time x264 takes for a smaller file."""
    intra_preset: X264Preset = "superfast"
    """The same for stills that are coded on their own; slower ones gain little there."""
    h264_encoder: Literal["x264", "h264_nvenc", "h264_vaapi", "auto"] = "x264"
    """What codes the H.264 pictures of the reference engine. A device that is named is used
    instead of the engine `auto` as well, and keeps the service from starting if it cannot.
    `auto` takes a device that can, or x264."""
    x265_preset: X264Preset = "veryfast"
    """How much time x265 takes for a smaller HEVC file."""
    svtav1_preset: int = Field(default=8, ge=4, le=12)
    """How much time SVT-AV1 takes for a smaller AV1 file; lower is slower."""
    crf: float = Field(default=18.0, ge=10, le=40)
    """Quality that is kept while the preset's bit rate allows it; lower is better. On x264's
    scale for all codecs."""
    gop_seconds: float = Field(default=8.0, ge=1, le=10)
    """Longest time between two pictures at which a player can start, in seconds."""
    threads: int = Field(default=0, ge=0, le=64)
    """Pictures of one video that are coded at the same time; each takes about 40 MB at 4K.
    0 takes the number of CPUs, at most 16."""
    max_concurrent: int = Field(default=4, ge=1, le=64)
    """Videos that are composed at the same time; each takes up to about 1 GB at 4K. More are
    refused with RESOURCE_EXHAUSTED."""
    spool_dir: Path | None = None
    """Folder for videos that wait, complete, to be sent in their stored form; it must exist.
    Unset is the system's for temporary files."""
    retry_after: float = Field(default=1.0, gt=0, le=60)
    """Seconds after which a refused caller is told to try again."""
    flush_after: float = Field(default=0.25, ge=0, le=60)
    """Seconds that a scene's frame may be late before the encoder sends what it holds back.
    That costs a picture at which a player can start."""
