"""Measures Gator Video beside ffmpeg, moviepy and x264, and prints tables.

Parts: `frames` (the compositor's engines from raw frames, beside whole
processes of others with the same frames), `memory` (few and many scenes),
`arrivals` (frames that come one second apart) and `renders` (whole renders).
All contenders of a job write the same pictures with the same ceilings and
the same distance between two pictures at which a reader can start, which is
checked. They take turns, so that a busy machine troubles all of them.
"""

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import av
import imageio_ffmpeg

from compositor.encoder.x264 import cpu_count
from rpckit.video import Quality
from tests.benchmarks import renders, table, targets
from tests.benchmarks.cases import CASES, Case, Gallery, measured
from tests.benchmarks.contenders import BY_KEY, PEERS_PYTHON, Contender, engine, ours
from tests.benchmarks.engines import ENGINES
from tests.benchmarks.job import Job
from tests.benchmarks.rows import Effort, Row, tell, turns
from tests.benchmarks.targets import Results

PARTS = ("frames", "memory", "arrivals", "renders")
APART = 1.0
"""Seconds between two frames of the part `arrivals`."""


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
    parser.add_argument("--parts", type=_words(PARTS), default=PARTS, help=",".join(PARTS))
    parser.add_argument("--runs", type=int, default=3, help="medians of so many; default 3")
    parser.add_argument(
        "--slow",
        type=float,
        default=20,
        metavar="SECONDS",
        help="a contender that takes longer has one run only; default 20",
    )
    parser.add_argument(
        "--quiet",
        type=float,
        default=float("inf"),
        metavar="CORES",
        help="repeat a run, up to 5 times, while others keep more cores than this busy",
    )
    frames = parser.add_argument_group("frames")
    frames.add_argument("--only", default="", metavar="REGEX", help="jobs, such as 'high 4x3s'")
    frames.add_argument(
        "--contenders", type=_words(BY_KEY), default=tuple(BY_KEY), help=",".join(BY_KEY)
    )
    frames.add_argument(
        "--all",
        action="store_true",
        help="run what is computed by default, and as often, because it takes minutes",
    )
    whole = parser.add_argument_group("renders")
    whole.add_argument("--presets", default="draft,high", help="default: %(default)s")
    whole.add_argument("--stills", default="placeholders", help="placeholders,natural")
    parser.add_argument("--json", type=Path, help="write every run to this file too")
    return parser.parse_args()


def _words(known: Sequence[str]):
    def words(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        if unknown := set(found) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {','.join(known)}")
        return found

    return words


def main() -> None:
    asked = arguments()
    effort = Effort(asked.runs, asked.slow, asked.quiet)
    said = machine()
    print(", ".join(f"{name} {value}" for name, value in said.items()), flush=True)
    results, whole = Results(), []
    with tempfile.TemporaryDirectory(prefix="gator-bench-") as folder:
        root = Path(folder)
        gallery = Gallery(root)
        if "frames" in asked.parts:
            results.frames = from_frames(gallery, root, asked, effort)
        if "arrivals" in asked.parts:
            results.arrivals = arrivals(gallery, root, effort)
        if "memory" in asked.parts:
            results.memory = memory(gallery, root, effort)
        if "renders" in asked.parts:
            qualities = [Quality[name.upper()] for name in asked.presets.split(",")]
            whole = renders.measured(root / "renders", qualities, asked.stills.split(","), effort)
    report(results, whole)
    everything = {**vars(results), "renders": whole}
    if asked.json:
        rows = {part: [_told(row) for row in found] for part, found in everything.items()}
        asked.json.write_text(json.dumps({"machine": said, **rows}, indent=1))
    if wrong := [row for rows in everything.values() for row in rows if row.missing]:
        sys.exit(f"{len(wrong)} rows are missing; the lines above say why")


def from_frames(
    gallery: Gallery, root: Path, asked: argparse.Namespace, effort: Effort
) -> list[Row]:
    jobs = [
        (case, case.job(root, gallery.of(case.quality)))
        for case in CASES
        if re.search(asked.only, _name(case))
    ]
    chosen = [key for key in asked.contenders if key != "moviepy" or PEERS_PYTHON.exists()]
    if len(chosen) < len(asked.contenders):
        tell("moviepy is not installed: make build/peers/.installed")
    return measured(jobs, effort, chosen, compute=not asked.all)


def _name(case: Case) -> str:
    return f"{case.quality.name} {case.count}x{case.seconds}s {case.transition.name}".lower()


def arrivals(gallery: Gallery, root: Path, effort: Effort) -> list[Row]:
    """All engines, while the frames come one by one."""
    job = Job(Quality.HIGH, gallery.of(Quality.HIGH), root)
    contenders = [
        Contender(name, f"{ours(name).title}", lambda job, name=name: engine(job, name, APART))
        for name in ENGINES
    ]
    return turns(job, contenders, effort, "frames 1 s apart, ")


def memory(gallery: Gallery, root: Path, effort: Effort) -> list[Row]:
    """One run each: memory does not vary as time does."""
    stills = gallery.of(Quality.PREMIUM)
    once = Effort(1, effort.slow)
    return [
        row
        for count in (4, 100)
        for row in turns(Job(Quality.PREMIUM, stills, root, count), [ours("compressed")], once)
    ]


def report(results: Results, whole: Sequence[Row]) -> None:
    tell("done")
    if results.frames:
        print(f"\n## From raw frames\n\n{table.rendered(table.FRAMES, results.frames)}")
    if results.arrivals:
        print(f"\n## Frames 1 s apart\n\n{table.rendered(table.ARRIVALS, results.arrivals)}")
    if results.memory:
        print(f"\n## Memory\n\n{table.rendered(table.MEMORY, results.memory)}")
    if results.frames or results.arrivals or results.memory:
        print(f"\n## Targets\n\n{targets.table(results)}")
        print(f"\n{targets.held(results) or ''}")
    if whole:
        print(f"\n## Whole renders\n\n{table.rendered(table.RENDERS, whole)}")
    rows = [*results.frames, *results.arrivals, *results.memory, *whole]
    if others := [run.others for row in rows for run in row.runs]:
        print(f"\nothers kept {median(others):.2f} of {cpu_count()} cores busy; ", end="")
        print(f"at most {max(others):.2f}")


def _told(row: Row) -> dict[str, object]:
    return {
        "job": row.job.name,
        "stills": row.job.stills.kind,
        "contender": row.key,
        "runs": [asdict(run) for run in row.runs],
        "outcome": asdict(row.outcome) if row.outcome else None,
        "computed": row.computed,
        "missing": row.missing,
    }


if __name__ == "__main__":
    main()
