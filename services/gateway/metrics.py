"""Metrics of the gateway, as Prometheus reads them."""

from __future__ import annotations

import time
from collections import Counter as Count
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from gateway.jobs.records import Priority, QueueDepth
from gateway.jobs.states import RenderState
from rpckit.errors import GatorError, Reason

_DEPTH = Gauge(
    "gator_renders",
    "Renders of the database that wait or run, of all owners, by state and priority.",
    ["state", "priority"],
)
_OLDEST = Gauge(
    "gator_renders_oldest_seconds",
    "How long the oldest of the renders that wait or run has been there, by state and priority.",
    ["state", "priority"],
)
RUNNING = Gauge("gator_renders_running_here", "Renders that run in this process.")
RUNNING_LIMIT = Gauge("gator_renders_running_limit", "Renders that may run in this process.")
AWAITING_COMPOSITOR = Gauge(
    "gator_renders_awaiting_compositor",
    "Renders of this process that run and that no compositor has taken yet.",
)
_ATTEMPTS = Counter(
    "gator_render_attempts",
    "Attempts that ended in this process, by what became of them.",
    ["outcome"],
)
_ATTEMPT_SECONDS = Histogram(
    "gator_render_attempt_seconds",
    "How long attempts took, by what became of them.",
    ["outcome"],
    buckets=(1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1_800, 3_600),
)
LEASES_LOST = Counter(
    "gator_render_leases_lost",
    "Leases that this process lost: over, the render was cancelled or is another's; given_up, "
    "the database did not answer.",
    ["how"],
)
TAKEN_OVER = Counter(
    "gator_renders_taken_over", "Renders that this process took whose worker's lease had run out."
)
FRAMES_GENERATED = Counter("gator_frames_generated", "Frames that were made for a render.")
FRAMES_REUSED = Counter("gator_frames_reused", "Frames that were stored and not made again.")
WATCHERS = Gauge("gator_watchers", "Streams of this process that watch a render.")
DOWNLOADS = Gauge("gator_downloads", "Streams of this process that send a video.")
VIDEO_SENT = Counter("gator_video_sent_bytes", "Bytes of videos that were read for clients.")
_DEPENDENCY_UP = Gauge(
    "gator_dependency_up",
    "Whether this gateway reaches what it needs (1) or not (0).",
    ["dependency"],
)

_STORE_SECONDS = Histogram(
    "gator_store_operation_seconds",
    "How long operations on the database of renders took, with waiting for it, by operation.",
    ["operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
_STORE_ERRORS = Counter(
    "gator_store_errors",
    "Operations that the database of renders could not do, by operation and reason.",
    ["operation", "reason"],
)
_OBJECT_SECONDS = Histogram(
    "gator_object_operation_seconds",
    "How long operations on the object store took, by operation.",
    ["operation"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_OBJECT_ERRORS = Counter(
    "gator_object_errors",
    "Operations that the object store could not do, by operation and reason.",
    ["operation", "reason"],
)
_AT_FAULT = (Reason.STORAGE_UNAVAILABLE, Reason.STORAGE_FULL)
"""Reasons for which a store could not do what it was asked for, and might have."""


# What may happen is shown before it does: the first time is an increase then.
for _how in ("over", "given_up"):
    LEASES_LOST.labels(_how)


def show_depth(depths: Iterable[QueueDepth]) -> None:
    """Sets gator_renders and gator_renders_oldest_seconds; what is not in `depths` is 0."""
    counts: Count[tuple[RenderState, Priority]] = Count()
    oldest: defaultdict[tuple[RenderState, Priority], float] = defaultdict(float)
    for depth in depths:
        group = depth.state, depth.priority
        counts[group] += depth.count
        oldest[group] = max(oldest[group], depth.oldest.total_seconds())
    for state in (RenderState.QUEUED, RenderState.RUNNING):
        for priority in Priority:
            labels = (state.name.lower(), priority.name.lower())
            _DEPTH.labels(*labels).set(counts[state, priority])
            _OLDEST.labels(*labels).set(oldest[state, priority])


def expect_outcomes(outcomes: Iterable[str]) -> None:
    """Shows what may become of attempts before it does."""
    for outcome in outcomes:
        _ATTEMPTS.labels(outcome)


def attempt_ended(outcome: str, seconds: float) -> None:
    """Counts an attempt that took so long."""
    _ATTEMPTS.labels(outcome).inc()
    _ATTEMPT_SECONDS.labels(outcome).observe(seconds)


def show_reached(dependency: str, *, reached: bool) -> None:
    """Sets gator_dependency_up{dependency}."""
    _DEPENDENCY_UP.labels(dependency).set(reached)


@contextmanager
def store_operation(operation: str) -> Iterator[None]:
    """Measures an operation on the database in the block."""
    with _measured(operation, _STORE_SECONDS, _STORE_ERRORS):
        yield


@contextmanager
def object_operation(operation: str) -> Iterator[None]:
    """Measures an operation on the object store in the block."""
    with _measured(operation, _OBJECT_SECONDS, _OBJECT_ERRORS):
        yield


@contextmanager
def _measured(operation: str, seconds: Histogram, errors: Counter) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    except GatorError as error:
        if error.reason in _AT_FAULT:
            errors.labels(operation, error.reason.name).inc()
        raise
    finally:
        seconds.labels(operation).observe(time.monotonic() - began)
