"""Where the gateways that are measured keep renders: on a disk, and synced to it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks_load.callers import Clients
from tests.benchmarks_load.serving import Below, Place
from tests.support.databases import PostgresServer

NAMES = ("sqlite", "postgresql")


@contextmanager
def postgresql() -> Iterator[PostgresServer]:
    """A server whose commits are on the disk when they return."""
    server = PostgresServer()
    try:
        server.sql("ALTER SYSTEM RESET fsync", "SELECT pg_reload_conf()")
        yield server
    finally:
        server.close()


class Places:
    """Empty databases and folders for objects, which go when they are not used any more."""

    def __init__(self, below: Below, clients: Clients, server: PostgresServer | None) -> None:
        self._below = below
        self._clients = clients
        self._server = server
        self._count = 0

    @contextmanager
    def fresh(self, kind: str) -> Iterator[Place]:
        folder = Path(tempfile.mkdtemp(prefix="gator-load-"))
        try:
            if kind == "sqlite":
                url = f"sqlite:///{folder / 'renders.sqlite3'}"
                yield Place(self._below, self._clients, kind, url, folder, None)
                return
            self._count += 1
            name = f"load_{self._count}"
            self._server.sql(f"CREATE DATABASE {name}")
            pid = int((self._server.folder / "postmaster.pid").read_text().split()[0])
            yield Place(self._below, self._clients, kind, self._server.url(name), folder, pid)
            self._server.sql(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            shutil.rmtree(folder)
