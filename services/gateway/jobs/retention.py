"""Which objects nobody needs any more: decided from rows and listings alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.jobs.frames import MANIFEST
from gateway.jobs.objects import ObjectInfo

_VIDEO = re.compile(r"outputs/(?P<id>[^/]+)/(?P<epoch>\d+)\.mp4")
_LIVE = re.compile(r"outputs/(?P<id>[^/]+)/(?P<epoch>\d+)\.live/[^/]+")
_OWN_FRAME = re.compile(r"renders/(?P<id>[^/]+)/scenes/\d+/(?P<epoch>\d+)/[^/]+")


@dataclass(frozen=True)
class Keeping:
    """For how long renders and objects are kept."""

    render_ttl: timedelta | None = timedelta(days=90)
    """After the end of a render whose video is gone; None keeps it."""

    frame_ttl: timedelta | None = timedelta(days=30)
    """After its last use, for a frame that is shared; None keeps it."""
    live: timedelta = timedelta(minutes=10)
    """After the end of a render, for its live form: who follows it may read to its end."""
    grace: timedelta = timedelta(hours=1)
    """After `expire_time`, for a video that is still being downloaded, and for a frame that was
    begun and has no manifest yet."""


@dataclass(frozen=True)
class RenderView:
    """What the row of a render tells about its objects."""

    epoch: int
    """Of its newest attempt."""
    end_time: datetime | None = None
    """When it ended; None before."""
    video_key: str = ""
    """Object of its result; empty without one."""
    expire_time: datetime | None = None
    """When that video may be deleted; None keeps it."""


def render_of(key: str) -> str:
    """The id of the render to which an object of `outputs/` or `renders/` belongs; "" for none."""
    match = _VIDEO.fullmatch(key) or _LIVE.fullmatch(key) or _OWN_FRAME.fullmatch(key)
    return match["id"] if match else ""


def useless_outputs(
    listed: Iterable[ObjectInfo],
    renders: Mapping[str, RenderView],
    now: datetime,
    keeping: Keeping,
) -> list[str]:
    """Keys of `outputs/...` and `renders/...` that may go. What is not ours stays.

    Args:
        listed: objects; the rows were read after the listing.
        renders: rows by id, of every id in the listing; one that is not there
            was deleted.
        now: by the clock of the rows.
        keeping: for how long.
    """
    return [info.key for info in listed if _is_useless(info.key, renders, now, keeping)]


def _is_useless(
    key: str, renders: Mapping[str, RenderView], now: datetime, keeping: Keeping
) -> bool:
    render_id = render_of(key)
    view = renders.get(render_id)
    if not render_id or view is None:
        return bool(render_id)
    if match := _VIDEO.fullmatch(key):
        if key == view.video_key:
            return view.expire_time is not None and now >= view.expire_time + keeping.grace
        return int(match["epoch"]) < view.epoch or view.end_time is not None
    if match := _LIVE.fullmatch(key):
        ended = view.end_time is not None and now >= view.end_time + keeping.live
        return int(match["epoch"]) < view.epoch or ended
    # A frame may be of an earlier attempt than that which uses it.
    return view.end_time is not None


@dataclass(frozen=True)
class UselessFrames:
    """What may go of a listing of shared frames."""

    unused: Mapping[str, list[str]]
    """Keys by folder, the manifest first: their last use is long ago, or nobody finished them."""
    doubtful: Mapping[str, list[str]]
    """Keys of bytes by folder, old ones, of which the manifest there names one at most."""


def useless_frames(
    listed: Iterable[ObjectInfo],
    now: datetime,
    keeping: Keeping,
) -> UselessFrames:
    """What may go of `frames/...`, unless a render that has not ended refers to it.

    Args:
        listed: every object of each folder of which there is one.
        now: by the clock of the store.
        keeping: for how long.
    """
    folders: defaultdict[str, list[ObjectInfo]] = defaultdict(list)
    for info in listed:
        folders[info.key.rpartition("/")[0]].append(info)
    unused: dict[str, list[str]] = {}
    doubtful: dict[str, list[str]] = {}
    for folder, infos in folders.items():
        infos.sort(key=lambda info: (not info.key.endswith(f"/{MANIFEST}"), info.key))
        keys = [info.key for info in infos]
        old = [info.key for info in infos if now - info.modified >= keeping.grace]
        if keys[0] != f"{folder}/{MANIFEST}":
            if len(old) == len(keys):
                unused[folder] = keys
        elif is_unused(infos[0], now, keeping):
            unused[folder] = keys
        elif len(keys) > 2:
            doubtful[folder] = [key for key in old if key != keys[0]]
    return UselessFrames(unused, doubtful)


def is_unused(manifest: ObjectInfo, now: datetime, keeping: Keeping) -> bool:
    """Whether the last use of a frame, which is the age of its manifest, is long ago."""
    return keeping.frame_ttl is not None and now - manifest.modified >= keeping.frame_ttl


def without_held(keys: Iterable[str], held: Collection[str]) -> list[str]:
    """The keys but for those that are held, by themselves or by their folder."""
    return [key for key in keys if key not in held and key.rpartition("/")[0] not in held]
