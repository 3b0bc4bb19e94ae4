"""States of a render, what may follow what, and when it is tried again. Pure: no I/O.

QUEUED ── CLAIM ──> RUNNING ── SUCCEED ──> SUCCEEDED
   ^                 │  │ └─── FAIL ─────> FAILED
   └ RETRY, RELEASE ─┘  └───── CANCEL ───> CANCELLED   (from QUEUED too)

A worker that dies leaves its render RUNNING with a lease that runs out; the next worker
claims it from there. SUCCEEDED, FAILED and CANCELLED are final.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, IntEnum
from types import MappingProxyType

MAX_FAILURES = 5
"""Attempts that may end without having got any further before a render fails."""
FIRST_BACKOFF = timedelta(seconds=2)
"""Wait before a render is tried again after its first failure."""
BACKOFF_GROWTH = 5
"""By which the wait is multiplied with each further failure: what kills an attempt at once may be
away for 5 minutes (2 + 10 + 50 + 250 s) before a render fails."""
LONGEST_BACKOFF = timedelta(minutes=5)
"""The most that this growth comes to."""
LONGEST_RETRY_AFTER = timedelta(hours=1)
"""The most that a service's own wish for a wait is followed."""


class RenderState(Enum):
    """State of a render, by its name in the database."""

    QUEUED = "queued"
    """It waits for a worker, perhaps until a time."""
    RUNNING = "running"
    """A worker holds its lease, or held it and died."""
    SUCCEEDED = "succeeded"
    """Its video was published."""
    FAILED = "failed"
    """It could not be made."""
    CANCELLED = "cancelled"
    """Somebody stopped it."""

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self in ENDED


class Change(Enum):
    """What happens to a render."""

    CLAIM = "claim"
    """A worker takes it: one that waits, or one whose worker lost its lease."""
    SUCCEED = "succeed"
    """Its worker published the video."""
    FAIL = "fail"
    """Its worker gave it up for good."""
    RETRY = "retry"
    """Its worker met an error that may pass; it waits for another attempt."""
    RELEASE = "release"
    """Its worker shuts down and hands it back."""
    CANCEL = "cancel"
    """Its owner stopped it, or went away."""


class Phase(IntEnum):
    """How far an attempt has come. To reach a phase for the first time is to get further."""

    CLAIMED = 0
    """Nothing was done yet."""
    GENERATING = 1
    """Frames of scenes are being made or looked up."""
    ENCODING = 2
    """The compositor has the first frame."""
    STORING = 3
    """Every picture is encoded; the video is being stored."""
    PUBLISHING = 4
    """The stored video was read back and is right."""


class IllegalChange(Exception):  # noqa: N818 - a bug of the caller, named by what it is
    """A change that the render's state does not allow."""


TRANSITIONS: Mapping[tuple[RenderState, Change], RenderState] = MappingProxyType(
    {
        (RenderState.QUEUED, Change.CLAIM): RenderState.RUNNING,
        (RenderState.QUEUED, Change.CANCEL): RenderState.CANCELLED,
        # Only once its lease has run out.
        (RenderState.RUNNING, Change.CLAIM): RenderState.RUNNING,
        (RenderState.RUNNING, Change.SUCCEED): RenderState.SUCCEEDED,
        (RenderState.RUNNING, Change.FAIL): RenderState.FAILED,
        (RenderState.RUNNING, Change.RETRY): RenderState.QUEUED,
        (RenderState.RUNNING, Change.RELEASE): RenderState.QUEUED,
        (RenderState.RUNNING, Change.CANCEL): RenderState.CANCELLED,
    }
)
"""Every state that follows from a change of another; what is not here cannot happen."""

ENDED = frozenset(state for state in RenderState if not any(of is state for of, _ in TRANSITIONS))
"""States that nothing follows: SUCCEEDED, FAILED, CANCELLED."""


def after(state: RenderState, change: Change) -> RenderState:
    """The state that follows; IllegalChange where none does."""
    try:
        return TRANSITIONS[state, change]
    except KeyError:
        raise IllegalChange(f"{change.name} of a render that is {state.name}") from None


def before(change: Change) -> frozenset[RenderState]:
    """The states that allow `change`."""
    return frozenset(state for state, of in TRANSITIONS if of is change)


def backoff(failures: int) -> timedelta:
    """How long a render waits that failed `failures` times (0: it got further each time)."""
    # Beyond the tenth power the bound is long reached.
    growth: int = BACKOFF_GROWTH ** min(max(failures - 1, 0), 10)
    return min(FIRST_BACKOFF * growth, LONGEST_BACKOFF)


def failures_after(failures: int, *, progressed: bool) -> int:
    """Failures once an attempt has ended without success.

    An attempt that stored a new scene or reached a new phase is none: a long render may
    be interrupted as often as it likes, as long as it gets further.
    """
    return failures if progressed else failures + 1


def exhausted(failures: int) -> bool:
    """Whether no further attempt is made."""
    return failures >= MAX_FAILURES


@dataclass(frozen=True)
class Verdict:
    """What becomes of a render after an error."""

    change: Change
    """FAIL or RETRY."""
    failures: int
    """Attempts that count as failed, this one included."""
    wait: timedelta
    """How long it waits before it is claimed again; 0 for FAIL."""


def judge(
    failures: int,
    *,
    progressed: bool,
    transient: bool,
    counts: bool = True,
    retry_after: timedelta | None = None,
) -> Verdict:
    """What becomes of a render whose attempt ended with an error.

    Args:
        failures: attempts that failed before.
        progressed: whether this one got further than all before.
        transient: whether the error may pass. One that cannot fails the render at once.
        counts: whether the render may be the cause. What another has said of itself, that it
            is full or away, is waited for as long as it lasts.
        retry_after: how long the service that raised it wants to be left alone; wins over
            the backoff.
    """
    counted = failures_after(failures, progressed=progressed or not counts)
    if not transient or exhausted(counted):
        return Verdict(Change.FAIL, counted, timedelta(0))
    wait = backoff(counted)
    if retry_after is not None:
        wait = min(max(retry_after, timedelta(0)), LONGEST_RETRY_AFTER)
    return Verdict(Change.RETRY, counted, wait)
