"""What is bought, written down where a crash cannot undo it: a folder or an object store.

    purchases/<order>/intent    before the request is sent
    purchases/<order>/image     the image file as it came
    purchases/<order>/failure   why it did not come, where that is known
    renders/<render>/<number>   one for each image paid for the render
    days/<day>/<number>         one for each image paid for on the day (UTC)

Every object is created once and never changed, which all stores can do
atomically, a folder included. A limit of n is n names: who creates one has
that place, whatever other processes do at the time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from frame_gen.backends.openai_images.failures import Cause, PurchaseError
from frame_gen.backends.openai_images.order import Order
from rpckit.telemetry import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ObjectStore

log = logger(__name__)

STORE_TIMEOUT = timedelta(seconds=5)
"""For a request to an object store: as long as a cancelled purchase may take to end."""


_OWN = re.compile(
    r"purchases/[0-9a-f]{64}/(?:intent|image|failure)"
    r"|renders/[0-9a-f]{64}/\d{6,}"
    r"|days/\d{4}-\d\d-\d\d/\d{6,}"
)
"""Names of the ledger's objects: a store may hold those of others too."""


@dataclass(frozen=True)
class Limits:
    """How many images may be paid for."""

    per_render: int
    per_day: int


@dataclass
class Reservation:
    """The right to buy an image, as far as it is written down."""

    order: Order
    paths: list[str] = field(default_factory=list)
    """Objects that stand for it; gone once it is released."""
    spent: bool = False
    """Whether the image counts as paid, as things stand."""
    settled: bool = False
    """Whether the image, or why it did not come, is written down."""


class TakenError(Exception):
    """Somebody else has just written down the intent to buy the same."""


def open_store(url: str) -> ObjectStore:
    """The store at a URL; a folder is made if it is not there. PurchaseError if it cannot be."""
    with _store_errors("opened"):
        if url.startswith("file:"):
            return from_url(url, mkdir=True, automatic_cleanup=True)
        if url.startswith("memory:"):
            return from_url(url)
        return from_url(
            url,
            client_options={
                # These stand in the place of AWS_ALLOW_HTTP and the like, which are not read then.
                "allow_http": True,
                "connect_timeout": STORE_TIMEOUT,
                "timeout": STORE_TIMEOUT,
            },
            retry_config={"max_retries": 3, "retry_timeout": STORE_TIMEOUT},
        )


@dataclass(frozen=True)
class Pending:
    """An intent of which nothing more is known: it is being bought, or its buyer died."""

    age: float
    """Seconds since the intent was written."""


