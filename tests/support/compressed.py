"""Videos of the compressed-domain engine in both forms, from stills that are all there."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from compositor.compressed import CompressedEngine
from compositor.encoder.x264 import X264Coding
from compositor.planes import Planes
from compositor.spool import Spool
from compositor.timeline import SceneTiming, Timeline, plan
from rpckit.video import Preset, Transition

Slot = tuple[int, Transition, int]
"""Pictures of a scene, its transition, and how many of them are that transition's."""


@dataclass(frozen=True)
class Files:
    """A video."""

    streamed: Path
    stored: Path
    frame_count: int


class Ready:
    """Stills that are all there."""

    def __init__(self, planes: Iterable[Planes]) -> None:
        self._planes = iter(planes)

    def get(self, timeout: float | None = None) -> Planes | None:
        return next(self._planes, None)

    def release(self) -> None:
        pass


class FileSink:
    """A sink that is a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def progress(self, frames: int) -> None:
        pass

    def check(self) -> None:
        pass

    def close(self) -> None:
        self._file.close()


def timeline_of(preset: Preset, slots: Sequence[Slot]) -> Timeline:
    """The timeline with just these slots."""
    return plan(
        [
            SceneTiming(Fraction(count, preset.fps), transition, Fraction(n, preset.fps))
            for count, transition, n in slots
        ],
        preset.fps,
    )


def composed(
    folder: Path,
    preset: Preset,
    slots: Sequence[Slot],
    stills: Sequence[Planes],
    gop_seconds: float = 8,
) -> Files:
    """A video in `folder`; scenes take turns with the stills."""
    timeline = timeline_of(preset, slots)
    engine = CompressedEngine(X264Coding(threads=2, gop_seconds=gop_seconds))
    files = Files(folder / "streamed.mp4", folder / "stored.mp4", timeline.frame_count)
    ready = Ready(stills[i % len(stills)] for i in range(len(slots)))
    with closing(FileSink(files.streamed)) as sink, closing(Spool()) as spool:
        engine.compose(preset, timeline, ready, sink, spool)
        files.stored.write_bytes(spool.read(0, spool.size))
    return files
