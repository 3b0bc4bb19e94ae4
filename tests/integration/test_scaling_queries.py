"""What KEDA asks the database, on a real PostgreSQL with the real tables."""

from datetime import timedelta

import pytest

from gateway.jobs.store import Store
from tests.support.databases import Database
from tests.support.manifests import overlay
from tests.support.renders import claimed, new_render, succeeded


def query(name: str) -> str:
    """Of the ScaledObject."""
    (trigger,) = overlay("production").named("ScaledObject", name)["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    return trigger["metadata"]["query"]


@pytest.fixture
async def asked(postgresql_database: Database):
    """Renders and scenes that the two queries count."""

    async def ask() -> tuple[int, int]:
        ((renders,),) = await postgresql_database.sql(query("gateway"))
        ((scenes,),) = await postgresql_database.sql(query("frame-gen"))
        return renders, scenes

    async with Store.open(postgresql_database.url) as store:
        yield store, ask


async def test_replicas_follow_what_runs_and_what_could(asked):
    store, ask = asked
    assert await ask() == (0, 0)

    done = await claimed(store)
    assert await ask() == (1, 2)
    await succeeded(store, done)
    assert await ask() == (0, 0)

    # A long render does not need more GPUs than the scenes that are made of it at a time.
    await store.create(new_render(scene_count=500))
    assert await ask() == (1, 4)
    await store.create(new_render(scene_count=3))
    assert await ask() == (2, 7)

    # One that waits to be tried again does not run yet.
    (claim,) = await store.claim("worker", 1)
    assert claim.render.progress.scene_count == 500
    await store.fail(claim.lease, b"error", transient=True, retry_after=timedelta(minutes=5))
    assert await ask() == (1, 3)


async def test_a_role_of_its_own_is_enough(postgresql_database: Database):
    role = "keda_of_the_tests"
    await postgresql_database.sql(
        f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    await postgresql_database.sql(f"GRANT SELECT ON renders TO {role}")
    for name in ("gateway", "frame-gen"):
        # Both in one statement, so that the role is that of the query.
        rows = await postgresql_database.sql(
            f"SELECT set_config('role', '{role}', false), ({query(name)})"
        )
        assert rows[0][1] == 0
