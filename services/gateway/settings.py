"""Settings of the gateway: the environment's variables that begin with GATOR_GATEWAY_."""

from __future__ import annotations

from fractions import Fraction

from pydantic import DirectoryPath, Field

from gateway.request import Limits
from rpckit.settings import ServerSettings, settings_config


class Settings(ServerSettings):
    """What the gateway can be told."""

    model_config = settings_config("GATOR_GATEWAY_")

    listen: str = "127.0.0.1:50051"
    """Address to listen on, host:port. Port 0 takes a free one."""
    frame_gen_target: str = "127.0.0.1:50052"
    """Where the frame generation service is, as a gRPC target."""
    compositor_target: str = "127.0.0.1:50053"
    """Where the compositor is, as a gRPC target."""
    max_concurrent_renders: int = Field(default=32, ge=1, le=10_000)
    """Renders at a time; one more is refused with RESOURCE_EXHAUSTED."""
    max_concurrent_scenes: int = Field(default=4, ge=1, le=500)
    """Scenes of one render whose frames are made at a time."""
    scenes_ahead: int = Field(default=4, ge=1, le=500)
    """Scenes that may run ahead of the one being composed; their frames wait on disk."""
    spool_dir: DirectoryPath | None = None
    """Folder in which frames wait. Unset uses the system's for temporary files."""
    scene_attempts: int = Field(default=3, ge=1, le=20)
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
    def limits(self) -> Limits:
        """The limits on requests."""
        return Limits(
            max_scenes=self.max_scenes,
            max_prompt_characters=self.max_prompt_characters,
            max_total_duration=Fraction(self.max_total_seconds),
            max_total_pixels=self.max_total_pixels,
        )
