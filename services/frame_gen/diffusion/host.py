"""The model in use: loaded at the first frame that wants it, given up for a smaller one."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from frame_gen.diffusion.catalog import ModelEntry
from frame_gen.diffusion.choosing import (
    Chooser,
    Unfit,
    may_download,
    present_models,
    smaller_than,
)
from frame_gen.diffusion.device import (
    CPU_ADVICE,
    Device,
    NoDevice,
    find_device,
    no_accelerator,
)
from frame_gen.diffusion.download import Downloader, DownloadProgress, DownloadStopped
from frame_gen.diffusion.in_use import ModelInUse, put_in_use
from frame_gen.diffusion.planning import PlannedModel, expected_model, model_in_use
from frame_gen.diffusion.settings import DiffusersSettings
from frame_gen.diffusion.upscaling import NoUpscaler, Plan, plan, start
from frame_gen.metrics import device_gone
from rpckit.telemetry import logger

log = logger(__name__)

NEEDED_MODULES = ("torch", "diffusers", "transformers", "safetensors", "accelerate")
_PRESENCE_SECONDS = 10.0
"""For which it is believed which models are on this machine."""
_DRAIN_SECONDS = 60.0
"""That images of a model that is given up have to end by themselves."""
_CLOSE_SECONDS = 5.0
"""That a model may take to be loaded when nobody wants it any more."""


class NoModel(Exception):  # noqa: N818 - a fact, said to people
    """No model can be used now; the message says why and what to do."""


def advice(why: str) -> str:
    """What a user is told where no model can be used."""
    return (
        f"No image generation models available: {why}. Set HF_TOKEN to have a model downloaded, "
        "GATOR_FRAME_GEN_DIFFUSERS_FOLDER to a folder with models, or OPENAI_API_KEY for images "
        "by OpenAI"
    )


@dataclass(frozen=True)
class HostState:
    """Whether a model can be used, as far as is known without looking at a device."""

    usable: bool
    models: tuple[str, ...] = ()
    """The one in use first."""
    why_not: str = ""
    """For people, with what to do."""


class ModelHost:
    """Loads models in a thread of its own; used from one event loop."""

    def __init__(self, settings: DiffusersSettings) -> None:
        self._settings = settings
        self._entries = settings.entries()
        self._lock = threading.Lock()
        self._closed = False
        self._lost = False
        self._in_use: ModelInUse | None = None
        self._loading: Future[None] | None = None
        self._loader: threading.Thread | None = None
        self._failure = ""
        self._failed_until = 0.0
        self._presence: tuple[float, tuple[str, ...]] | None = None
        self._expected: tuple[float, PlannedModel | None] | None = None
        self._downloader = Downloader(settings.hub_timeout, lambda: self._closed)

    @property
    def in_use(self) -> ModelInUse | None:
        """The model that is loaded."""
        return self._in_use

    @property
    def lost(self) -> bool:
        """Whether the device fails every call of this process."""
        if not self._lost and self._in_use is not None and self._in_use.engine.lost:
            self._lose()
        return self._lost

    @property
    def download(self) -> DownloadProgress | None:
        """Of the download that is under way."""
        return self._downloader.progress

    def state(self) -> HostState:
        """Answers at once, from what is known and from looking at folders."""
        present = self._present()
        if why := self._why_not():
            return HostState(usable=False, models=present, why_not=why)
        names = present or tuple(entry.name for entry in self._entries)
        if (used := self._in_use) is not None:
            names = (used.entry.name, *(name for name in names if name != used.entry.name))
        return HostState(usable=True, models=names)

    def _why_not(self) -> str:
        if self._closed:
            return advice("the service is shutting down")
        if self.lost:
            return advice("the device does not answer any more; restart the service")
        if self._in_use is not None or self._loading is not None:
            return ""
        if time.monotonic() < self._failed_until:
            return self._failure
        why = self._why_not_here()
        return advice(why) if why else ""

    def _why_not_here(self) -> str:
        """Why no model can be loaded on this machine, as far as files tell."""
        if not self._settings.enabled or not self._entries:
            return "models on this machine are switched off in the settings"
        if missing := [m for m in NEEDED_MODULES if importlib.util.find_spec(m) is None]:
            extra = "pip install 'gator-video[diffusers]'"
            return f"{missing[0]} is not installed; install the extra: {extra}"
        if self._settings.device == "auto" and no_accelerator():
            return f"this machine has no GPU; {CPU_ADVICE}"
        if not self._present() and not may_download(self._settings):
            names = ", ".join(entry.name for entry in self._entries)
            return f"none of {names} is on this machine, and none may be downloaded"
        return ""

    def _present(self) -> tuple[str, ...]:
        now = time.monotonic()
        if self._presence is None or now - self._presence[0] > _PRESENCE_SECONDS:
            found = tuple(entry.name for entry in present_models(self._settings))
            self._presence = (now, found)
        return self._presence[1]

    async def expected(self) -> PlannedModel:
        """The model that would make the next frame: the one in use, else as files tell.

        Raises:
            NoModel: there is none.
        """
        if why := self.state().why_not:
            raise NoModel(why)
        if (used := self._in_use) is not None:
            return await asyncio.to_thread(model_in_use, used)
        now = time.monotonic()
        if self._expected is None or now - self._expected[0] > _PRESENCE_SECONDS:
            self._expected = (now, await asyncio.to_thread(expected_model, self._settings))
        planned = self._expected[1]
        if planned is None:
            raise NoModel(advice("no model is on this machine"))
        return planned

    async def ready(self, seconds: float) -> ModelInUse | None:
        """The model to use; None if it is still not loaded after `seconds`.

        Raises:
            NoModel: there is none.
        """
        with self._lock:
            if self._in_use is not None and not self._in_use.engine.lost:
                return self._in_use
        if why := self.state().why_not:
            raise NoModel(why)
        with self._lock:
            if self._in_use is None and self._loading is None:
                self._start(self._entries, retired=None)
            loading = self._loading
        if loading is not None:
            await _wait(loading, seconds)
            if loading.done() and self._in_use is None and self._loading is None:
                raise NoModel(self._failure or self._why_not())
        return None

    def give_up(self, used: ModelInUse) -> bool:
        """Goes over to a smaller model because memory does not suffice; False if there is none."""
        names = {*self._present()} if not may_download(self._settings) else None
        with self._lock:
            if self._in_use is not used:
                # Another image's failure did it before.
                return not self._closed
            rest = [
                entry
                for entry in smaller_than(used.entry, self._entries)
                if names is None or entry.name in names
            ]
            if not rest or self._closed:
                return False
            log.warning("gave up a model", model=used.entry.name)
            self._in_use = None
            self._start(rest, retired=used)
        return True

    async def device(self) -> Device | None:
        """The device and its memory as it is now; None if there is none for models.

        May take seconds and touch the device.
        """
        if self._why_not():
            return None
        try:
            return await asyncio.to_thread(find_device, self._settings.device)
        except NoDevice:
            return None
        except Exception:
            # A device that is lost fails this too; what the backends can do is told all the same.
            log.exception("the device does not say what it is")
            return None

    async def close(self) -> None:
        """Ends what runs.

        A download ends at its next piece, loading when the model is loaded;
        neither is waited for longer than some seconds.
        """
        device_gone(gone=False)
        with self._lock:
            self._closed = True
            used, self._in_use = self._in_use, None
            loader = self._loader
        if used is not None:
            await asyncio.to_thread(used.close)
        if loader is not None:
            await asyncio.to_thread(loader.join, _CLOSE_SECONDS)

    def _start(self, entries: Sequence[ModelEntry], retired: ModelInUse | None) -> None:
        future: Future[None] = Future()
        self._loading = future

        def work() -> None:
            try:
                self._load(entries, retired)
            finally:
                with self._lock:
                    self._loading = None
                self._presence = None
                future.set_result(None)

        self._loader = threading.Thread(target=work, name="gator-model-loader", daemon=True)
        self._loader.start()

    def _load(self, entries: Sequence[ModelEntry], retired: ModelInUse | None) -> None:
        """Puts the first model that can be used into use, or notes why there is none."""
        used: ModelInUse | None = None
        why: list[str] = []
        try:
            if retired is not None:
                retired.retire(_DRAIN_SECONDS)
            chooser = Chooser(self._settings, self._downloader)
            used = next(
                (u for u in (self._try(e, chooser, why) for e in entries) if u is not None), None
            )
        except NoDevice as error:
            # `auto` wants one only where there is one.
            device_gone(gone=self._settings.device != "auto")
            why.append(str(error))
        except DownloadStopped:
            return
        except Exception as error:
            log.exception("no model could be loaded")
            why.append(f"loading failed ({type(error).__name__}); the log has the details")
            if _loses_the_device(error):
                self._lose()
        with self._lock:
            if not self._closed:
                if used is not None:
                    device_gone(gone=False)
                self._in_use, used = used, None
            if self._in_use is None and not self._closed:
                self._failure = advice("; ".join(why))
                self._failed_until = time.monotonic() + self._settings.retry_after
                log.warning("no model can be used", why=why)
        if used is not None:
            used.close()

    def _lose(self) -> None:
        self._lost = True
        device_gone(gone=True)
        log.critical(
            "this process makes no more images on the device, which is lost: restart it; until "
            "then frames come from other backends, or not at all"
        )

    def _try(self, entry: ModelEntry, chooser: Chooser, why: list[str]) -> ModelInUse | None:
        if self._closed:
            raise DownloadStopped
        device = find_device(self._settings.device)
        try:
            choice = chooser.examine(entry, device)
            planned: Plan | NoUpscaler | None = None
            if (upscaler := self._settings.upscaler_entry()) is not None:
                choice, planned = plan(upscaler, choice, chooser, device)
            used = put_in_use(choice, device, self._settings)
        except Unfit as error:
            log.info("model passed over", model=entry.name, why=str(error))
            why.append(f"{entry.name}: {error}")
            return None
        used.upscaler = None if planned is None else start(planned, device)
        return used


def _loses_the_device(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return False
    from frame_gen.diffusion.memory import Fault, fault_of  # noqa: PLC0415 - imports torch

    return fault_of(error) is Fault.DEVICE_LOST


async def _wait(future: Future[None], seconds: float) -> None:
    """Waits for the future, at most so long; leaves it alone when cancelled."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def ring(_: Future[None]) -> None:
        # The loop may be gone by then.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(ring)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await done.wait()
