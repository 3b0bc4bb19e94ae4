"""Measures what gateways take in, tell and hold, over SQLite and PostgreSQL on this machine.

The gateways are processes of their own, and so are their clients; what they call makes
frames and videos that cost nothing. Databases are synced to the disk as in operation.

Parts: `submits` (CreateRender), `watchers` (500, and 1,000 idle ones),
`latencies` (first event, cancellation), `queue` (10,000 renders that wait) and `work`
(renders a second, where scenes and encoding cost nothing).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import psutil

from tests.benchmarks.rows import tell
from tests.benchmarks_load import databases, latencies, queueing, submits, watching
from tests.benchmarks_load.callers import Clients
from tests.benchmarks_load.figures import Figure, table
from tests.benchmarks_load.serving import Place, services_below

Part = Callable[[Place, argparse.Namespace], Awaitable[list[Figure]]]

PARTS: dict[str, list[Part]] = {
    "submits": [
        lambda place, asked: submits.waiting(place, asked.seconds),
        lambda place, asked: submits.evenly(place, asked.seconds),
    ],
    "watchers": [
        lambda place, asked: watching.fan_out(place, asked.seconds),
        lambda place, _: watching.idle(place),
    ],
    "latencies": [lambda place, asked: latencies.measured(place, asked.count)],
    "queue": [lambda place, asked: queueing.queue(place, asked.queued)],
    "work": [lambda place, asked: queueing.work(place, asked.count)],
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks_load", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="default: %(default)s")
    parser.add_argument(
        "--databases", default=",".join(databases.NAMES), help="default: %(default)s"
    )
    parser.add_argument(
        "--seconds", type=float, default=6, help="of a load that goes on; default %(default)s"
    )
    parser.add_argument(
        "--count", type=int, default=100, help="of what is done one by one; default %(default)s"
    )
    parser.add_argument(
        "--queued", type=int, default=10_000, help="renders of the queue; default %(default)s"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser.parse_args()


async def measure(asked: argparse.Namespace) -> list[Figure]:
    figures: list[Figure] = []
    kinds, parts = asked.databases.split(","), asked.parts.split(",")
    with ExitStack() as stack:
        server = stack.enter_context(databases.postgresql()) if "postgresql" in kinds else None
        async with services_below() as below, Clients.started() as clients:
            places = databases.Places(below, clients, server)
            for part in (measured for name in parts for measured in PARTS[name]):
                for kind in kinds:
                    with places.fresh(kind) as place:
                        found = await part(place, asked)
                    for figure in found:
                        tell(f"{figure.what}, {kind}: {figure.found} {figure.verdict}")
                    figures += found
    return figures


def missed(figures: Sequence[Figure]) -> str:
    judged = [figure.met for figure in figures if figure.met is not None]
    return f"{sum(judged)} of {len(judged)} aims met"


def main() -> None:
    asked = arguments()
    print(
        f"{psutil.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}; others' cores: what else the machine did meanwhile",
        flush=True,
    )
    figures = asyncio.run(measure(asked))
    print(f"\n{table(figures)}\n\n{missed(figures)}")
    if asked.json:
        asked.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))


if __name__ == "__main__":
    main()
