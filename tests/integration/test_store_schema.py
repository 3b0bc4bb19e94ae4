"""The tables: made by migrations, what the code says they are, and in the wheel."""

import asyncio
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from gateway.jobs.store import SchemaError, Store, opening
from gateway.jobs.store.hints import Hints
from gateway.jobs.store.tables import metadata
from rpckit.errors import GatorError, Reason
from tests.support.databases import Database
from tests.support.renders import new_render

ROOT = Path(__file__).parents[2]

_COLUMNS = """SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2"""
_INDEXES = """SELECT tablename, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1, 2"""
_CONSTRAINTS = """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
    ORDER BY 1"""


@pytest.fixture
def empty_database(database, tmp_path):
    """A database of each kind without tables."""
    if database.server is None:
        path = tmp_path / "empty.db"
        yield Database(f"sqlite:///{path}", file=path)
        return
    name = f"empty_{os.getpid()}"
    database.server.sql(f"CREATE DATABASE {name}")
    yield Database(database.server.url(name), server=database.server)
    database.server.sql(f"DROP DATABASE {name} WITH (FORCE)")


async def change(database, what):
    """Runs a function of a connection beside any store."""
    opened = opening.named(database.url, Hints())
    try:
        return await opened.exclusively(what)
    finally:
        await opened.close()


async def described(database):
    """Tables, columns, keys and indexes, as the database tells them."""
    if database.server is not None:
        return [await database.sql(query) for query in (_COLUMNS, _INDEXES, _CONSTRAINTS)]
    rows = await database.sql(
        "SELECT type, name, sql FROM sqlite_master WHERE tbl_name <> 'alembic_version' ORDER BY 2"
    )
    return [(kind, name, " ".join((sql or "").split())) for kind, name, sql in rows]


async def test_migrations_make_the_tables_that_the_code_works_with(database, empty_database):
    await change(empty_database, metadata.create_all)
    assert await described(database) == await described(empty_database)

    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert await change(database, differences) == []


async def test_gateways_that_start_at_once_make_the_tables_once(empty_database):
    async def start():
        async with Store.open(empty_database.url) as store:
            await store.create(new_render())

    await asyncio.gather(*(start() for _ in range(4)))
    assert await empty_database.sql("SELECT version_num FROM alembic_version") == [("0001",)]
    assert await empty_database.sql("SELECT count(*) FROM renders") == [(4,)]


async def test_databases_that_are_made_at_once_do_not_mix(tmp_path, postgres_server):
    name = f"mixed_{os.getpid()}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(3)]
    urls.insert(1, postgres_server.url(name))

    async def start(url):
        async with Store.open(url) as store:
            await store.create(new_render())
            return await store.stats()

    depths = await asyncio.gather(*(start(url) for url in urls))
    assert [[depth.count for depth in found] for found in depths] == [[1]] * 4
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_process_may_open_a_store_in_each_of_its_threads(tmp_path):
    def start(number):
        async def opened():
            async with Store.open(f"sqlite:///{tmp_path / str(number)}.db") as store:
                return (await store.create(new_render()))[1]

        return asyncio.run(opened())

    assert await asyncio.gather(*(asyncio.to_thread(start, i) for i in range(8))) == [True] * 8


async def test_a_gateway_that_may_not_change_tables_says_what_to_run(empty_database):
    with pytest.raises(SchemaError, match=r"revision none.*python -m gateway migrate"):
        async with Store.open(empty_database.url, migrate="check"):
            pass
    async with Store.open(empty_database.url):
        pass
    async with Store.open(empty_database.url, migrate="check") as store:
        assert await store.ready()


@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_tables_of_a_newer_version_are_left_alone(database, migrate):
    await database.sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match=r"9999.*newer"):
        async with Store.open(database.url, migrate=migrate):
            pass


@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_tables_of_a_newer_version_that_only_adds_are_worked_with(database, migrate):
    await database.sql("ALTER TABLE renders ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'")
    await database.sql("UPDATE alembic_version SET version_num = '9999_since_0001'")
    async with Store.open(database.url, migrate=migrate) as store:
        await store.create(new_render())
        assert len(await store.claim("worker", 1)) == 1
    assert await database.sql("SELECT version_num FROM alembic_version") == [("9999_since_0001",)]

    await database.sql("UPDATE alembic_version SET version_num = '9999_since_9998'")
    with pytest.raises(SchemaError, match=r"9999_since_9998.*newer"):
        async with Store.open(database.url, migrate=migrate):
            pass


async def test_the_command_makes_the_tables(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/renders.db", file=tmp_path / "renders.db")

    async def migrate():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            "migrate",
            env={**os.environ, "GATOR_GATEWAY_DATABASE_URL": database.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    assert (await migrate())[0] == 0
    async with Store.open(database.url, migrate="check") as store:
        await store.create(new_render())
    await database.sql("UPDATE alembic_version SET version_num = '9999'")
    status, output = await migrate()
    assert status == 1
    assert output.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("url", ["", "sqlite:///", "mysql://host/name", "renders.db"])
async def test_a_url_that_names_no_database_is_refused(url):
    with pytest.raises(ValueError, match="sqlite:///path/of/file or postgresql://"):
        async with Store.open(url):
            pass


async def test_a_file_that_cannot_be_made_is_told_at_once(tmp_path):
    with pytest.raises(GatorError, match="cannot be used") as raised:
        async with Store.open(f"sqlite:///{tmp_path}/no/such/folder/renders.db"):
            pass
    assert raised.value.reason is Reason.STORAGE_UNAVAILABLE


async def test_a_database_that_the_server_does_not_have_is_told_at_once(postgres_server):
    with pytest.raises(GatorError, match="cannot be reached") as raised:
        async with Store.open(postgres_server.url("no_such_database")):
            pass
    assert raised.value.reason is Reason.STORAGE_UNAVAILABLE


def test_the_wheel_has_the_migrations(tmp_path):
    source = tmp_path / "source"
    folders = ("gateway", "gator")
    for folder in folders:
        shutil.copytree(
            ROOT / "services" / folder,
            source / "services" / folder,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    [wheel] = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for file in (ROOT / "services" / "gateway" / "migrations").rglob("*"):
        if file.suffix in (".py", ".mako"):
            assert file.relative_to(ROOT / "services").as_posix() in names
