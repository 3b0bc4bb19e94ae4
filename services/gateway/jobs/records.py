"""Renders as they are stored. Times are aware, in UTC, by the database's clock.

What clients are told travels through the store as bytes that it does not read: the caller
serializes requests, results, errors and events, and reads them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, IntEnum

from gateway.events import RenderProgress
from gateway.jobs.states import Phase, RenderState, exhausted


class Priority(IntEnum):
    """Which renders are made first: the lower number."""

    INTERACTIVE = 1
    """Somebody waits for it."""
    BATCH = 2
    """When there is time."""


@dataclass(frozen=True)
class Admission:
    """How many renders are taken in."""

    max_queued: int = 10_000
    """Renders that wait, of all owners."""
    max_per_owner: int = 1_000
    """Renders of one owner that wait or run."""


@dataclass(frozen=True)
class NewRender:
    """A render to be created."""

    render_id: str
    """Chosen by the caller, unique: creating it again is then safe after a lost answer."""
    owner: str
    """Whose it is; "" for everybody's. Each owner sees only its own."""
    request: bytes
    """The effective request."""
    scene_count: int
    frame_count: int
    fingerprint: bytes
    """SHA-256 of the content, 32 bytes: the same request_id with another one is refused."""
    request_id: str = ""
    """The client's name for the call, unique to its owner; empty where it has none."""
    warnings: bytes = b""
    """What was changed in the request."""
    priority: Priority = Priority.BATCH
    labels: Mapping[str, str] = field(default_factory=dict)
    attached_to: str = ""
    """Worker of the gateway whose client waits, which takes the render before others do.
    Empty for a render that goes on without its client."""
    retry_of: str = ""
    origin: str = ""
    """Span in which it was created, as `rpckit.tracing.current_origin` gives it."""


@dataclass(frozen=True)
class Lease:
    """The right to write a render. It ends when the render is claimed again, ends, or is cancelled.

    Each claim has an epoch of its own, higher than all before.
    """

    render_id: str
    epoch: int


class LeaseLost(Exception):  # noqa: N818 - not a fault: it is told as it is
    """The lease is another's by now, or the render has ended. Nothing was written."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(f"epoch {lease.epoch} of render {lease.render_id} is over")
        self.lease = lease


@dataclass(frozen=True)
class VideoRecord:
    """A stored video."""

    location: str
    """Name of its object, such as outputs/{render_id}/{epoch}.mp4."""
    size: int
    """Bytes."""
    sha256: bytes
    epoch: int
    """Epoch of the attempt that made it."""


@dataclass(frozen=True)
class SceneRecord:
    """A scene as far as it is."""

    index: int
    """Position, from 0."""
    progress: bytes
    """How far it is, its provenance included once it is finished."""
    frame: str = ""
    """Where its frame is stored; empty until it is finished."""
    warnings: bytes = b""
    """What came up while the frame was made."""

    @property
    def finished(self) -> bool:
        """Whether its frame is stored."""
        return bool(self.frame)


@dataclass(frozen=True)
class RenderRecord:
    """A render as it stands."""

    render_id: str
    owner: str
    request_id: str
    fingerprint: bytes
    retry_of: str
    priority: Priority
    state: RenderState
    epoch: int
    """Grows with each claim and with a cancellation."""
    sequence: int
    """Number of the last event that this shows; 1 for one that was just created."""
    phase: Phase
    """The furthest that an attempt has come."""
    progress: RenderProgress
    attempts: int
    """How often a worker has taken it."""
    failures: int
    """Attempts that ended without having got any further."""
    create_time: datetime
    due_time: datetime
    """When it may be claimed, at the earliest."""
    start_time: datetime | None
    """When a worker first took it."""
    end_time: datetime | None
    expire_time: datetime | None
    """When its video is deleted."""
    attached_until: datetime | None
    """When its client was last known to be there; None for one that goes on without."""
    worker: str
    """Who holds the lease, or held it last."""
    lease_until: datetime | None
    """When the lease runs out; None while nobody holds one."""
    error: bytes
    """Why the last attempt failed; empty where none did."""
    video: VideoRecord | None
    """The published video; None again once `expire_time` has come."""
    request: bytes
    warnings: bytes
    result: bytes
    """Empty until it has succeeded."""
    origin: str = ""
    """Span in which it was created: what its attempts are told under."""

    @property
    def attached(self) -> bool:
        """Whether it is cancelled when its client has been away for 30 s."""
        return self.attached_until is not None


@dataclass(frozen=True)
class RenderSnapshot:
    """A render and its scenes at one moment, or with scenes a little later than the render."""

    render: RenderRecord
    scenes: tuple[SceneRecord, ...]
    """In order, as far as they are."""


@dataclass(frozen=True)
class Claim:
    """A render that a worker has taken."""

    lease: Lease
    render: RenderRecord
    scenes: tuple[SceneRecord, ...]
    """What earlier attempts stored, in order."""
    taken_over: bool = False
    """Whether another worker had it, whose lease ran out."""

    @property
    def exhausted(self) -> bool:
        """Whether its attempts are used up by workers that died: to be failed, not to be tried."""
        return exhausted(self.render.failures)


class EventKind(Enum):
    """What an event tells, by its name in the database."""

    STATE = "state"
    """The render's state changed: show the render as it stands. No payload."""
    PROGRESS = "progress"
    """What the payload says."""


@dataclass(frozen=True)
class RenderEventRecord:
    """An event of a render."""

    sequence: int
    """Grows by 1 with each event of the render."""
    kind: EventKind
    payload: bytes


@dataclass(frozen=True)
class Page:
    """A page of renders, newest first."""

    renders: tuple[RenderRecord, ...]
    """Without results."""
    next_page_token: str
    """Empty on the last page."""


@dataclass(frozen=True)
class Changes:
    """What became of renders that somebody watches."""

    advanced: Mapping[str, int]
    """Renders that have newer events, and the sequence of the last one."""
    gone: frozenset[str]
    """Renders that are not there any more."""
    events: Mapping[str, list[RenderEventRecord]] = field(default_factory=dict)
    """Those newer events, in order, of the renders that have only a few."""


@dataclass(frozen=True)
class Hint:
    """That something may have changed. Hints may be lost: look by yourself every 500 ms."""

    render_ids: frozenset[str] | None
    """Renders with new events; None means any."""
    queued: bool
    """Whether a render may have become claimable."""


@dataclass(frozen=True)
class QueueDepth:
    """How many renders of an owner and a priority wait or run."""

    owner: str
    priority: Priority
    state: RenderState
    """QUEUED or RUNNING."""
    count: int
    oldest: timedelta
    """How long the oldest of them has been there."""
