"""What was measured, as tables, beside what it is to reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.benchmarks.table import markdown


@dataclass(frozen=True)
class Spread:
    """Of many times, in seconds."""

    p50: float
    p99: float
    most: float
    count: int

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread:
        """Nearest-rank percentiles."""
        found = sorted(seconds)

        def rank(part: float) -> float:
            return found[min(int(part * len(found)), len(found) - 1)]

        return cls(rank(0.5), rank(0.99), found[-1], len(found))

    def __str__(self) -> str:
        return f"p50 {self.p50 * 1e3:.1f} ms, p99 {self.p99 * 1e3:.1f} ms"


@dataclass(frozen=True)
class Figure:
    """A line of the table."""

    what: str
    database: str
    found: str
    cost: str = ""
    """What it took of processors."""
    target: str = ""
    met: bool | None = None
    """Whether the target was reached; None where there is none."""
    others: float = 0.0
    """Cores that other programs kept busy meanwhile."""

    @property
    def verdict(self) -> str:
        return {None: "", True: "met", False: "**missed**"}[self.met]


def table(figures: Sequence[Figure]) -> str:
    lines = [
        (f.what, f.database, f.found, f.cost, f.target, f.verdict, f"{f.others:.1f}")
        for f in figures
    ]
    headings = ("what", "database", "found", "processor", "aim", "", "others' cores")
    return markdown(headings, lines, texts=6)
