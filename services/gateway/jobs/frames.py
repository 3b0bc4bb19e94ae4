"""Scene frames as objects: shared under what determines them, or of one render alone.

frames/<key[:2]>/<key>/<sha256>.raw   the bytes as they were made
frames/<key[:2]>/<key>/manifest       header, checksum, provenance: last, and once
renders/<id>/scenes/<index>/<epoch>/  the same, for frames that serve their render alone
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from gateway.jobs.objects import Objects
from gateway.request import RenderWarning, Scene
from gateway.spool import SpooledFrame
from rpckit.provenance import Backend, Provenance


@dataclass(frozen=True)
class FramePlan:
    """What would make a frame, and how: frame generation's PlanFrame answer."""

    backend: Backend
    model: str
    """Name and revision; empty where there is none."""
    scheduler: str
    generation_version: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    num_inference_steps: int
    """That would be done; 0 where there are none."""
    guidance_scale: float
    """That would be used; 0 where there is none."""
    shareable: bool
    """Whether the frame may serve other renders of its owner."""

    def made(self, provenance: Provenance) -> bool:
        """Whether a frame of this provenance was made as planned."""
        raise NotImplementedError


def frame_key(owner: str, plan: FramePlan, scene: Scene, inputs: Sequence[bytes] = ()) -> str:
    """The name of what determines a frame: SHA-256 in hex.

    `inputs` are the SHA-256 of the pictures that the scene starts from.
    """
    raise NotImplementedError


def shared_folder(key: str) -> str:
    """Where a frame that may be shared is stored, by its `frame_key`."""
    raise NotImplementedError


def own_folder(render_id: str, index: int, epoch: int) -> str:
    """Where a frame is stored that serves its own render alone."""
    raise NotImplementedError


@dataclass(frozen=True)
class StoredFrame:
    """A frame that was stored: close `frame` when it is not needed any more."""

    frame: SpooledFrame
    provenance: Provenance
    """As it was made: what a resume of its own render shows."""
    warnings: tuple[RenderWarning, ...]

    @property
    def reused(self) -> Provenance:
        """The provenance in another render: CACHE, with the original backend, and no time spent."""
        raise NotImplementedError


class FrameStore:
    """Frames in `objects`. What does not match its checksum is deleted and counts as missing."""

    def __init__(
        self, objects: Objects, *, spool_dir: Path | None = None, ttl: timedelta | None = None
    ) -> None:
        """`spool_dir` is for frames that are read; `ttl` is that of the sweeper."""
        raise NotImplementedError

    async def get(self, folder: str) -> StoredFrame | None:
        """The frame in a folder, checked against its manifest; None if there is none.

        One that does not match is deleted. A shared one that is used is kept for
        another `ttl`.

        Raises:
            GatorError: STORAGE_UNAVAILABLE, STORAGE_FULL (of the spool).
        """
        raise NotImplementedError

    async def put(
        self,
        folder: str,
        frame: SpooledFrame,
        provenance: Provenance,
        warnings: tuple[RenderWarning, ...] = (),
    ) -> None:
        """Stores a frame, its manifest last. Where there is one already, that one stays.

        `frame` must be finished and stay open meanwhile; others may read it at the time.

        Raises:
            GatorError: STORAGE_UNAVAILABLE, STORAGE_FULL; nothing is stored then.
        """
        raise NotImplementedError
