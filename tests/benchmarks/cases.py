"""The jobs from raw frames, who does them, and what is computed because it takes minutes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from rpckit.video import PRESETS, Quality, Transition
from tests.benchmarks.contenders import BY_KEY
from tests.benchmarks.job import Job, Stills, stored
from tests.benchmarks.rows import Effort, Row, turns
from tests.support import natural

DISTINCT = 4
"""Stills of a size."""


@dataclass(frozen=True)
class Case:
    """A job of so many scenes of so many seconds."""

    quality: Quality
    count: int = 4
    seconds: int = 3
    transition: Transition = Transition.CROSSFADE
    contenders: tuple[str, ...] = tuple(BY_KEY)
    computed: tuple[str, ...] = ()
    """Of the contenders, those that take minutes."""
    patience: float = float("inf")
    """Seconds of a run beyond which a contender has only one here, if `Effort` has more."""

    def job(self, folder: Path, stills: Stills) -> Job:
        duration = Fraction(self.seconds)
        return Job(self.quality, stills, folder, self.count, duration, self.transition.name)


LONG = ("compressed", "medium", "veryfast", "moviepy", "floor")
TRANSITIONS = ("compressed", "reference", "medium", "veryfast", "floor")
CASES: Sequence[Case] = (
    Case(Quality.DRAFT),
    Case(Quality.STANDARD),
    Case(Quality.HIGH),
    Case(Quality.PREMIUM, computed=("moviepy",)),
    Case(Quality.HIGH, count=20, contenders=LONG, computed=("moviepy",)),
    Case(Quality.HIGH, seconds=30, contenders=LONG, computed=("moviepy",)),
    Case(
        Quality.HIGH,
        seconds=300,
        contenders=LONG,
        computed=("medium", "veryfast", "moviepy"),
    ),
    *(
        Case(Quality.HIGH, transition=transition, contenders=TRANSITIONS, patience=3)
        for transition in Transition
        if transition is not Transition.CROSSFADE
    ),
)


class Gallery:
    """Natural stills of each preset, made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[Quality, Stills] = {}

    def of(self, quality: Quality) -> Stills:
        if quality not in self._made:
            preset = PRESETS[quality]
            folder = self._folder / f"natural-{quality.name.lower()}"
            pictures = [natural.still(i, preset.width, preset.height) for i in range(DISTINCT)]
            self._made[quality] = stored("natural", pictures, folder)
        return self._made[quality]


def measured(
    jobs: Iterable[tuple[Case, Job]], effort: Effort, chosen: Sequence[str], *, compute: bool
) -> list[Row]:
    """The rows of all cases; with `compute`, without what takes long."""
    rows: list[Row] = []
    for case, job in jobs:
        skipped = case.computed if compute else ()
        keys = [key for key in case.contenders if key in chosen]
        runners = [BY_KEY[key] for key in keys if key not in skipped]
        here = effort if not compute else replace(effort, slow=min(effort.slow, case.patience))
        found = {row.key: row for row in turns(job, runners, here)}
        for key in keys:
            if key in skipped:
                found[key] = Row(job, key, BY_KEY[key].title)
                found[key].computed = computed(found[key], rows)
            rows.append(found[key])
    return rows


def computed(row: Row, rows: Sequence[Row]) -> float | None:
    """Seconds that a contender would take, from its rows of other jobs.

    On a line through the two longest videos of as many scenes at that quality;
    with only one such, or at another quality, in proportion to the pixels.
    """
    known = [other for other in rows if other.key == row.key and other.runs]
    alike = [o for o in known if (o.job.quality, o.job.count) == (row.job.quality, row.job.count)]
    alike.sort(key=lambda other: other.pictures)
    if len(alike) > 1:
        a, b = alike[-2:]
        slope = (b.wall - a.wall) / (b.pictures - a.pictures)
        return b.wall + slope * (row.pictures - b.pictures)
    nearest = max(known, key=lambda other: _pixels(other.job), default=None)
    if nearest is None:
        return None
    return nearest.wall * _pixels(row.job) / _pixels(nearest.job)


def _pixels(job: Job) -> int:
    return job.frame_count * job.preset.width * job.preset.height
