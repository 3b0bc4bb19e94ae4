"""Measures whole renders beside ffmpeg and x264, and prints one table.

The job: 4 scenes of 3 s, crossfades of 0.5 s. Every contender writes an MP4
file with the same number of pictures and the same settings of x264, which is
checked. They take turns, so that a busy machine troubles all of them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import av
import imageio_ffmpeg
import psutil

from compositor.encoder.x264 import cpu_count
from rpckit.video import PRESETS, Quality
from tests.benchmarks import ffmpeg, ours
from tests.benchmarks.job import SCENES, Job, prepared
from tests.benchmarks.measure import Run, command, undisturbed
from tests.benchmarks.outcome import outcome, same_settings
from tests.benchmarks.table import Row, table
from tests.support import natural

Contender = tuple[str, str, Callable[[], Run]]
"""Name of its video, what it is, and one run of it."""


def peers(job: Job) -> Iterator[Contender]:
    log = job.folder / "ffmpeg.log"
    yield "recipe", "ffmpeg, xfade from PNG", lambda: command(ffmpeg.recipe(job), log)
    yield "split", "ffmpeg, strongest, from PNG", lambda: command(ffmpeg.split(job), log)
    yield (
        "split-raw",
        "ffmpeg, strongest, from raw RGB",
        lambda: command(ffmpeg.split(job, raw=True), log),
    )
    yield "floor", "x264 alone", lambda: floor(job)


def floor(job: Job) -> Run:
    argv = [sys.executable, "-m", "tests.benchmarks.floor"]
    argv += [job.quality.name, str(job.folder), str(job.video("floor"))]
    run = subprocess.run(argv, capture_output=True, text=True, check=True)
    return Run(**json.loads(run.stdout))


def whole(running: ours.Stack, job: Job) -> Iterator[Contender]:
    yield "render", "Gator, Render call", lambda: ours.render(running, job)
    yield "cold", "Gator, gator render", lambda: ours.cold_command(job)
    yield from peers(job)


def composing(running: ours.Stack, job: Job) -> Iterator[Contender]:
    yield "compose", "Gator, Compose call", lambda: ours.composed(running, job)
    yield from peers(job)


def measured(
    job: Job, contenders: list[Contender], asked: argparse.Namespace, server: psutil.Process
) -> list[Row]:
    """All contenders at one job, turn by turn."""
    preset = job.quality.name.lower()
    rows = [Row(preset, job.name, key, title, job.frame_count) for key, title, _ in contenders]
    for number in range(asked.runs):
        for row, (key, _, once) in zip(rows, contenders, strict=True):
            row.runs.append(undisturbed(once, server, asked.quiet))
            tell(f"{preset}, {job.name}, run {number + 1}: {key} {row.runs[-1].wall:.2f} s")
        if number == 0:  # each run writes the same, and a bad job is better known at once
            for row in rows:
                row.outcome = outcome(job, job.video(row.key))
                same_settings(job.video(rows[0].key), job.video(row.key))
    return rows


def tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpus": str(cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "PyAV": av.__version__,
        "ffmpeg": imageio_ffmpeg.get_ffmpeg_version(),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--presets", default="draft,high,premium", help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="median of so many; default 3")
    parser.add_argument("--stills", default="placeholders,natural", help="default: %(default)s")
    parser.add_argument(
        "--quiet",
        type=float,
        default=float("inf"),
        metavar="CORES",
        help="repeat a run, up to 5 times, while others keep more cores than this busy",
    )
    parser.add_argument("--json", type=Path, help="write every run to this file too")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    said = machine()
    print(", ".join(f"{name} {value}" for name, value in said.items()), flush=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="gator-bench-") as folder:
        root = Path(folder)
        with ours.stack(root / "stack.log") as running:
            for quality in (Quality[name.upper()] for name in asked.presets.split(",")):
                for stills in asked.stills.split(","):
                    rows += of(running, quality, stills, root, asked)
    print(table(rows))
    others = [run.others for row in rows for run in row.runs]
    print(
        f"others kept {median(others):.2f} of {cpu_count()} cores busy; at most {max(others):.2f}"
    )
    if asked.json:
        found = {"machine": said, "rows": [asdict(row) for row in rows]}
        asked.json.write_text(json.dumps(found, indent=1))


def of(
    running: ours.Stack, quality: Quality, stills: str, root: Path, asked: argparse.Namespace
) -> list[Row]:
    """The rows of one preset and one kind of stills."""
    folder = root / f"{quality.name}-{stills}"
    if stills == "placeholders":
        job = prepared(stills, quality, ours.placeholders(running, quality), folder)
        ours.warm_up(running, job)
        return measured(job, list(whole(running, job)), asked, running.process)
    preset = PRESETS[quality]
    pictures = [natural.still(index, preset.width, preset.height) for index in range(SCENES)]
    job = prepared(stills, quality, pictures, folder)
    return measured(job, list(composing(running, job)), asked, running.process)


if __name__ == "__main__":
    main()
