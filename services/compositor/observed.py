"""Spans and metrics of an engine, seen from its stills and its sink: whichever engine it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context

from compositor import metrics
from compositor.engine import Engine, Sink, Stills
from compositor.planes import Planes
from compositor.spool import Spool
from compositor.timeline import Slot, Timeline
from rpckit.tracing import Attributes, past_span, span
from rpckit.video import PRESETS, Preset

_QUALITIES = {preset: quality.name.lower() for quality, preset in PRESETS.items()}

Compose = Callable[[Preset, Timeline, Stills, Sink, Spool | None], None]


def observed(engine: Engine) -> Compose:
    """The engine's `compose`, to be called in another thread.

    What it logs and traces there belongs to where this was called.
    """
    context = copy_context()

    def compose(
        preset: Preset, timeline: Timeline, stills: Stills, sink: Sink, stored: Spool | None
    ) -> None:
        context.run(_compose, engine, preset, timeline, stills, sink, stored)

    return compose


def _compose(
    engine: Engine,
    preset: Preset,
    timeline: Timeline,
    stills: Stills,
    sink: Sink,
    stored: Spool | None,
) -> None:
    quality = _QUALITIES[preset]
    watch = _Watch(quality, timeline, stills, sink)
    with span("encode", {"gator.video.quality": quality}) as encoding:
        try:
            engine.compose(preset, timeline, watch, watch, stored)
        finally:
            encoding.set_attributes(
                {
                    "gator.video.encoder": engine.description,
                    "gator.video.pictures": watch.pictures,
                    "gator.video.bytes": watch.size,
                    "gator.encode.seconds": round(watch.worked(), 3),
                }
            )
            metrics.SECONDS.labels(quality).inc(watch.worked())


class _Watch:
    """Stands between an engine and its stills and sink; see both."""

    def __init__(self, quality: str, timeline: Timeline, stills: Stills, sink: Sink) -> None:
        self.pictures = 0
        self.size = 0
        self._stills = stills
        self._sink = sink
        self._transitions = deque(
            (index, slot)
            for index, slot in enumerate(timeline.slots)
            if slot.transition_frame_count
        )
        self._began: int | None = None
        self._last = time.time_ns()
        self._counted = metrics.PICTURES.labels(quality)
        self._bytes = metrics.BYTES.labels(quality)
        self._started = time.monotonic()
        self._waited = 0.0
        # What is asked for each picture and says nothing.
        self.check = sink.check
        self.release = stills.release

    def worked(self) -> float:
        """Seconds that the engine did not wait, so far."""
        return time.monotonic() - self._started - self._waited

    def get(self, timeout: float | None = None) -> Planes | None:
        """See `engine.Stills`."""
        asked = time.monotonic()
        try:
            return self._stills.get(timeout)
        finally:
            self._waited += time.monotonic() - asked
            self._last = time.time_ns()

    def write(self, data: bytes) -> int:
        """See `engine.Sink`."""
        asked = time.monotonic()
        taken = self._sink.write(data)
        self._waited += time.monotonic() - asked
        self.size += taken
        self._bytes.inc(taken)
        return taken

    def progress(self, frames: int) -> None:
        """See `engine.Sink`."""
        self._counted.inc(frames - self.pictures)
        self.pictures = frames
        now = time.time_ns()
        if self._transitions:
            self._follow(*self._transitions[0], now)
        self._last = now
        self._sink.progress(frames)

    def _follow(self, index: int, slot: Slot, now: int) -> None:
        """Tells of a transition once its last picture is made."""
        if self._began is None and self.pictures > slot.first_frame + slot.hold_frame_count:
            # The picture that is told now is its first.
            self._began = self._last
        if self._began is not None and self.pictures >= slot.first_frame + slot.frame_count:
            attributes: Attributes = {
                "gator.transition": slot.transition.name.lower(),
                "gator.scene.index": index,
                "gator.transition.pictures": slot.transition_frame_count,
            }
            past_span("transition", self._began, now, attributes)
            self._began = None
            self._transitions.popleft()
