"""What a video is made of, under the names that files and command lines use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Quality(StrEnum):
    """Quality preset of a video. `gator_client.PRESETS` has what each stands for."""

    DRAFT = "draft"
    """854x480 at 24 frames per second."""
    STANDARD = "standard"
    """1280x720 at 30 frames per second."""
    HIGH = "high"
    """1920x1080 at 30 frames per second. The default."""
    PREMIUM = "premium"
    """3840x2160 at 60 frames per second."""


class Transition(StrEnum):
    """How one scene gives way to the next."""

    FADE = "fade"
    """Through black."""
    CROSSFADE = "crossfade"
    """One dissolves evenly into the other. The default."""
    WIPE = "wipe"
    """The next scene is uncovered from the left."""
    SLIDE = "slide"
    """The next scene comes in from the right and pushes the last one out."""
    ZOOM = "zoom"
    """The last scene grows while it crossfades into the next one."""
    DISSOLVE = "dissolve"
    """The next scene appears cell by cell."""


class Codec(StrEnum):
    """How the pictures of a video are coded."""

    H264 = "h264"
    """Plays everywhere. The default."""
    HEVC = "hevc"
    """H.265: smaller files, for players that have it; takes longer to code."""
    AV1 = "av1"
    """The smallest files, for new players; takes longer to code."""


class VideoForm(StrEnum):
    """How the file of a video is laid out."""

    FRAGMENTED = "fragmented"
    """Plays while it is still being written."""
    FASTSTART = "faststart"
    """With its index in front, as videos are stored: every player seeks in it at once."""


class FallbackPolicy(StrEnum):
    """What becomes of a scene that no image model could make."""

    PLACEHOLDER = "placeholder"
    """A placeholder is shown; the scene's provenance says why. The default."""
    FAIL = "fail"
    """The render fails."""


class Backend(StrEnum):
    """What made a scene's frame."""

    DIFFUSERS = "diffusers"
    """A diffusion model on the service's own device."""
    OPENAI = "openai"
    """The OpenAI images API."""
    PLACEHOLDER = "placeholder"
    """A drawn gradient with the prompt's text."""
    CACHE = "cache"
    """A stored frame of an earlier request."""
    EXTERNAL = "external"
    """A source of images that the calling program supplied."""
    UNKNOWN = "unknown"
    """One that this version of the SDK does not know."""


class SceneState(StrEnum):
    """How far a scene is."""

    QUEUED = "queued"
    """It waits for a device or a quota."""
    GENERATING = "generating"
    """Its frame is being made."""
    FINISHED = "finished"
    """Its frame is ready."""
    UNKNOWN = "unknown"
    """One that this version of the SDK does not know."""


@dataclass(frozen=True)
class Preset:
    """What a quality stands for."""

    width: int
    """Picture width in pixels."""
    height: int
    """Picture height in pixels."""
    fps: int
    """Frames per second, constant."""
    bitrate_kbps: int
    """Ceiling of the average bit rate, in 1,000 bits per second."""
    use_case: str
    """What the preset is for, in a few words."""

    @property
    def resolution(self) -> str:
        """The size as text, such as "1920x1080"."""
        return f"{self.width}x{self.height}"
