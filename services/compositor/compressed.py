"""The compressed-domain engine: codes each still once, and writes the rest as syntax.

A held picture is the still once more, a transition is told where it can be (see
`telling`), and only what cannot, such as a zoom, is coded by x264, as groups of
pictures of its own in the same stream. The cost of a video is that of its stills.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from compositor.encoder.mp4 import Mp4, Track
from compositor.encoder.segments import SegmentCoder
from compositor.encoder.stills import IntraCoder
from compositor.encoder.x264 import X264Coding, x264_version
from compositor.engine import Sink, Stills
from compositor.gops import ScenePlan, plan
from compositor.h264.coded import PictureReader, read_parameter_sets
from compositor.h264.format import Format
from compositor.h264.levels import lowest_level
from compositor.h264.references import Reference
from compositor.h264.stream import AccessUnit, Stream
from compositor.planes import Planes
from compositor.rate import Ceiling, still_budgets
from compositor.spool import Spool
from compositor.stillcoding import CodedStill, StillCoder
from compositor.telling import TransitionTeller, can_be_told
from compositor.timeline import Timeline
from compositor.transitions import WIDE, compose
from rpckit.video import Preset

STILL_CRF_OFFSET = -2
"""How much finer a still is coded than a whole video: every picture shows what it has. With
two steps, videos measure above x264's "medium" at the whole video's crf, in about half of its
bytes (docs/benchmarks.md)."""


class CompressedEngine:
    """See `engine.Engine`."""

    def __init__(self, coding: X264Coding, intra_preset: str = "superfast") -> None:
        """`coding` is for transitions that x264 codes, and its crf and GOP for all."""
        self._coding = coding
        self._intra_preset = intra_preset

    @property
    def _still_crf(self) -> float:
        return self._coding.crf + STILL_CRF_OFFSET

    @property
    def description(self) -> str:
        """See `engine.Engine`."""
        stills = f"{x264_version()} {self._intra_preset} crf {self._still_crf:g}"
        return f"compressed domain, stills by {stills}"

    def scenes(self, preset: Preset, timeline: Timeline) -> tuple[ScenePlan, ...]:
        """What is told, what is coded, and where readers can start."""
        ceiling = _ceiling(preset)
        return plan(
            timeline,
            self._coding.gop_pictures(preset.fps),
            lambda index: can_be_told(timeline.slots[index], preset, ceiling),
        )

    def compose(
        self,
        preset: Preset,
        timeline: Timeline,
        stills: Stills,
        sink: Sink,
        stored: Spool | None = None,
    ) -> None:
        """See `engine.Engine`."""
        scenes = self.scenes(preset, timeline)
        longest = self._coding.gop_pictures(preset.fps)
        budgets = still_budgets(scenes, preset.fps, _ceiling(preset))
        coder = IntraCoder(preset, x264_preset=self._intra_preset, crf=self._still_crf)
        segments = SegmentCoder(preset, self._coding, longest)
        form = _format(preset)
        stream = Stream(
            form,
            read_parameter_sets(coder.parameter_sets())[1],
            read_parameter_sets(segments.parameter_sets())[1],
        )
        track = Track("h264", preset.width, preset.height, preset.fps, stream.avcc)
        output = _Output(Mp4(track, sink, stored), sink, form.reorder)
        still_coder = StillCoder(stills, coder, budgets, _kept(scenes))
        try:
            _Walk(preset, stream, output, still_coder, stills, segments).along(scenes)
            output.close()
        except BaseException:
            output.abort()
            raise
        finally:
            still_coder.close()


def _format(preset: Preset) -> Format:
    if preset.width <= WIDE:
        return Format(preset.width, preset.height, preset.fps, preset.h264_level)
    # In a slide that wide, a picture half way is decoded ahead beside the next still.
    # OpenH264 has no more buffers than references and two, and would run out of them.
    return Format(
        preset.width,
        preset.height,
        preset.fps,
        preset.h264_level,
        reorder=2,
        max_references=5,
    )


def _ceiling(preset: Preset) -> Ceiling:
    """The design's ceilings: 1.5 and 2 times the preset's bit rate, and the level's MinCR."""
    columns, rows = -(-preset.width // 16), -(-preset.height // 16)
    level = lowest_level(columns, rows, preset.fps, 1, minimum=preset.h264_level)
    largest = min(
        level.first_picture_bytes(columns, rows), level.picture_bytes(Fraction(1, preset.fps))
    )
    return Ceiling(rate=preset.bitrate * 1.5, buffer=preset.bitrate * 2, picture=largest * 8)


def _kept(scenes: tuple[ScenePlan, ...]) -> list[bool]:
    """Whether each still is needed as planes: a transition beside it is coded."""
    coded = [not scene.told for scene in scenes]
    return [before or after for before, after in zip([False, *coded[:-1]], coded, strict=True)]


class _Output:
    """The file, as pictures in decoding order."""

    def __init__(self, mp4: Mp4, sink: Sink, reorder: int) -> None:
        self._mp4 = mp4
        self._sink = sink
        self._next_dts = -reorder
        self._frames = 0

    def add(self, unit: AccessUnit) -> None:
        self._sink.check()
        self._mp4.add(unit.data, pts=unit.output, dts=self._next_dts, key=unit.idr)
        self._next_dts += 1
        self._frames += 1
        self._sink.progress(self._frames)

    def close(self) -> None:
        self._mp4.close()

    def abort(self) -> None:
        self._mp4.abort()


class _Walk:
    """One pass along the scenes."""

    def __init__(
        self,
        preset: Preset,
        stream: Stream,
        output: _Output,
        coder: StillCoder,
        stills: Stills,
        segments: SegmentCoder,
    ) -> None:
        self._preset = preset
        self._stream = stream
        self._output = output
        self._coder = coder
        self._stills = stills
        self._segments = segments
        self._teller = TransitionTeller(stream, preset)

    def along(self, scenes: tuple[ScenePlan, ...]) -> None:
        still = self._coder.next()
        shown = self._intra(still, 0, idr=True)
        for index, scene in enumerate(scenes):
            shown = self._hold(scene, still, shown)
            if index + 1 < len(scenes):
                following = self._coder.next()
                shown = self._transition(index, scene, still, shown, following)
                if still.planes is not None:
                    self._stills.release()
                still = following

    def _intra(self, still: CodedStill, frame: int, *, idr: bool) -> Reference:
        unit, reference = self._stream.intra(still.picture, frame, idr=idr)
        self._output.add(unit)
        return reference

    def _hold(self, scene: ScenePlan, still: CodedStill, shown: Reference) -> Reference:
        idrs = frozenset(scene.idrs)
        for frame in range(scene.slot.first_frame + 1, scene.first_transition_frame):
            if frame in idrs:
                shown = self._intra(still, frame, idr=True)
            else:
                self._output.add(self._stream.hold(shown, frame))
            if frame % self._preset.fps == 0:
                self._coder.fill()
        return shown

    def _transition(
        self,
        index: int,
        scene: ScenePlan,
        still: CodedStill,
        shown: Reference,
        following: CodedStill,
    ) -> Reference:
        """The pictures of the transition and the first of the scene that comes."""
        slot = scene.slot
        next_frame = slot.first_frame + slot.frame_count
        if scene.transition_is_told:
            coming = self._intra(following, next_frame, idr=False)
            for unit in self._teller.pictures(slot, index, shown, coming):
                self._output.add(unit)
            return coming
        if not scene.told:
            self._segment(index, scene, still, following)
        return self._intra(following, next_frame, idr=True)

    def _segment(
        self, index: int, scene: ScenePlan, still: CodedStill, following: CodedStill
    ) -> None:
        reader = PictureReader()
        a, b = still.planes, following.planes
        assert a is not None and b is not None  # noqa: S101, PT018 - they are kept for this
        coded = self._segments.code(self._blended(scene, a, b, index))
        pictures = (reader.read(unit.data) for unit in coded)
        for unit in self._stream.segment(pictures, scene.first_transition_frame):
            self._output.add(unit)

    def _blended(self, scene: ScenePlan, a: Planes, b: Planes, index: int) -> Iterator[Planes]:
        blend = Planes.empty(a.width, a.height)
        for p in scene.slot.progress():
            compose(scene.slot.transition, a, b, p, index, blend)
            yield blend
