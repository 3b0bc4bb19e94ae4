"""Which objects nobody needs any more: decided from rows and listings alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.jobs.objects import ObjectInfo


@dataclass(frozen=True)
class Keeping:
    """For how long objects are kept."""

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


def useless_outputs(
    listed: Iterable[ObjectInfo],
    renders: Mapping[str, RenderView],
    now: datetime,
    keeping: Keeping,
) -> list[str]:
    """Keys of `outputs/...` and `renders/...` that may go.

    Args:
        listed: objects; the rows were read after the listing.
        renders: rows by id, of every id in the listing; one that is not there
            was deleted.
        now: by the clock of the rows.
        keeping: for how long.
    """
    raise NotImplementedError


def useless_frames(
    listed: Iterable[ObjectInfo],
    in_use: Collection[str],
    now: datetime,
    keeping: Keeping,
) -> list[str]:
    """Keys of `frames/...` that may go, a frame's manifest before its bytes.

    Args:
        listed: every object of each folder of which there is one.
        in_use: folders to which a render refers that has not ended.
        now: by the clock of the store.
        keeping: for how long.
    """
    raise NotImplementedError
