"""Which model is used: the best that can be had and that fits into the device's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frame_gen.diffusion.catalog import GIB, Dtype, Engine, ModelEntry
from frame_gen.diffusion.device import Device, number_format
from frame_gen.diffusion.download import Downloader, DownloadError
from frame_gen.diffusion.footprint import (
    BadWeights,
    Footprint,
    Weights,
    predict,
    rows_that_fit,
    weights_of,
)
from frame_gen.diffusion.hub import Located, find_folder, has_token, is_offline, locate
from frame_gen.diffusion.settings import DiffusersSettings

ROWS_OF_ONE_IMAGE = 2
"""With guidance."""


class Unfit(Exception):  # noqa: N818 - a fact about a model, said to people
    """A model that cannot be used here; the message says why."""


@dataclass(frozen=True)
class Choice:
    """A model that can be loaded, and how."""

    entry: ModelEntry
    located: Located
    dtype: Dtype
    footprint: Footprint
    """Predicted, for the rows that will be used."""
    tight: bool
    """Whether it fits only with the engine's ways of needing less memory."""
    offload: bool
    """Whether only the part that works fits on the device."""


def may_download(settings: DiffusersSettings) -> bool:
    """Whether the settings and the environment allow that models are downloaded."""
    if settings.download == "never" or is_offline():
        return False
    return settings.download == "always" or has_token()


def present_models(settings: DiffusersSettings) -> tuple[ModelEntry, ...]:
    """The models of the settings that are on this machine, best first."""
    return tuple(e for e in settings.entries() if find_folder(e, settings.folder) is not None)


class Chooser:
    """Looks at one model after the other."""

    def __init__(self, settings: DiffusersSettings, downloader: Downloader) -> None:
        self._settings = settings
        self._downloader = downloader

    def examine(self, entry: ModelEntry, device: Device) -> Choice:
        """Whether a model can be used on a device, downloading it if that is allowed.

        Raises:
            Unfit: it cannot.
            DownloadStopped: the download was stopped.
        """
        dtype = number_format(entry.dtype, device)
        if entry.weights:
            # Before gigabytes are downloaded in vain.
            self._fit(entry, None, dtype, device)
        located, weights = self.find(entry)
        footprint, tight, offload = self._fit(entry, weights, dtype, device)
        return Choice(entry, located, dtype, footprint, tight=tight, offload=offload)

    def find(self, entry: ModelEntry) -> tuple[Located, Weights]:
        """A model's files on this machine, downloaded if that is allowed, and their weights.

        Raises:
            Unfit: there are none that can be used.
            DownloadStopped: the download was stopped.
        """
        located = self._files(entry)
        try:
            weights = weights_of(
                located.folder, entry.variant, safety_checker=self._settings.safety_checker
            )
        except BadWeights as error:
            raise Unfit(str(error)) from error
        return located, weights

    def _files(self, entry: ModelEntry) -> Located:
        located = locate(entry, self._settings.folder)
        if located is not None:
            return located
        if not entry.repository:
            raise Unfit(f"the folder {entry.folder} holds no whole model")
        if not may_download(self._settings):
            raise Unfit("it is not on this machine and may not be downloaded")
        try:
            return self._downloader.download(entry, safety_checker=self._settings.safety_checker)
        except DownloadError as error:
            raise Unfit(str(error)) from error

    def _fit(
        self, entry: ModelEntry, weights: Weights | None, dtype: Dtype, device: Device
    ) -> tuple[Footprint, bool, bool]:
        """The predicted footprint, whether it is tight, whether parts must be off the device."""
        most = max(self._settings.max_rows, ROWS_OF_ONE_IMAGE)
        if not device.free_memory:
            return predict(entry, weights, dtype, most), False, False
        free = int(device.free_memory * self._settings.memory_fraction)
        rows = rows_that_fit(entry, weights, dtype, free, most)
        if rows >= ROWS_OF_ONE_IMAGE:
            return predict(entry, weights, dtype, rows), False, False
        footprint = predict(entry, weights, dtype, ROWS_OF_ONE_IMAGE)
        if footprint.least <= free:
            return footprint, True, False
        can_offload = entry.engine is Engine.PIPELINE and device.torch_name == "cuda"
        if can_offload and footprint.least_offloaded <= free:
            return footprint, True, True
        least = footprint.least_offloaded if can_offload else footprint.least
        raise Unfit(f"it needs {gib(least)} of memory and {gib(free)} are free")


def smaller_than(entry: ModelEntry, entries: Sequence[ModelEntry]) -> tuple[ModelEntry, ...]:
    """The models after one in the order of preference, but those that are known to be larger."""
    place = next((i for i, e in enumerate(entries) if e.name == entry.name), len(entries))
    return tuple(
        other
        for other in entries[place + 1 :]
        if not (entry.weights and other.weights > entry.weights)
    )


def gib(size: int) -> str:
    """A size for people."""
    return f"{size / GIB:.1f} GiB"
