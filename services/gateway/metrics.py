"""Counters and gauges of the gateway, as Prometheus reads them."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterable

from prometheus_client import Counter, Gauge

from gateway.jobs.records import Priority, QueueDepth
from gateway.jobs.states import RenderState

_DEPTH = Gauge(
    "gator_renders",
    "Renders of the database that wait or run, of all owners, by state and priority.",
    ["state", "priority"],
)
RUNNING = Gauge("gator_renders_running_here", "Renders that run in this process.")
ATTEMPTS = Counter(
    "gator_render_attempts",
    "Attempts that ended in this process, by what became of them.",
    ["outcome"],
)
LEASES_LOST = Counter(
    "gator_render_leases_lost",
    "Leases of this process that ended before their work: cancelled, taken over, or given up.",
)
FRAMES_GENERATED = Counter("gator_frames_generated", "Frames that were made for a render.")
FRAMES_REUSED = Counter("gator_frames_reused", "Frames that were stored and not made again.")
WATCHERS = Gauge("gator_watchers", "Streams of this process that watch a render.")


def show_depth(depths: Iterable[QueueDepth]) -> None:
    """Sets gator_renders{state,priority}; what is not in `depths` is 0."""
    counts: Count[tuple[RenderState, Priority]] = Count()
    for depth in depths:
        counts[depth.state, depth.priority] += depth.count
    for state in (RenderState.QUEUED, RenderState.RUNNING):
        for priority in Priority:
            labels = (state.name.lower(), priority.name.lower())
            _DEPTH.labels(*labels).set(counts[state, priority])
