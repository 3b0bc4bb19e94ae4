"""Settings of the gateway: the environment's variables that begin with GATOR_GATEWAY_."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import DirectoryPath, Field

from gateway.jobs.records import Admission
from gateway.request import Limits
from rpckit.auth_settings import ClientFacingSettings
from rpckit.settings import settings_config


def _user_state() -> Path:
    """The folder in which programs keep state of this user, where the system puts such."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local").expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Application Support").expanduser()
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()


class Settings(ClientFacingSettings):
    """What the gateway can be told."""

    model_config = settings_config("GATOR_GATEWAY_")

    listen: str = "127.0.0.1:50051"
    """Address to listen on, host:port. Port 0 takes a free one."""
    frame_gen_target: str = "127.0.0.1:50052"
    """Where the frame generation service is, as a gRPC target."""
    compositor_target: str = "127.0.0.1:50053"
    """Where the compositor is, as a gRPC target."""
    state_dir: Path = Field(default_factory=lambda: _user_state() / "gator")
    """Folder of the database and the objects, where the two settings below name no other."""
    database_url: str = Field(default="", pattern=r"^$|^(sqlite:///.|postgres(ql)?://)")
    """Where renders are stored: sqlite:///path/of/file or postgresql://user@host/name. Empty is
    a file in `state_dir`."""
    objects_url: str = ""
    """Where frames and videos are stored: file:///folder, s3://bucket/prefix, gs://bucket/prefix
    or az://container/prefix. Empty is a folder in `state_dir`. It belongs to one database: what
    has no render there is deleted."""
    migrate: Literal["auto", "check"] = "auto"
    """Whether the gateway brings the database's tables up to date when it starts, or only checks
    them; `python -m gateway migrate` brings them up to date."""
    max_queued: int = Field(default=10_000, ge=1, le=1_000_000)
    """Renders that wait; one more is refused with RESOURCE_EXHAUSTED."""
    max_renders_per_owner: int | None = Field(default=None, ge=1)
    """Renders of one owner that wait or run. Unset is no bound but `max_queued`."""
    max_streams_per_owner: int | None = Field(default=None, ge=1)
    """Streams of one owner that this gateway serves at a time: attached renders, watches and
    downloads. Unset is no bound."""
    video_ttl: timedelta = Field(default=timedelta(days=30), ge=timedelta(0))
    """How long a video is kept after its render has ended, in seconds or as ISO 8601 has it
    (P30D); 0 keeps it until the render is deleted."""
    frame_ttl: timedelta = Field(default=timedelta(days=30), ge=timedelta(0))
    """How long a frame is kept after a render has last used it, in seconds or as ISO 8601 has
    it (P30D); 0 keeps it for ever."""
    render_ttl: timedelta = Field(default=timedelta(days=90), ge=timedelta(0))
    """How long what is known of a render is kept after it has ended and its video is gone, in
    seconds or as ISO 8601 has it (P90D); 0 keeps it until the render is deleted."""
    max_concurrent_renders: int = Field(default=32, ge=1, le=10_000)
    """Renders that this gateway runs at a time; others wait."""
    max_concurrent_scenes: int = Field(default=4, ge=1, le=500)
    """Scenes of one render whose frames are made at a time."""
    scenes_ahead: int = Field(default=4, ge=1, le=500)
    """Scenes that may run ahead of the one being composed; their frames wait on disk."""
    spool_dir: DirectoryPath | None = None
    """Folder in which frames wait. Unset uses the system's for temporary files."""
    scene_attempts: int = Field(default=5, ge=1, le=20)
    """How often a scene is tried while the frame generation service is away or overloaded."""
    max_scenes: int = Field(default=500, ge=1, le=500)
    """Most scenes of a render."""
    max_prompt_characters: int = Field(default=4_000, ge=1, le=4_000)
    """Most characters of a prompt."""
    max_total_seconds: int = Field(default=7_200, ge=1, le=7_200)
    """Longest video."""
    max_total_pixels: int = Field(default=4_000_000_000_000, ge=1)
    """Most pictures times pixels of a video. The default admits two hours of 4K."""

    @property
    def database(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{self.state_dir / 'renders.sqlite3'}"

    @property
    def objects(self) -> str:
        """URL of the objects."""
        return self.objects_url or (self.state_dir / "objects").absolute().as_uri()

    @property
    def admission(self) -> Admission:
        """How many renders are taken in."""
        return Admission(self.max_queued, self.max_renders_per_owner or sys.maxsize)

    @property
    def limits(self) -> Limits:
        """The limits on requests."""
        return Limits(
            max_scenes=self.max_scenes,
            max_prompt_characters=self.max_prompt_characters,
            max_total_duration=Fraction(self.max_total_seconds),
            max_total_pixels=self.max_total_pixels,
        )
