"""Which model would make a frame, told from files alone: free of torch, in some milliseconds."""

from __future__ import annotations

import json
from dataclasses import dataclass

from frame_gen.diffusion.catalog import ModelEntry
from frame_gen.diffusion.choosing import may_download
from frame_gen.diffusion.hub import Located, locate
from frame_gen.diffusion.in_use import ModelInUse
from frame_gen.diffusion.settings import DiffusersSettings
from frame_gen.diffusion.upscaling import Upscaler


@dataclass(frozen=True)
class PlannedModel:
    """A model that would make a frame, with what enlarges it."""

    entry: ModelEntry
    name: str
    """As in the provenance: where the model and the upscaler are from, and their revisions."""
    scheduler: str
    """Name in the catalog, or class of the one that comes with the model."""
    width: int
    """Of the frame, pixels."""
    height: int
    """Of the frame, pixels."""


def model_in_use(used: ModelInUse) -> PlannedModel:
    """What the loaded model makes frames with."""
    upscaler = used.upscaler if isinstance(used.upscaler, Upscaler) else None
    return _planned(
        used.entry,
        used.name,
        used.choice.located,
        None if upscaler is None else upscaler.entry,
        "" if upscaler is None else upscaler.name,
    )


def expected_model(settings: DiffusersSettings) -> PlannedModel | None:
    """The model that is likely to be loaded next: the first that is here or may be downloaded.

    None if there is none. Another is loaded where memory or the files do not
    suffice for this one. Reads some megabytes of each model's files.
    """
    downloads = may_download(settings)
    for entry in settings.entries():
        located = locate(entry, settings.folder)
        if located is not None or (downloads and entry.repository):
            break
    else:
        return None
    upscaler = settings.upscaler_entry()
    enlarged = None if upscaler is None else locate(upscaler, settings.folder)
    if upscaler is None or (enlarged is None and not (downloads and upscaler.repository)):
        return _planned(entry, _name(entry, located), located, None, "")
    return _planned(entry, _name(entry, located), located, upscaler, _name(upscaler, enlarged))


def _planned(
    entry: ModelEntry,
    name: str,
    located: Located | None,
    upscaler: ModelEntry | None,
    upscaler_name: str,
) -> PlannedModel:
    scale = 1 if upscaler is None else upscaler.scale
    return PlannedModel(
        entry,
        " + ".join(filter(None, (name, upscaler_name))),
        entry.scheduler or _own_scheduler(located),
        entry.width * scale,
        entry.height * scale,
    )


def _name(entry: ModelEntry, located: Located | None) -> str:
    """As `ModelInUse.name`. A branch that is not downloaded yet has no commit to name."""
    return f"{entry.source}@{entry.revision if located is None else located.revision}"


def _own_scheduler(located: Located | None) -> str:
    """The class of the scheduler in a model's folder; its settings go with the revision."""
    if located is None:
        return ""
    try:
        text = (located.folder / "scheduler" / "scheduler_config.json").read_text()
        return str(json.loads(text)["_class_name"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
