"""Writes that wait for a store that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import tenacity

from rpckit.errors import GatorError, Reason

T = TypeVar("T")

_wait = tenacity.wait_exponential_jitter(multiplier=0.1, max=2.0, jitter=0.1)


async def persistently(write: Callable[[], Awaitable[T]], patience: float | None = None) -> T:
    """What `write` returns, tried again while the store is away.

    For `patience` seconds, or until the task is cancelled. GatorError: what `write`
    raises for other reasons than STORAGE_UNAVAILABLE, and that too once patience has run out.
    """
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_is_away),
        stop=tenacity.stop_never if patience is None else tenacity.stop_after_delay(patience),
        wait=_wait,
        reraise=True,
    )

    async def attempt() -> T:  # tenacity awaits only what is declared so
        return await write()

    written: T = await retrying(attempt)
    return written


async def conclusively(write: Callable[[], Awaitable[T]]) -> T:
    """As `persistently`, and a try is not cut short by a cancellation.

    When CancelledError leaves, the last try has ended, one way or the other.
    """
    return await persistently(lambda: _to_its_end(write))


async def _to_its_end(write: Callable[[], Awaitable[Any]]) -> Any:
    trying = asyncio.ensure_future(write())
    try:
        return await asyncio.shield(trying)
    except asyncio.CancelledError:
        await asyncio.wait([trying])
        if not trying.cancelled():
            trying.exception()  # nobody asks for it any more
        raise


def _is_away(error: BaseException) -> bool:
    return isinstance(error, GatorError) and error.reason is Reason.STORAGE_UNAVAILABLE
