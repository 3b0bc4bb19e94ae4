"""Where a model's files are on this machine, and whether the Hugging Face hub may be asked.

What is on this machine is found by looking at folders, without the hub's library
and without the network. The layout of its cache is the documented one:
models--OWNER--NAME/{refs/BRANCH, snapshots/COMMIT/...}.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_gen.diffusion.catalog import ModelEntry

INDEX = "model_index.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = {"1", "ON", "YES", "TRUE"}
_CONFIG_SUFFIXES = (".json", ".txt", ".model", ".jinja")
_END = 1 << 20
"""Bytes of a file's ends that a fingerprint covers."""
_OPTIONAL = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts without which a model makes images all the same."""


@dataclass(frozen=True)
class Located:
    """A model whose files are on this machine."""

    folder: Path
    revision: str
    """Commit of the repository, or a fingerprint of the folder."""


def is_offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment forbids the hub."""
    return any(
        environment.get(name, "").upper() in _TRUE
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def has_token(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a token for the hub is there: in the environment, or from a login."""
    if environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    file = environment.get("HF_TOKEN_PATH") or str(_home(environment) / "token")
    return Path(file).expanduser().is_file()


def _home(environment: Mapping[str, str]) -> Path:
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(environment.get("HF_HOME") or f"{cache}/huggingface").expanduser()


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The hub's cache, as its library finds it."""
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    return Path(named).expanduser() if named else _home(environment) / "hub"


def find_folder(entry: ModelEntry, models: Path | None = None) -> Path | None:
    """The folder with the model's files on this machine, whole; None if they are not there.

    Looks into the entry's own folder, then a folder of its name in `models`,
    then the hub's cache.
    """
    folders = [entry.folder] if entry.folder is not None else []
    if models is not None:
        folders.append(models / entry.name)
    if entry.repository and (cached := _snapshot(entry)) is not None:
        folders.append(cached)
    return next((folder for folder in folders if is_whole(folder, entry.variant)), None)


def locate(entry: ModelEntry, models: Path | None = None) -> Located | None:
    """As `find_folder`, with the revision of what is there. Reads some megabytes."""
    folder = find_folder(entry, models)
    return None if folder is None else Located(folder, _revision_of(folder))


def _snapshot(entry: ModelEntry) -> Path | None:
    """Where the hub's cache holds the entry's revision, if it does at all."""
    repository = cache_folder() / f"models--{entry.repository.replace('/', '--')}"
    commit = entry.revision
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (repository / "refs" / entry.revision).read_text().strip()
        except OSError:
            return None
    return repository / "snapshots" / commit


def is_whole(folder: Path, variant: str = "") -> bool:
    """Whether a folder holds every part that its index names, weights included."""
    try:
        index = json.loads((folder / INDEX).read_text())
    except (OSError, ValueError):
        return False
    parts = [part for part in parts_of(index) if part not in _OPTIONAL]
    return bool(parts) and all(_part_is_whole(folder / part, variant) for part in parts)


def parts_of(index: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The parts that a pipeline's index names, with their library and class."""
    return {
        name: (value[0], value[1])
        for name, value in index.items()
        if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)
    }


def _part_is_whole(folder: Path, variant: str) -> bool:
    if not folder.is_dir():
        return False
    for shards in _shard_indexes(folder, variant):
        try:
            names = set(json.loads(shards.read_text())["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return False
        return all((folder / name).exists() for name in names)
    has_weights = folder.name.startswith(("unet", "transformer", "vae", "text_encoder"))
    return not has_weights or any(folder.glob("*.safetensors"))


def _shard_indexes(folder: Path, variant: str) -> list[Path]:
    indexes = sorted(folder.glob("*.safetensors.index*.json"))
    marked = [path for path in indexes if variant and f".{variant}" in path.name]
    # Whole weights of the variant go before shards of the plain ones.
    if not marked and variant and any(folder.glob(f"*.{variant}.safetensors")):
        return []
    return marked or [path for path in indexes if path.name.endswith(".safetensors.index.json")]


def _revision_of(folder: Path) -> str:
    """The commit of a snapshot of the hub, or a name for the contents of another folder.

    Of gigabytes of weights only the size and the two ends are read.
    """
    whole = folder.resolve()
    if whole.parent.name == "snapshots" and _COMMIT.fullmatch(whole.name):
        return whole.name
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix not in (*_CONFIG_SUFFIXES, ".safetensors"):
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_END))
            file.seek(max(0, size - _END))
            digest.update(file.read(_END))
    return f"sha256-{digest.hexdigest()[:16]}"


def wanted_files(files: Iterable[str], parts: Iterable[str], variant: str) -> list[str]:
    """What to download of a repository: the parts' configuration and safetensors, each once.

    A part's weights are those of `variant` where it has them, else the plain ones.
    """
    chosen = [INDEX]
    files = sorted(files)
    for part in parts:
        own = [f for f in files if f.startswith(f"{part}/") and f.count("/") == 1]
        weights = [f for f in own if ".safetensors" in f]
        marked = [f for f in weights if variant and f".{variant}" in f]
        plain = [f for f in weights if re.search(r"/[^.]+\.safetensors(\.index\.json)?$", f)]
        chosen += marked or plain
        chosen += [f for f in own if f not in weights and _is_configuration(f)]
    return chosen


def _is_configuration(file: str) -> bool:
    # Indexes of weights in other formats are no configuration.
    return file.endswith(_CONFIG_SUFFIXES) and not file.endswith(".index.json")
