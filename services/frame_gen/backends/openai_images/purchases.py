"""The buying of images: as many at a time as allowed, each once, and none unwritten."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import ParamSpec, TypeVar

from frame_gen.backends.base import Queued
from frame_gen.backends.openai_images.client import ImagesClient, Picture
from frame_gen.backends.openai_images.failures import Cause, PurchaseError, timed_out
from frame_gen.backends.openai_images.ledger import (
    Ledger,
    Limits,
    Pending,
    Reservation,
    TakenError,
    open_store,
    unfinished,
)
from frame_gen.backends.openai_images.order import Order
from frame_gen.backends.openai_images.settings import OpenAISettings
from rpckit.telemetry import logger

log = logger(__name__)

GRACE = 5.0
"""Seconds after its time in which another buyer may still write down what came of it."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long an image is tried for."""

    timeout: float
    """Seconds, further tries included."""
    max_retries: int
    """Further tries after refusals that cost nothing."""
    delay: float
    """Seconds before the first further try, where OpenAI names no time; doubled each time."""
    poll: float = 0.5
    """Seconds between two looks at a purchase that another call is making."""


class Purchases:
    """Buys images."""

    def __init__(
        self, client: ImagesClient, ledger: Ledger, patience: Patience, max_concurrent: int
    ) -> None:
        """At most `max_concurrent` images are asked for at a time; others wait."""
        self._client = client
        self._ledger = ledger
        self._patience = patience
        self._slots = asyncio.Semaphore(max_concurrent)
        self._waiting = 0

    async def image(self, order: Order) -> AsyncGenerator[Queued | Picture, None]:
        """The image of an order: bought, or the one that was bought for it before.

        Cancelled or closed before it ends, it ends the request to OpenAI. If
        that was sent, the order counts as paid.

        Raises:
            PurchaseError: it does not come.
        """
        while True:
            bought = await self._bought(order)
            if bought is not None:
                yield Picture(bought)
                return
            if self._slots.locked():
                yield Queued(self._waiting)
            await self._turn()
            try:
                async with aclosing(self._buy(order)) as pictures:
                    async for picture in pictures:
                        yield picture
            except TakenError:
                continue
            else:
                return
            finally:
                self._slots.release()

    async def _bought(self, order: Order) -> bytes | None:
        """The image that was bought before; None if none was.

        Waits for it where another call may be buying it now, here or in
        another process: such as that of a caller whose connection broke and who
        has come again.
        """
        while isinstance(known := await _complete(self._ledger.recall, order), Pending):
            if known.age > self._patience.timeout + GRACE:
                raise unfinished()
            await asyncio.sleep(self._patience.poll)
        return known

    async def _turn(self) -> None:
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1

    async def _buy(self, order: Order) -> AsyncGenerator[Picture, None]:
        reservation = Reservation(order)
        try:
            await _complete(self._ledger.reserve, reservation)
            async with aclosing(self._tries(reservation)) as pictures:
                async for picture in pictures:
                    yield picture
        finally:
            if not reservation.spent:
                await self._write(self._ledger.release, reservation)
            elif not reservation.settled:
                await self._write(self._ledger.fail, reservation, Cause.GIVEN_UP)

    async def _tries(self, reservation: Reservation) -> AsyncGenerator[Picture, None]:
        """Asks, and asks again where the refusal cost nothing."""
        deadline = time.monotonic() + self._patience.timeout
        for attempt in range(self._patience.max_retries + 1):
            try:
                async with aclosing(self._ask(reservation, deadline)) as pictures:
                    async for picture in pictures:
                        yield picture
            except PurchaseError as error:
                log.info("OpenAI gave no image", cause=error.cause.value, attempt=attempt + 1)
                delay = self._delay(error, attempt)
                in_time = time.monotonic() + delay < deadline
                last = attempt == self._patience.max_retries
                if last or not in_time or not error.cause.rule.again:
                    raise
            else:
                return
            await asyncio.sleep(delay)

    def _delay(self, error: PurchaseError, attempt: int) -> float:
        """Seconds before the next try."""
        if error.retry_after is not None:
            return error.retry_after
        # Spread, so that those who were refused together do not come again together.
        return self._patience.delay * float(2**attempt) * random.uniform(0.75, 1.25)  # noqa: S311

    async def _ask(
        self, reservation: Reservation, deadline: float
    ) -> AsyncGenerator[Picture, None]:
        """One request, which ends at `deadline`, and what came of it in the ledger."""
        reservation.spent = True
        try:
            async with aclosing(self._client.ask(reservation.order)) as pictures:
                while (picture := await _next(pictures, deadline)) is not None:
                    if not picture.partial:
                        await self._write(self._ledger.deliver, reservation, picture.data)
                    yield picture
        except PurchaseError as error:
            reservation.spent = error.cause.rule.spent
            if reservation.spent:
                await self._write(self._ledger.fail, reservation, error.cause)
            raise

    async def _write(self, write: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Writes to the ledger what has happened already, and cannot be undone by a failure."""
        try:
            await _complete(write, *args, **kwargs)
        except PurchaseError:
            log.exception("the record of purchases lacks what happened", write=write.__name__)

    async def close(self) -> None:
        """Ends the connections to OpenAI."""
        await self._client.close()


def open_purchases(settings: OpenAISettings) -> Purchases:
    """What the settings describe. Blocks. PurchaseError if the record cannot be opened."""
    ledger = Ledger(
        open_store(settings.purchases_url),
        Limits(per_render=settings.images_per_render, per_day=settings.images_per_day),
        keep=timedelta(days=settings.keep_days),
    )
    patience = Patience(settings.timeout, settings.max_retries, settings.retry_delay)
    return Purchases(ImagesClient(settings), ledger, patience, settings.max_concurrent)


async def _next(pictures: AsyncGenerator[Picture, None], deadline: float) -> Picture | None:
    """The next picture; None after the last. PurchaseError at `deadline`."""
    try:
        # Not around the whole loop: the time limit must not span a yield to the reader.
        async with asyncio.timeout(deadline - time.monotonic()):
            return await anext(pictures, None)
    except TimeoutError:
        raise timed_out() from None


async def _complete(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs `call` in a thread, to its end also where this is cancelled meanwhile."""
    work = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # seen here; nobody else looks
        raise
