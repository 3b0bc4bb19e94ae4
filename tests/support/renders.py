"""Renders for tests of the store."""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta
from typing import Any

from gateway.jobs.records import Claim, NewRender, VideoRecord
from gateway.jobs.store import Store


def new_render(**fields: Any) -> NewRender:
    """A render of two scenes, but for `fields`."""
    request = fields.setdefault("request", b"a request")
    return NewRender(
        **{
            "render_id": str(uuid.uuid4()),
            "owner": "ada",
            "scene_count": 2,
            "frame_count": 120,
            "fingerprint": hashlib.sha256(request).digest(),
            **fields,
        }
    )


def video_of(claim: Claim) -> VideoRecord:
    """The video of an attempt."""
    epoch = claim.lease.epoch
    return VideoRecord(
        f"outputs/{claim.lease.render_id}/{epoch}.mp4", 1000 + epoch, b"s" * 32, epoch
    )


async def claimed(store: Store, worker: str = "worker", **fields: Any) -> Claim:
    """A new render that `worker` has taken. There must be no other that waits."""
    await store.create(new_render(**fields))
    [claim] = await store.claim(worker, 1)
    return claim


async def succeeded(store: Store, claim: Claim, keep_for: timedelta | None = None) -> None:
    """Publishes the video of an attempt, which is kept for ever, or for so long."""
    await store.succeed(claim.lease, video=video_of(claim), result=b"result", keep_for=keep_for)
