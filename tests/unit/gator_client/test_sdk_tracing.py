"""Calls of the SDK hang under the span of the program that makes them."""

import subprocess
import sys
from contextlib import aclosing

import pytest
from opentelemetry.sdk.trace import TracerProvider
from scripted_gateway import gateway as scripted_gateway

from gator_client import AsyncClient, Client
from tests.support.spans import recorded_spans

METHODS = {"GetCapabilities", "CreateRender", "ListRenders", "WatchRender", "Render"}


@pytest.fixture
def tracer():
    """Of a program around the SDK."""
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider.get_tracer("program")
    provider.shutdown()


def parents(exporter):
    """By method, the span of the program under which its calls came."""
    return {
        span.name.rpartition("/")[2]: span.parent.span_id if span.parent else None
        for span in exporter.get_finished_spans()
    }


async def calls(client):
    await client.capabilities()
    render = await client.create(["a hill"])
    assert [one.render_id async for one in client.list()]
    async with aclosing(client.watch(render.render_id)) as events:
        assert await anext(events)
    async with aclosing(client.render(["a hill"])) as events:
        async for _ in events:
            pass


async def test_each_kind_of_call_carries_the_current_span(tracer):
    with recorded_spans() as exporter:
        async with scripted_gateway() as gateway, AsyncClient(gateway.address) as client:
            with tracer.start_as_current_span("mine") as mine:
                await calls(client)
    found = parents(exporter)
    assert found.keys() == METHODS
    assert set(found.values()) == {mine.get_span_context().span_id}


async def test_there_is_nothing_to_carry_without_a_span(tracer):
    with recorded_spans() as exporter:
        async with scripted_gateway() as gateway, AsyncClient(gateway.address) as client:
            await calls(client)
    assert parents(exporter) == dict.fromkeys(METHODS)


def test_the_client_without_a_loop_carries_it_too(gateway, tracer):
    with recorded_spans() as exporter, Client(gateway.address) as client:
        with tracer.start_as_current_span("mine") as mine:
            client.capabilities()
            assert [*client.render(["a hill"])]
        span_id = mine.get_span_context().span_id
        assert parents(exporter) == {"GetCapabilities": span_id, "Render": span_id}


def test_a_program_without_opentelemetry_is_not_made_to_import_it(gateway):
    program = (
        "import sys\n"
        "from gator_client import Client\n"
        f"with Client({gateway.address!r}) as client:\n"
        "    print(client.capabilities().version)\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1.2.3\n"), done.stderr
