"""The record of purchases, in a folder and in the memory of an object store."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from frame_gen.backends.openai_images.failures import Cause, PurchaseError
from frame_gen.backends.openai_images.ledger import (
    Ledger,
    Limits,
    Pending,
    Reservation,
    TakenError,
    open_store,
)
from frame_gen.backends.openai_images.models import Size
from frame_gen.backends.openai_images.order import Order
from tests.support.openai_buying import written

ORDER = Order("r-1", 0, "a lighthouse", "", "gpt-image-2", Size(64, 32), "low")
LIMITS = Limits(per_render=3, per_day=4)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

MakeLedger = Callable[..., Ledger]


@pytest.fixture(params=["folder", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> MakeLedger:
    """Ledgers of one store, as different processes have them."""
    folder = request.param == "folder"
    store = open_store((tmp_path / "a folder").as_uri()) if folder else MemoryStore()

    def make(limits: Limits = LIMITS, now: datetime = NOON) -> Ledger:
        return Ledger(store, limits, now=lambda: now)

    return make


def reserved(ledger: Ledger, order: Order = ORDER) -> Reservation:
    reservation = Reservation(order)
    try:
        ledger.reserve(reservation)
    except BaseException:
        ledger.release(reservation)
        raise
    return reservation


def scene(index: int, render_id: str = "r-1") -> Order:
    return replace(ORDER, scene_index=index, render_id=render_id)


def test_what_is_bought_is_remembered_by_all(ledger: MakeLedger) -> None:
    one, other = ledger(), ledger()
    assert one.recall(ORDER) is None
    reservation = reserved(one)
    one.deliver(reservation, b"an image")
    assert other.recall(ORDER) == b"an image"
    assert other.recall(scene(1)) is None


def test_an_intent_without_an_image_is_not_bought_again(ledger: MakeLedger) -> None:
    reserved(ledger())
    later = ledger(now=NOON + timedelta(minutes=3))
    assert later.recall(ORDER) == Pending(180.0)
    with pytest.raises(TakenError):
        reserved(later)


@pytest.mark.parametrize(
    ("cause", "told", "text"),
    [
        (Cause.TIMED_OUT, Cause.SPENT_BEFORE, "timed out"),
        (Cause.BROKEN_OFF, Cause.SPENT_BEFORE, "broke off"),
        (Cause.GIVEN_UP, Cause.SPENT_BEFORE, "was cancelled"),
        (Cause.REJECTED, Cause.REJECTED, "moderation"),
    ],
)
def test_why_an_image_did_not_come_is_remembered(
    ledger: MakeLedger, cause: Cause, told: Cause, text: str
) -> None:
    one = ledger()
    one.fail(reserved(one), cause)
    with pytest.raises(PurchaseError, match=text) as caught:
        ledger().recall(ORDER)
    assert caught.value.cause is told


def test_what_is_released_may_be_bought(ledger: MakeLedger) -> None:
    one = ledger(Limits(per_render=1, per_day=1))
    for _ in range(3):
        reservation = reserved(one)
        one.release(reservation)
        assert reservation.paths == []
        one.release(reservation)
    assert one.recall(ORDER) is None


def test_a_render_has_its_limit(ledger: MakeLedger) -> None:
    for index in range(3):
        reserved(ledger(), scene(index))
    with pytest.raises(PurchaseError, match=r"3 images .* for this render") as caught:
        reserved(ledger(), scene(3))
    assert caught.value.cause is Cause.LIMIT_REACHED
    reserved(ledger(), scene(3, "r-2"))


def test_a_day_has_its_limit_and_ends_at_midnight(ledger: MakeLedger) -> None:
    for index in range(4):
        reserved(ledger(), scene(0, f"r-{index}"))
    with pytest.raises(PurchaseError, match=r"4 images .* today"):
        reserved(ledger(), scene(0, "r-9"))
    reserved(ledger(now=NOON + timedelta(hours=12)), scene(0, "r-9"))


def test_an_order_that_is_taken_takes_no_place(ledger: MakeLedger) -> None:
    reserved(ledger())
    for _ in range(5):
        with pytest.raises(TakenError):
            reserved(ledger())
    for index in (1, 2):
        reserved(ledger(), scene(index))


def test_a_lower_limit_counts_what_was_bought_before(ledger: MakeLedger) -> None:
    for index in range(3):
        reserved(ledger(), scene(index))
    with pytest.raises(PurchaseError, match="2 images"):
        reserved(ledger(Limits(per_render=2, per_day=9)), scene(3))
    with pytest.raises(PurchaseError, match="0 images"):
        reserved(ledger(Limits(per_render=9, per_day=0)), scene(3))


def test_what_is_old_is_forgotten(ledger: MakeLedger) -> None:
    one = ledger()
    one.deliver(reserved(one), b"an image")
    in_time = ledger(now=datetime.now(UTC) + timedelta(days=29))
    reserved(in_time, scene(1))
    assert in_time.recall(ORDER) == b"an image"
    late = ledger(now=datetime.now(UTC) + timedelta(days=31))
    reserved(late, scene(1, "r-2"))
    assert late.recall(ORDER) is None


def test_an_intent_tells_what_was_bought_but_not_the_prompt(tmp_path: Path) -> None:
    one = Ledger(open_store(tmp_path.as_uri()), LIMITS, now=lambda: NOON)
    reserved(one)
    (intent,) = tmp_path.glob("purchases/*/intent")
    assert json.loads(intent.read_text()) == {
        "order": ORDER.key,
        "at": "2026-11-22T12:00:00+00:00",
        "render": "r-1",
        "scene": 0,
        "model": "gpt-image-2",
        "size": "64x32",
        "places": [f"renders/{ORDER.render_key}/000001", "days/2026-11-22/000001"],
    }


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux for files' names")
def test_what_is_written_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    one = Ledger(open_store(tmp_path.as_uri()), LIMITS, now=lambda: NOON)
    monkeypatch.setattr(os, "fsync", fsync)
    reservation = reserved(one)
    for path in reservation.paths:
        file = tmp_path / path
        assert str(file) in synced
        assert str(file.parent) in synced
        assert str(file.parent.parent) in synced
    assert str(tmp_path) in synced


@pytest.mark.parametrize("name", ["intent", "failure"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"at": 7}', b'{"cause": "?"}'])
def test_a_record_that_was_cut_short_counts_as_paid(
    tmp_path: Path, name: str, content: bytes
) -> None:
    one = Ledger(open_store(tmp_path.as_uri()), LIMITS)
    one.fail(reserved(one), Cause.TIMED_OUT)
    (file,) = tmp_path.glob(f"purchases/*/{name}")
    file.write_bytes(content)
    with pytest.raises(PurchaseError) as caught:
        one.recall(ORDER)
    assert caught.value.cause is Cause.SPENT_BEFORE
    with pytest.raises(TakenError):
        reserved(one)


def test_a_store_that_fails_is_told_without_its_words(tmp_path: Path) -> None:
    one = Ledger(open_store(tmp_path.as_uri()), LIMITS)
    (tmp_path / "purchases").write_text("in the way")
    for call in (lambda: one.recall(ORDER), lambda: reserved(one)):
        with pytest.raises(PurchaseError, match="GATOR_OPENAI_PURCHASES_URL") as caught:
            call()
        assert str(tmp_path) not in caught.value.message
    with pytest.raises(PurchaseError, match="cannot be opened"):
        open_store("nothing://such")


RACER = """
import sys
from frame_gen.backends.openai_images.failures import PurchaseError
from frame_gen.backends.openai_images.ledger import Ledger, Limits, Reservation, open_store
from frame_gen.backends.openai_images.models import Size
from frame_gen.backends.openai_images.order import Order

url, name = sys.argv[1:]
ledger = Ledger(open_store(url), Limits(per_render=100, per_day=25))
print("ready", flush=True)
sys.stdin.readline()
won = 0
for index in range(20):
    order = Order(name, index, "a lighthouse", "", "gpt-image-2", Size(64, 32), "low")
    try:
        ledger.reserve(Reservation(order))
        won += 1
    except PurchaseError as error:
        assert error.cause.name == "LIMIT_REACHED", error
print(won)
"""


async def test_processes_share_the_limit_of_a_day(tmp_path: Path) -> None:
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            RACER,
            tmp_path.as_uri(),
            name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in ("r-1", "r-2")
    ]
    for racer in racers:
        assert racer.stdout
        assert await racer.stdout.readline() == b"ready\n"
    outputs = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    won = [int(output) for output, _ in outputs]
    assert sum(won) == 25
    assert all(won)
    assert written(tmp_path).count("purchases/intent") == 25
