"""The reference engine: makes every picture in planes and has it coded."""

from __future__ import annotations

from compositor.encoder.codec import PictureCoder
from compositor.encoder.pictures import Encoder
from compositor.engine import Sink, Stills
from compositor.planes import Planes
from compositor.spool import Spool
from compositor.timeline import Slot, Timeline
from compositor.transitions import compose
from rpckit.video import Preset


class ReferenceEngine:
    """See `engine.Engine`."""

    def __init__(self, coder: PictureCoder, flush_after: float) -> None:
        """`flush_after` is how many seconds a still may be late before what there is is sent."""
        self._coder = coder
        self._flush_after = flush_after

    @property
    def description(self) -> str:
        """See `engine.Engine`."""
        return self._coder.description

    def compose(
        self,
        preset: Preset,
        timeline: Timeline,
        stills: Stills,
        sink: Sink,
        stored: Spool | None = None,
    ) -> None:
        """See `engine.Engine`."""
        encoder = Encoder(preset, self._coder, sink, stored)
        try:
            _Walk(encoder, preset, stills, sink, self._flush_after).along(timeline)
            encoder.close()
        except BaseException:
            encoder.abort()
            raise


class _Walk:
    """One pass along a timeline."""

    def __init__(
        self, encoder: Encoder, preset: Preset, stills: Stills, sink: Sink, flush_after: float
    ) -> None:
        self._encoder = encoder
        self._stills = stills
        self._sink = sink
        self._flush_after = flush_after
        self._blend = Planes.empty(preset.width, preset.height)
        self._frames = 0

    def along(self, timeline: Timeline) -> None:
        last = len(timeline.slots) - 1
        current = self._next()
        for index, slot in enumerate(timeline.slots):
            for _ in range(slot.hold_frame_count):
                self._add(current)
            if index < last:
                following = self._next()
                self._transition(slot, index, current, following)
                current = following
                self._stills.release()

    def _transition(self, slot: Slot, index: int, a: Planes, b: Planes) -> None:
        for p in slot.progress():
            compose(slot.transition, a, b, p, index, self._blend)
            self._add(self._blend)

    def _add(self, picture: Planes) -> None:
        self._sink.check()
        self._encoder.add(picture)
        self._frames += 1
        self._sink.progress(self._frames)

    def _next(self) -> Planes:
        planes = self._stills.get(self._flush_after)
        while planes is None:
            self._encoder.flush()
            planes = self._stills.get()
        return planes
