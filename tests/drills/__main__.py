"""Renders while processes die at random, for as long as you like, on SQLite and on PostgreSQL,
with objects in a folder or on an S3 server.

What is killed, when, and what is asked for follow from the seed; how far each process is at
that moment does not. The exit status is 1 if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.drills import lapse
from tests.drills.deaths import Deaths, Tally
from tests.support.databases import Database, PostgresServer, make_tables
from tests.support.object_stores import S3Server, s3_server

KINDS = ("sqlite", "postgresql")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of all databases together; default %(default)s"
    )
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--databases", default=",".join(KINDS), help="default: %(default)s")
    parser.add_argument(
        "--objects",
        default="folder",
        choices=("folder", "s3"),
        help="where frames and videos are; an S3 server dies like the others; default %(default)s",
    )
    return parser.parse_args()


@contextmanager
def new_database(kind: str, folder: Path) -> Iterator[Database]:
    """An empty one, which goes at the end of the block."""
    if kind == "sqlite":
        yield Database(f"sqlite:///{folder / 'renders.sqlite3'}", file=folder / "renders.sqlite3")
        return
    server = PostgresServer()
    try:
        server.sql("CREATE DATABASE drill")
        yield Database(server.url("drill"), server=server)
    finally:
        server.close()


@contextmanager
def new_object_store(kind: str, folder: Path) -> Iterator[S3Server | None]:
    """A server in a folder of its own, and the way to it in the environment; None is a folder."""
    if kind == "folder":
        yield None
        return
    (folder / "s3").mkdir()
    with s3_server(folder / "s3") as server:
        os.environ.update(server.environment)
        yield server


async def drill(kind: str, objects: str, seconds: float, seed: int) -> Tally:
    with (
        tempfile.TemporaryDirectory(prefix="gator-drill-") as folder,
        new_database(kind, Path(folder)) as database,
        new_object_store(objects, Path(folder)) as object_store,
    ):
        await make_tables(database.url)
        deaths = Deaths(database, Path(folder), random.Random(seed), object_store)
        return await deaths.run(seconds)


async def left_alone(kind: str) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="gator-drill-") as folder,
        new_database(kind, Path(folder)) as database,
    ):
        await make_tables(database.url)
        return await lapse.measured(database, Path(folder))


def main() -> None:
    asked = arguments()
    kinds = asked.databases.split(",")
    wrong = []
    for kind in kinds:
        tally = asyncio.run(drill(kind, asked.objects, asked.minutes * 60 / len(kinds), asked.seed))
        print(f"{kind}, objects in {asked.objects}, seed {asked.seed}: {tally}", flush=True)
        wrong += [f"{kind}: {what}" for what in tally.wrong]
        seconds = asyncio.run(left_alone(kind))
        told = (
            f"{kind}: a render whose gateway was killed and whose client did not come back was "
            f"cancelled after {seconds:.1f} s"
        )
        print(told, flush=True)
        wrong += [told] if seconds > lapse.MOST else []
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
