"""What a server can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gator_client.video import Backend, Codec, Preset, Quality, Transition


@dataclass(frozen=True)
class BackendCapability:
    """State of one backend."""

    backend: Backend
    available: bool
    """Whether it can make a frame now."""
    models: tuple[str, ...]
    """Names of its models, the one in use first."""
    message: str
    """Where it is not available: why, and what to do."""


@dataclass(frozen=True)
class CodecCapability:
    """A codec and what codes it."""

    codec: Codec
    encoder: str
    """What codes the pictures, such as "x264 veryfast crf 18"."""
    hardware: bool
    """Whether a device made for it does."""


@dataclass(frozen=True)
class Device:
    """The device on which models run."""

    type: str
    """"cuda", "rocm", "mps" or "cpu"."""
    name: str
    """Its name; empty where it has none."""
    total_memory_bytes: int
    """0 where it is not known."""
    free_memory_bytes: int
    """0 where it is not known."""


@dataclass(frozen=True)
class Limits:
    """Limits on requests; times in seconds."""

    max_scenes: int
    max_prompt_characters: int
    max_scene_duration: float
    max_transition_duration: float
    max_total_duration: float
    max_total_pixels: int
    """Pictures times pixels of a video."""


@dataclass(frozen=True)
class Capabilities:
    """What a server can do."""

    presets: Mapping[Quality, Preset]
    transitions: tuple[Transition, ...]
    backends: tuple[BackendCapability, ...]
    """In the order in which they are tried."""
    device: Device
    limits: Limits
    encoder: str
    """What codes the pictures of H.264 videos, such as "x264 veryfast crf 18"."""
    version: str
    """Version of the server."""
    codecs: tuple[CodecCapability, ...] = ()
    """Codecs there are; none where the server is too old to tell."""
