"""Counters of frame generation, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Counter

from rpckit.provenance import Backend, PassedOver

_FRAMES = Counter("gator_frames", "Frames that were made, by backend.", ["backend"])
_PASSED_OVER = Counter(
    "gator_backends_passed_over",
    "Backends that were wanted and did not make a frame, by reason (gator.type.v1.ErrorReason).",
    ["backend", "reason"],
)


def frame_made(backend: Backend) -> None:
    """Counts a frame: gator_frames_total{backend}."""
    _FRAMES.labels(backend.name.lower()).inc()


def backends_passed_over(passed_over: Sequence[PassedOver]) -> None:
    """Counts each: gator_backends_passed_over_total{backend,reason}."""
    for over in passed_over:
        _PASSED_OVER.labels(over.backend.name.lower(), over.reason).inc()
