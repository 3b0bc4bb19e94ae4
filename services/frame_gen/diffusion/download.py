"""Brings a model from the Hugging Face hub into its cache on this machine."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_gen.diffusion.catalog import ModelEntry
from frame_gen.diffusion.hub import (
    INDEX,
    Located,
    cache_folder,
    locate,
    parts_of,
    wanted_files,
)
from rpckit.telemetry import logger

log = logger(__name__)

_LOG_EVERY = 10.0
"""Seconds between log lines of a download."""


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is, in bytes."""

    done: int
    total: int
    time_left: float | None = None
    """Estimate in seconds; None where there is nothing to judge by."""


class DownloadError(Exception):
    """A model could not be downloaded; the message says why, without secrets."""


class DownloadStopped(Exception):  # noqa: N818 - an order, no error
    """Nobody wants the model any more."""


class Downloader:
    """Brings models from the hub, with log lines and a figure of how far it is."""

    def __init__(self, timeout: float, stopped: Callable[[], bool]) -> None:
        """`timeout` seconds to say what a repository holds; `stopped` ends a download soon."""
        self._timeout = timeout
        self._stopped = stopped
        self._started = 0.0
        self._logged = 0.0
        self.progress: DownloadProgress | None = None
        """Of the download that is under way."""

    def download(self, entry: ModelEntry, *, safety_checker: bool) -> Located:
        """Downloads what is missing of a model into the hub's cache. Takes minutes.

        Raises:
            DownloadError: it cannot be had.
            DownloadStopped: `stopped` said so.
        """
        import huggingface_hub  # noqa: PLC0415 - half a second, and seldom needed

        try:
            found = self._download(huggingface_hub, entry, safety_checker)
        except DownloadStopped:
            raise
        except Exception as error:
            if self._stopped():
                raise DownloadStopped from error
            why = _explain(huggingface_hub, entry, error)
            log.warning("a download failed", model=entry.name, why=why, error=repr(error))
            raise DownloadError(why) from error
        finally:
            self.progress = None
        if found is None:
            raise DownloadError(f"{entry.repository} holds no model in safetensors files")
        return found

    def _download(self, hub: Any, entry: ModelEntry, safety_checker: bool) -> Located | None:
        endpoint = os.environ.get("HF_ENDPOINT") or None
        place = {"endpoint": endpoint, "cache_dir": cache_folder(), "etag_timeout": self._timeout}

        def contents(revision: str) -> Any:
            return hub.HfApi(endpoint=endpoint).model_info(
                entry.repository, revision=revision, files_metadata=True, timeout=self._timeout
            )

        # Asked first, because this is not tried again and again where the hub is away.
        info = contents(entry.revision)
        # Pins a branch to the commit that it is at now, in the cache too.
        index = Path(hub.hf_hub_download(entry.repository, INDEX, revision=entry.revision, **place))
        commit = index.parent.name
        if commit != info.sha:
            info = contents(commit)
        parts = parts_of(json.loads(index.read_text()))
        if not safety_checker:
            parts.pop("safety_checker", None)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        files = wanted_files(sizes, parts, entry.variant)
        total = sum(sizes.get(file, 0) for file in files)
        log.info(
            "downloading a model",
            model=entry.name,
            repository=entry.repository,
            revision=commit,
            bytes=total,
            licence=entry.licence,
        )
        self._started = time.monotonic()
        self._advance(entry, 0, total)
        hub.snapshot_download(
            entry.repository,
            revision=commit,
            allow_patterns=files,
            tqdm_class=_meter(lambda done: self._advance(entry, done, total)),
            **place,
        )
        log.info("downloaded a model", model=entry.name, revision=commit, bytes=total)
        return locate(dataclasses.replace(entry, folder=None))

    def _advance(self, entry: ModelEntry, done: int, total: int) -> None:
        if self._stopped():
            raise DownloadStopped
        done = min(done, total)
        passed = time.monotonic() - self._started
        left = passed * (total - done) / done if done and passed > 1 else None
        self.progress = DownloadProgress(done, total, left)
        if time.monotonic() - self._logged >= _LOG_EVERY:
            self._logged = time.monotonic()
            percent = 100 * done // max(total, 1)
            log.info("downloading", model=entry.name, done=done, bytes=total, percent=percent)


def _meter(advance: Callable[[int], None]) -> type:
    """A progress bar class for the hub's library that shows nothing and calls `advance`."""
    from tqdm.std import tqdm  # noqa: PLC0415 - as above

    class Meter(tqdm):  # type: ignore[misc]
        # It would leave a thread behind.
        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            # One bar counts files.
            if self.unit == "B":
                advance(int(self.n))
            return shown

    return Meter


def _explain(hub: Any, entry: ModelEntry, error: Exception) -> str:
    """What went wrong, for people, without what the error itself may hold."""
    name = entry.repository
    errors = hub.errors
    known = {
        errors.GatedRepoError: (
            f"{name} wants its terms accepted: do so on its page of the hub, then set HF_TOKEN"
        ),
        errors.RepositoryNotFoundError: (
            f"the hub has no {name} for this user; set HF_TOKEN if it is private"
        ),
        errors.RevisionNotFoundError: f"{name} has no revision {entry.revision}",
        errors.RemoteEntryNotFoundError: f"{name} is not a model in diffusers' layout",
    }
    for cause in _causes(error):
        for kind, message in known.items():
            if isinstance(cause, kind):
                return message
        if isinstance(cause, errors.HfHubHTTPError):
            return f"the hub answered {cause.response.status_code} for {name}"
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            return f"the disk of {cache_folder()} is full"
    return f"the hub could not be reached for {name}, or broke off"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
