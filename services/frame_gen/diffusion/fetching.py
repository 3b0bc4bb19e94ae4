"""Brings every model of the settings onto this machine, for deployments that do so beforehand."""

from __future__ import annotations

import signal
import threading

from frame_gen.diffusion.catalog import ModelEntry
from frame_gen.diffusion.download import Downloader, DownloadError
from frame_gen.diffusion.hub import Located, locate
from frame_gen.diffusion.settings import DiffusersSettings
from rpckit.telemetry import logger

log = logger(__name__)


def fetch_models(settings: DiffusersSettings) -> list[Located]:
    """Where each model of `models`, and the upscaler, is; what is missing is downloaded.

    May take minutes; ends soon after SIGTERM.

    Raises:
        DownloadError: one cannot be had.
        DownloadStopped: at SIGTERM.
    """
    terminated = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    try:
        downloader = Downloader(settings.hub_timeout, terminated.is_set)
        upscaler = settings.upscaler_entry()
        entries = [*settings.entries(), *([upscaler] if upscaler else [])]
        return [_fetch(entry, settings, downloader) for entry in entries]
    finally:
        signal.signal(signal.SIGTERM, before)


def _fetch(entry: ModelEntry, settings: DiffusersSettings, downloader: Downloader) -> Located:
    found = locate(entry, settings.folder)
    if found is not None:
        log.info("the model is there", model=entry.name, revision=found.revision)
        return found
    if not entry.repository:
        raise DownloadError(f"{entry.name} is in no folder of this machine, and has no repository")
    return downloader.download(entry, safety_checker=settings.safety_checker)
