"""Videos of the compressed-domain engine in both forms, from stills that are all there."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from compositor.compressed import CompressedEngine
from compositor.encoder.x264 import Coding
from compositor.planes import Planes
from compositor.spool import Spool
from compositor.timeline import SceneTiming, plan
from rpckit.video import Preset, Transition

Slot = tuple[int, Transition, int]
"""Pictures of a scene, its transition, and how many of them are that transition's."""


@dataclass(frozen=True)
class Files:
    """A video."""

    streamed: Path
    stored: Path
    frame_count: int


class _Ready:
    def __init__(self, planes: Iterator[Planes]) -> None:
        self._planes = planes

    def get(self, timeout: float | None = None) -> Planes | None:
        return next(self._planes, None)

    def release(self) -> None:
        pass


class _Sink:
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


def composed(
    folder: Path,
    preset: Preset,
    slots: Sequence[Slot],
    stills: Sequence[Planes],
    gop_seconds: float = 8,
) -> Files:
    """A video in `folder`; scenes take turns with the stills."""
    timeline = plan(
        [
            SceneTiming(Fraction(count, preset.fps), transition, Fraction(n, preset.fps))
            for count, transition, n in slots
        ],
        preset.fps,
    )
    engine = CompressedEngine(Coding(threads=2, gop_seconds=gop_seconds))
    files = Files(folder / "streamed.mp4", folder / "stored.mp4", timeline.frame_count)
    ready = _Ready(stills[i % len(stills)] for i in range(len(slots)))
    with closing(_Sink(files.streamed)) as sink, closing(Spool()) as spool:
        engine.compose(preset, timeline, ready, sink, spool)
        files.stored.write_bytes(spool.read(0, spool.size))
    return files
