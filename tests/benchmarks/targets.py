"""What the compressed-domain engine is to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rpckit.video import Quality
from tests.benchmarks.rows import Row
from tests.benchmarks.table import markdown, ratio

OURS = "compressed"


@dataclass
class Results:
    """The rows of each part; empty where a part was left out."""

    frames: list[Row] = field(default_factory=list)
    memory: list[Row] = field(default_factory=list)
    arrivals: list[Row] = field(default_factory=list)

    def row(self, key: str, quality: Quality, length: str = "4x3s") -> Row | None:
        """Of a crossfade."""
        return _only(self.frames, key, f"{quality.name.lower()} {length} crossfade")


def _only(rows: Sequence[Row], key: str, job: str) -> Row | None:
    return next((row for row in rows if row.key == key and row.job.name == job), None)


@dataclass(frozen=True)
class Verdict:
    """A target and what was found; nothing where it was not measured."""

    target: str
    found: str = "not measured"
    met: bool | None = None

    @property
    def word(self) -> str:
        return {True: "met", False: "**missed**", None: ""}[self.met]


def verdicts(results: Results) -> Iterator[Verdict]:
    for quality, medium, veryfast in ((Quality.HIGH, 20, 8), (Quality.PREMIUM, 30, 12)):
        for speed, wanted in (("medium", medium), ("veryfast", veryfast)):
            yield _speed(results, quality, speed, wanted)
            yield _better(results, quality, speed)
    for quality in Quality:
        yield _floor(results, quality)
    yield _long(results)
    yield from _memory(results)
    yield from _arrivals(results)


def table(results: Results) -> str:
    lines = [(verdict.target, verdict.found, verdict.word) for verdict in verdicts(results)]
    return markdown(("target", "found", ""), lines, texts=3)


def _speed(results: Results, quality: Quality, speed: str, wanted: float) -> Verdict:
    target = f"{quality.name.lower()} 4x3s: {wanted}x faster than ffmpeg {speed}"
    us, peer = results.row(OURS, quality), results.row(speed, quality)
    factor = ratio(peer, us)
    if factor is None or not us.runs:
        return Verdict(target)
    whole = peer.wall / us.median("process")
    found = f"{factor:.1f}x; with the start of Python {whole:.1f}x"
    return Verdict(target, found, factor >= wanted)


def _better(results: Results, quality: Quality, speed: str) -> Verdict:
    target = f"{quality.name.lower()} 4x3s: higher SSIM and fewer bytes than ffmpeg {speed}"
    us, peer = results.row(OURS, quality), results.row(speed, quality)
    if us is None or peer is None or us.outcome is None or peer.outcome is None:
        return Verdict(target)
    ours, theirs = us.outcome, peer.outcome
    found = (
        f"{ours.likeness.ssim:.4f} against {theirs.likeness.ssim:.4f}, "
        f"{ours.size / 1e6:.2f} MB against {theirs.size / 1e6:.2f}"
    )
    met = ours.likeness.ssim > theirs.likeness.ssim and ours.size < theirs.size
    return Verdict(target, found, met)


def _floor(results: Results, quality: Quality) -> Verdict:
    target = f"{quality.name.lower()} 4x3s: at most 1.4x the stills alone"
    factor = ratio(results.row(OURS, quality), results.row("floor", quality))
    return Verdict(target) if factor is None else Verdict(target, f"{factor:.2f}x", factor <= 1.4)


def _long(results: Results) -> Verdict:
    target = "high: 4x300s at most 3x the time of 4x3s"
    short, long = (results.row(OURS, Quality.HIGH, length) for length in ("4x3s", "4x300s"))
    factor = ratio(long, short)
    if factor is None:
        return Verdict(target)
    return Verdict(target, f"{factor:.2f}x", factor <= 3)


def held(results: Results) -> str | None:
    """Time and bytes of a held picture, from 4 x 3 s against 4 x 300 s."""
    short, long = (results.row(OURS, Quality.HIGH, length) for length in ("4x3s", "4x300s"))
    if not (short and long and short.runs and long.runs):
        return None
    more = long.pictures - short.pictures
    time = (long.wall - short.wall) / more
    size = (long.outcome.size - short.outcome.size) / more
    return (
        f"A held picture at high: {time * 1e6:.1f} us and {size:.0f} bytes, its share of the "
        f"repeated stills included; {long.outcome.held:.0f} bytes without."
    )


def _memory(results: Results) -> Iterator[Verdict]:
    few, many = (_only(results.memory, OURS, f"premium {n}x3s crossfade") for n in (4, 100))
    small = "premium: peak memory under 400 MB"
    same = "premium: the same at 4 and at 100 scenes"
    if not (few and many and few.runs and many.runs):
        yield from (Verdict(small), Verdict(same))
        return
    a, b = few.median("memory"), many.median("memory")
    found = f"{a / 1e6:.0f} MB, {b / 1e6:.0f} MB"
    yield Verdict(small, found, max(a, b) < 400e6)
    yield Verdict(same, found, b <= 1.1 * a)


def _arrivals(results: Results) -> Iterator[Verdict]:
    row = _only(results.arrivals, OURS, "high 4x3s crossfade")
    first = "high, scenes 1 s apart: first media under 0.3 s"
    tail = "high, scenes 1 s apart: complete 0.2 s after the last frame"
    if row is None or not row.runs:
        yield from (Verdict(first), Verdict(tail))
        return
    yield Verdict(first, f"{row.median('first_byte'):.2f} s", row.median("first_byte") < 0.3)
    yield Verdict(tail, f"{row.median('tail'):.2f} s", row.median("tail") < 0.2)
