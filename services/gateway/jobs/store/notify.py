"""Hints between gateways, by PostgreSQL's NOTIFY: throttled, and never relied on.

A NOTIFY within the transaction that it tells of would take a lock of the whole server at
each commit. So they go by a connection of their own, a few in a second.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg
import tenacity

from gateway.jobs.records import Hint
from rpckit.telemetry import logger

log = logger(__name__)

CHANNEL = "gator_renders"
INTERVAL = 0.25
"""Seconds between two notifications of a gateway, at least."""
LOOK = 30.0
"""Seconds after which a connection that says nothing is tried: the network may have dropped it."""
MAX_NAMED = 150
"""Renders that a notification names; more are "any". A payload has room for 8,000 bytes."""

_ANY = Hint(None, queued=True)


class Notifier:
    """Sends what was committed here, and tells what others send."""

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], tell: Callable[[Hint], None]
    ) -> None:
        self._connect = connect
        self._tell = tell
        self._name = uuid4().hex
        self._changed: set[str] = set()
        self._queued = False
        self._waiting = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="database notifications")

    def send(self, hint: Hint) -> None:
        """Tells other gateways, soon."""
        self._changed.update(hint.render_ids or ())
        self._queued |= hint.queued
        self._waiting.set()

    async def close(self) -> None:
        """Ends the connection."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        async for attempt in tenacity.AsyncRetrying(
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
            before_sleep=_log,
        ):
            with attempt:
                await self._serve()

    async def _serve(self) -> None:
        connection = await self._connect()
        lost = asyncio.Event()

        def terminated(_connection: object) -> None:
            lost.set()
            self._waiting.set()

        try:
            connection.add_termination_listener(terminated)
            await connection.add_listener(CHANNEL, self._hear)
            self._tell(_ANY)  # whatever was sent before this
            while True:
                await _within(LOOK, self._waiting)
                if lost.is_set():
                    raise ConnectionResetError("the database broke the connection")
                await connection.execute(f"SELECT pg_notify('{CHANNEL}', $1)", self._payload())
                await _within(INTERVAL, lost)
        finally:
            connection.terminate()

    def _payload(self) -> str:
        named = sorted(self._changed) if len(self._changed) <= MAX_NAMED else None
        payload = {"from": self._name, "renders": named, "queued": self._queued}
        self._changed.clear()
        self._queued = False
        self._waiting.clear()
        return json.dumps(payload, separators=(",", ":"))

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            told = json.loads(str(payload))
            if told["from"] == self._name:
                return
            renders = told["renders"]
            hint = Hint(None if renders is None else frozenset(renders), bool(told["queued"]))
        except (ValueError, KeyError, TypeError):
            log.warning("a notification that no gateway sends", channel=CHANNEL)
            hint = _ANY
        self._tell(hint)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Returns once the event is set, or after so long."""
    # Not wait_for: Python 3.11's loses a cancellation that comes together with the event.
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _log(attempt: tenacity.RetryCallState) -> None:
    error = None if attempt.outcome is None else attempt.outcome.exception()
    log.debug("no notifications of the database", error=str(error))
