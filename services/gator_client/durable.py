"""Renders that outlive their client: as they stand, and what watching and downloading tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gator_client.errors import RenderFailure
from gator_client.result import (
    ConnectionLost,
    RenderProgress,
    RenderResult,
    RenderWarning,
    ScenePreview,
    SceneProgress,
)
from gator_client.scene import Storyboard
from gator_client.video import VideoForm


class RenderState(StrEnum):
    """State of a render. Succeeded, failed and cancelled are final."""

    QUEUED = "queued"
    """It waits for a worker."""
    RUNNING = "running"
    """A worker is making it."""
    SUCCEEDED = "succeeded"
    """Its video is there."""
    FAILED = "failed"
    """It could not be made; `error` says why."""
    CANCELLED = "cancelled"
    """It was cancelled."""
    UNKNOWN = "unknown"
    """One that this version of the SDK does not know."""

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self in (RenderState.SUCCEEDED, RenderState.FAILED, RenderState.CANCELLED)


class Priority(StrEnum):
    """Which renders are made first."""

    INTERACTIVE = "interactive"
    """Somebody waits for it: before all batch renders. The default of `render`."""
    BATCH = "batch"
    """When there is time. The default of `create`."""


@dataclass(frozen=True)
class Render:
    """A render as it stands."""

    render_id: str
    """Identifies the render, in logs too."""
    state: RenderState
    request: Storyboard
    """What is really made, every default filled in. Its scenes and options can be rendered
    again, or changed and rendered."""
    warnings: tuple[RenderWarning, ...]
    """What was changed in the request, and what came up on the way."""
    create_time: datetime
    """By the server's clock, in UTC, as all times here."""
    start_time: datetime | None
    """When a worker first took it; None before."""
    end_time: datetime | None
    """When it ended; None before."""
    expire_time: datetime | None
    """When its video is deleted; None while it is kept."""
    progress: RenderProgress
    scene_progress: tuple[SceneProgress, ...]
    """The scenes in order, as far as they are. Empty in a list of renders."""
    attempts: int
    """How often a worker has taken it."""
    error: RenderFailure | None
    """Why it failed; also set while it waits to be tried again after an error."""
    result: RenderResult | None
    """The stored video, if the state is succeeded. None in a list of renders."""
    sequence: int
    """Number of the last event that this shows: `watch` goes on after it."""
    retry_of: str
    """The render of which this is a retry; empty if it is none."""
    attached: bool
    """Whether it is cancelled when nobody has been attached for 30 s."""
    request_id: str
    labels: Mapping[str, str]
    priority: Priority | None


WatchEvent = Render | RenderProgress | SceneProgress | ScenePreview | ConnectionLost
"""What `watch` yields: the render as it stands first, and last as it ended."""


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is."""

    received: int
    """Bytes that are there, those of an earlier try included."""
    size_bytes: int | None
    """Number of bytes of the whole; None while the video is being encoded."""
    resumed_at: int
    """Bytes that were there when this download began."""


DownloadEvent = DownloadProgress | ConnectionLost
"""What `download` tells its `on_event`."""


@dataclass(frozen=True)
class DownloadedVideo:
    """A video that was downloaded; its size and SHA-256 were checked."""

    render_id: str
    size_bytes: int
    sha256: str
    """SHA-256 of the video's bytes, in hexadecimal."""
    form: VideoForm | None
    resumed_at: int
    """Bytes that an earlier download had brought."""
