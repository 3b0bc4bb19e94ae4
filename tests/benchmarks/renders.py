"""Whole renders: the running stack and the cold command beside ffmpeg and x264."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rpckit.video import PRESETS, Quality
from tests.benchmarks import ffmpeg, ours
from tests.benchmarks.contenders import Contender
from tests.benchmarks.job import SCENES, Job, stored
from tests.benchmarks.measure import ContenderError, Run, command
from tests.benchmarks.outcome import same_settings
from tests.benchmarks.rows import Effort, Row, tell, turns
from tests.support import natural


def peers() -> list[Contender]:
    def told(argv: list[str], job: Job) -> Run:
        return command(argv, job.folder / "ffmpeg.log")

    return [
        Contender("recipe", "ffmpeg, xfade from PNG", lambda job: told(ffmpeg.recipe(job), job)),
        Contender("split", "ffmpeg, strongest, from PNG", lambda job: told(ffmpeg.split(job), job)),
        Contender(
            "split-raw",
            "ffmpeg, strongest, from raw RGB",
            lambda job: told(ffmpeg.split(job, raw=True), job),
        ),
        Contender("floor", "x264 alone, every picture", floor),
    ]


def floor(job: Job) -> Run:
    """x264 on pictures that lie ready in memory; that they are made before is not timed."""
    report = job.folder / "floor-report.json"
    argv = [sys.executable, "-m", "tests.benchmarks.floor", job.quality.name]
    command([*argv, job.stills.folder, job.video("floor"), report], job.folder / "floor.log")
    return Run(**json.loads(report.read_text()))


def whole(running: ours.Stack) -> list[Contender]:
    return [
        Contender("render", "Gator, Render call", lambda job: ours.render(running, job)),
        Contender("cold", "Gator, gator render", ours.cold_command),
        *peers(),
    ]


def composing(running: ours.Stack) -> list[Contender]:
    return [
        Contender("compose", "Gator, Compose call", lambda job: ours.composed(running, job)),
        *peers(),
    ]


def measured(
    root: Path, qualities: Sequence[Quality], kinds: Sequence[str], effort: Effort
) -> list[Row]:
    """The rows of some presets and kinds of stills, with a stack of their own."""
    rows: list[Row] = []
    root.mkdir()
    with ours.stack(root / "stack.log") as running:
        for quality in qualities:
            for kind in kinds:
                tell(f"{quality.name.lower()}, {kind}: making the stills")
                job, contenders = _job(running, quality, kind, root / f"{quality.name}-{kind}")
                found = turns(job, contenders, effort, f"{kind}, ", running.process)
                _check_settings(job, found)
                rows += found
    return rows


def _job(
    running: ours.Stack, quality: Quality, kind: str, folder: Path
) -> tuple[Job, list[Contender]]:
    if kind == "placeholders":
        job = Job(quality, stored(kind, ours.placeholders(running, quality), folder), folder)
        ours.warm_up(running, job)
        return job, whole(running)
    preset = PRESETS[quality]
    pictures = [natural.still(index, preset.width, preset.height) for index in range(SCENES)]
    return Job(quality, stored(kind, pictures, folder), folder), composing(running)


def _check_settings(job: Job, rows: Sequence[Row]) -> None:
    """ContenderError unless all peers told x264 the same."""
    told = [row for row in rows if row.key in {peer.key for peer in peers()} and row.runs]
    for row in told:
        try:
            same_settings(job.video(told[0].key), job.video(row.key))
        except AssertionError as difference:
            raise ContenderError(str(difference)) from difference