class Ledger:
    """Purchases in a store. Every method blocks; call them in a thread."""

    def __init__(
        self,
        store: ObjectStore,
        limits: Limits,
        keep: timedelta = timedelta(days=30),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Forgets purchases that are older than `keep`."""
        self._store = store
        self._folder: Path | None = None
        if isinstance(store, LocalStore) and store.prefix is not None:
            self._folder = Path(store.prefix)
        self._limits = limits
        self._keep = keep
        self._now = now
        self._swept = ""

    def recall(self, order: Order) -> bytes | Pending | None:
        """The image that was bought for an order; None if nothing was.

        Raises:
            PurchaseError: it was paid for and did not come, or the store is away.
        """
        with _store_errors("read"):
            intent = self._read(f"{_folder(order)}/intent")
            if intent is None:
                return None
            image = self._read(f"{_folder(order)}/image")
            if image is not None:
                return image
            failure = self._read(f"{_folder(order)}/failure")
            try:
                if failure is not None:
                    raise _spent(Cause(json.loads(failure)["cause"]))
                since = datetime.fromisoformat(json.loads(intent)["at"])
            except (ValueError, KeyError, TypeError):
                # Cut short by a power cut, or not ours: what it stood for counts as paid.
                raise unfinished() from None
            return Pending((self._now() - since).total_seconds())

    def reserve(self, reservation: Reservation) -> None:
        """Writes down the intent to buy, within the limits.

        Fills in the reservation as it goes: release it if this raises.

        Raises:
            TakenError: another has written down the same intent.
            PurchaseError: a limit is reached, or the store is away.
        """
        order = reservation.order
        today = self._now().date().isoformat()
        self._sweep_once(today)
        with _store_errors("written"):
            place = {"order": order.key, "at": self._now().isoformat()}
            self._take(reservation, f"renders/{order.render_key}", self._limits.per_render, place)
            self._take(reservation, f"days/{today}", self._limits.per_day, place)
            intent = place | {
                "render": order.render_id,
                "scene": order.scene_index,
                "model": order.model,
                "size": str(order.size),
                "places": list(reservation.paths),
            }
            if not self._create(reservation, f"{_folder(order)}/intent", intent):
                raise TakenError

    def release(self, reservation: Reservation) -> None:
        """Takes back an intent that cost nothing, the last written first."""
        with _store_errors("written"):
            while reservation.paths:
                with suppress(FileNotFoundError):
                    self._store.delete(reservation.paths[-1])
                reservation.paths.pop()

    def deliver(self, reservation: Reservation, image: bytes) -> None:
        """Writes down the image that was bought."""
        with _store_errors("written"):
            self._put(f"{_folder(reservation.order)}/image", image)
        reservation.settled = True

    def fail(self, reservation: Reservation, cause: Cause) -> None:
        """Writes down why an image that counts as paid did not come."""
        with _store_errors("written"):
            content = json.dumps({"cause": cause.value}).encode()
            self._put(f"{_folder(reservation.order)}/failure", content)
        reservation.settled = True

    def _take(self, reservation: Reservation, prefix: str, limit: int, content: object) -> None:
        taken = {meta["path"] for batch in self._store.list(prefix) for meta in batch}
        if len(taken) < limit:
            for number in range(1, limit + 1):
                path = f"{prefix}/{number:06d}"
                if path not in taken and self._create(reservation, path, content):
                    return
        per_day = prefix.startswith("days/")
        setting = "GATOR_OPENAI_IMAGES_PER_DAY" if per_day else "GATOR_OPENAI_IMAGES_PER_RENDER"
        raise PurchaseError(
            Cause.LIMIT_REACHED,
            f"{limit} images were bought from OpenAI {'today' if per_day else 'for this render'}, "
            f"as many as {setting} allows. Raise it, "
            f"{'wait until 00:00 UTC' if per_day else 'make a shorter video'}",
        )

    def _create(self, reservation: Reservation, path: str, content: object) -> bool:
        """Whether the object was not there before."""
        try:
            self._put(path, json.dumps(content).encode())
        except AlreadyExistsError:
            return False
        reservation.paths.append(path)
        return True

    def _put(self, path: str, content: bytes) -> None:
        self._store.put(path, content, mode="create")
        if self._folder is None:
            return
        # object_store renames without fsync, which a power cut can undo.
        written = self._folder / path
        with written.open("rb+") as file:
            os.fsync(file.fileno())
        if os.name == "posix":  # elsewhere folders cannot be synced
            for folder in Path(path).parents:
                _sync(self._folder / folder)

    def _read(self, path: str) -> bytes | None:
        try:
            return bytes(self._store.get(path).bytes())
        except FileNotFoundError:
            return None

    def _sweep_once(self, today: str) -> None:
        """Forgets what is old, once a day."""
        if self._swept == today:
            return
        self._swept = today
        horizon = self._now() - self._keep
        try:
            for folder in ("purchases", "renders", "days"):
                self._sweep(folder, horizon)
        except (BaseError, OSError) as error:
            # Another process may sweep too; what is left is swept tomorrow.
            log.info("old purchases were not forgotten", error=type(error).__name__)

    def _sweep(self, folder: str, horizon: datetime) -> None:
        for batch in self._store.list(folder):
            for meta in batch:
                if meta["last_modified"] < horizon and _OWN.fullmatch(meta["path"]):
                    self._store.delete(meta["path"])


def unfinished() -> PurchaseError:
    """What is told of an intent whose buyer died."""
    return _spent(Cause.SPENT_BEFORE)


_HOW = {
    Cause.TIMED_OUT: "timed out",
    Cause.BROKEN_OFF: "broke off",
    Cause.GIVEN_UP: "was cancelled",
    Cause.NO_IMAGE: "brought no image that can be used",
}


def _spent(cause: Cause) -> PurchaseError:
    if cause is Cause.REJECTED:
        why = "OpenAI's moderation rejected this scene in an earlier try. Change its prompt"
        return PurchaseError(cause, why)
    return PurchaseError(
        Cause.SPENT_BEFORE,
        f"an earlier try to buy this image from OpenAI {_HOW.get(cause, 'did not end')}. It may "
        "have been charged and is not asked for again in this render. Start a new one",
    )


def _folder(order: Order) -> str:
    return f"purchases/{order.key}"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _store_errors(what: str) -> Iterator[None]:
    """Turns the store's failures into an error that says what to do."""
    try:
        yield
    except (BaseError, OSError) as error:
        log.warning("the record of purchases failed", error=type(error).__name__, exc_info=error)
        raise PurchaseError(
            Cause.LEDGER_AWAY,
            f"the record of images bought from OpenAI cannot be {what}, so none is bought. "
            "Look at GATOR_OPENAI_PURCHASES_URL and the log",
        ) from error
