"""Contenders that take turns at a job, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import psutil

from tests.benchmarks.contenders import Contender
from tests.benchmarks.job import Job
from tests.benchmarks.measure import ContenderError, Run, undisturbed
from tests.benchmarks.outcome import Outcome, outcome

STARTED = time.monotonic()
QUICK = 2.0
"""Seconds of a run up to which a contender has several in each turn but its first."""
IN_A_TURN = 3


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    runs: int = 3
    """Of each contender; figures are medians."""
    slow: float = 20.0
    """Seconds of a run beyond which a contender has only one."""
    quiet: float = float("inf")
    """Cores that others may keep busy; runs that were disturbed more are repeated."""


@dataclass
class Row:
    """The runs of one contender at one job."""

    job: Job
    key: str
    title: str
    runs: list[Run] = field(default_factory=list)
    outcome: Outcome | None = None
    computed: float | None = None
    """Seconds that were not measured but follow from other rows."""
    missing: str | None = None
    """Why there is nothing."""

    @property
    def wall(self) -> float | None:
        """Seconds."""
        return self.median("wall") if self.runs else self.computed

    @property
    def pictures(self) -> int:
        return self.job.frame_count

    def median(self, name: str) -> float | None:
        """Of a figure of `Run`, over the runs that have it."""
        found = [value for run in self.runs if (value := getattr(run, name)) is not None]
        return median(found) if found else None


def turns(
    job: Job,
    contenders: Sequence[Contender],
    effort: Effort,
    where: str = "",
    server: psutil.Process | None = None,
) -> list[Row]:
    """Lets all contenders do the job, turn by turn, every other round the other way round."""
    rows = [Row(job, contender.key, contender.title) for contender in contenders]
    for number in range(effort.runs):
        order = list(zip(rows, contenders, strict=True))
        for row, contender in order if number % 2 == 0 else reversed(order):
            if row.missing or (row.runs and row.runs[0].wall > effort.slow):
                continue
            quick = bool(row.runs) and row.runs[0].wall < QUICK
            for _ in range(IN_A_TURN if quick else 1):
                _run(row, contender, effort, f"{where}{job.name}, turn {number + 1}", server)
    return rows


def _run(
    row: Row, contender: Contender, effort: Effort, where: str, server: psutil.Process | None
) -> None:
    try:
        run = undisturbed(lambda: contender.once(row.job), effort.quiet, server)
        if contender.video and row.outcome is None:  # each run writes the same
            path = row.job.video(row.key)
            row.outcome = outcome(row.job, path, same_pictures=contender.same_pictures(row.job))
    except (ContenderError, AssertionError) as reason:
        row.missing = str(reason) or repr(reason)
        tell(f"{where}: {row.key}: {row.missing}")
        return
    row.runs.append(run)
    tell(f"{where}: {row.key} {run.wall:.2f} s, others {run.others:.2f} cores")


def tell(what: str) -> None:
    """A line of progress, with the minutes and seconds since the start."""
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f"[{minutes:02}:{seconds:02}] {what}", file=sys.stderr, flush=True)
