"""The figures as one table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.measure import Run
from tests.benchmarks.outcome import Outcome

PEERS = {"recipe": "ffmpeg xfade", "split": "ffmpeg split", "floor": "x264 floor"}
"""Contenders that the others are compared with, and their short names."""

HEADINGS = (
    "preset",
    "stills",
    "what",
    "wall s",
    "CPU s",
    "first byte s",
    "frames/s",
    "MB",
    "PSNR Y",
    *(f"x {name}" for name in PEERS.values()),
)


@dataclass
class Row:
    """The runs of one contender at one job."""

    preset: str
    stills: str
    key: str
    title: str
    frames: int
    runs: list[Run] = field(default_factory=list)
    outcome: Outcome | None = None

    @property
    def wall(self) -> float:
        return median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        return median(run.cpu for run in self.runs)

    @property
    def first_byte(self) -> float | None:
        found = [run.first_byte for run in self.runs if run.first_byte is not None]
        return median(found) if found else None

    def cells(self, peers: dict[str, float]) -> tuple[str, ...]:
        """The row as text; `peers` has the wall seconds of those to compare with."""
        assert self.outcome is not None
        return (
            self.preset,
            self.stills,
            self.title,
            f"{self.wall:.2f}",
            f"{self.cpu:.2f}",
            "" if self.first_byte is None else f"{self.first_byte:.2f}",
            f"{self.frames / self.wall:.0f}",
            f"{self.outcome.size / 1e6:.2f}",
            f"{self.outcome.psnr:.2f}",
            *(f"{self.wall / peers[key]:.2f}" for key in PEERS),
        )


def table(rows: Sequence[Row]) -> str:
    """A Markdown table that is also one on a terminal."""
    lines = [HEADINGS]
    for row in rows:
        same_job = [r for r in rows if (r.preset, r.stills) == (row.preset, row.stills)]
        lines.append(row.cells({r.key: r.wall for r in same_job}))
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    texts = 3

    def text(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if i < texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = [("-" * w if i < texts else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return "\n".join([text(lines[0]), text(rule), *map(text, lines[1:])])
