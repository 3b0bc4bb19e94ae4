"""Scene frames as objects: shared under what determines them, or of one render alone.

    frames/<key[:2]>/<key>/<sha256>.raw   the bytes as they were made
    frames/<key[:2]>/<key>/manifest       header, checksum, provenance: last, and once
    renders/<id>/scenes/<index>/<epoch>/  the same, for frames that serve their render alone

The bytes have their checksum in their name: two services that make the same
frame at the same time, not bit for bit the same, do not mix theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

from gateway.jobs.frame_manifest import FrameManifest, UnreadableManifestError
from gateway.jobs.objects import MissingObjectError, Objects
from gateway.request import RenderWarning, Scene
from gateway.spool import SpooledFrame
from rpckit.errors import GatorError, Reason
from rpckit.provenance import Backend, Provenance
from rpckit.telemetry import logger

log = logger(__name__)

SHARED = "frames"
"""Folder of frames that are shared."""
OWN = "renders"
"""Folder of what serves one render alone."""
MANIFEST = "manifest"
_KEY_VERSION = "gator frame 1"
"""Of what the key is made from: a change of it forgets every stored frame."""
_REFRESHES = 4
"""Of a manifest in the time for which an unused frame is kept, so that one in use stays."""


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
        return (
            provenance.backend is self.backend
            and provenance.model == self.model
            and provenance.num_inference_steps == self.num_inference_steps
            and provenance.guidance_scale == self.guidance_scale
        )


def frame_key(owner: str, plan: FramePlan, scene: Scene, inputs: Sequence[bytes] = ()) -> str:
    """The name of what determines a frame: SHA-256 in hex.

    Each part is led by its length. `inputs` are the SHA-256 of the pictures
    that the scene starts from.
    """
    parts = (
        _KEY_VERSION,
        owner,
        plan.backend.name,
        plan.model,
        plan.scheduler,
        plan.generation_version,
        str(plan.width),
        str(plan.height),
        str(plan.num_inference_steps),
        repr(float(plan.guidance_scale)),
        scene.prompt,
        scene.negative_prompt,
        str(scene.seed),
        *(digest.hex() for digest in inputs),
    )
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def shared_folder(key: str) -> str:
    """Where a frame that may be shared is stored, by its `frame_key`."""
    return f"{SHARED}/{key[:2]}/{key}"


def own_folder(render_id: str, index: int, epoch: int) -> str:
    """Where a frame is stored that serves its own render alone."""
    return f"{OWN}/{render_id}/scenes/{index}/{epoch}"


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
        return replace(
            self.provenance,
            backend=Backend.CACHE,
            original_backend=self.provenance.backend,
            queue_time=Fraction(0),
            generation_time=Fraction(0),
        )


class FrameStore:
    """Frames in `objects`. What does not match its checksum is deleted and counts as missing."""

    def __init__(
        self, objects: Objects, *, spool_dir: Path | None = None, ttl: timedelta | None = None
    ) -> None:
        """`spool_dir` is for frames that are read; `ttl` is the sweeper's for unused frames."""
        self._objects = objects
        self._spool_dir = spool_dir
        self._ttl = ttl

    async def get(self, folder: str) -> StoredFrame | None:
        """The frame in a folder, checked against its manifest; None if there is none.

        One that does not match is deleted. A shared one that is used is kept for
        another `ttl`.

        Raises:
            GatorError: STORAGE_UNAVAILABLE, STORAGE_FULL (of the spool).
        """
        content = await self._manifest(folder)
        if content is None:
            return None
        try:
            manifest = FrameManifest.of_json(content)
        except UnreadableManifestError as error:
            await self._drop(folder, content, f"its manifest cannot be read: {error}")
            return None
        if manifest is None:
            return None
        frame = SpooledFrame(manifest.header, self._spool_dir)
        try:
            await self._read(folder, manifest, frame)
        except MissingObjectError:
            frame.close()
            await self._drop(folder, content, "its bytes are missing")
            return None
        except GatorError as error:
            frame.close()
            if error.reason is not Reason.FRAME_CORRUPT:
                raise
            await self._drop(folder, content, error.message)
            return None
        except BaseException:
            frame.close()
            raise
        await self._note_use(folder, manifest)
        return StoredFrame(frame, manifest.provenance, manifest.warnings)

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
            GatorError: STORAGE_UNAVAILABLE, STORAGE_FULL; `get` finds nothing then.
        """
        manifest = FrameManifest(frame.header, provenance, warnings, datetime.now(UTC))
        async with aclosing(frame.chunks()) as chunks:
            await self._objects.put(_bytes_key(folder, manifest), chunks)
        while not await self._objects.create(_manifest_key(folder), manifest.to_json()):
            there = await self._manifest(folder)
            if there is None:
                continue  # it was dropped this moment
            if frame.header.sha256.hex().encode() not in there:
                # Another service was first, with a frame that is not bit for bit the same.
                await self._objects.delete(_bytes_key(folder, manifest))
            return

    async def _manifest(self, folder: str) -> bytes | None:
        try:
            return await self._objects.get(_manifest_key(folder))
        except MissingObjectError:
            return None

    async def _read(self, folder: str, manifest: FrameManifest, frame: SpooledFrame) -> None:
        """Fills `frame`; one byte more than there should be is seen too."""
        reading = self._objects.read(_bytes_key(folder, manifest), 0, manifest.header.size + 1)
        async with aclosing(reading) as pieces:
            async for piece in pieces:
                await frame.write(piece)
        frame.finish()

    async def _drop(self, folder: str, content: bytes, why: str) -> None:
        """Deletes a frame that is no good, unless it was made again meanwhile."""
        log.warning("a stored frame is made again", folder=folder, why=why)
        if await self._manifest(folder) == content:
            await self._objects.delete(_manifest_key(folder))
            await self._objects.delete_below(folder)

    async def _note_use(self, folder: str, manifest: FrameManifest) -> None:
        """Writes the manifest of a shared frame anew when it gets old: its age is that of its use.

        A sweeper that has just deleted it leaves a manifest without bytes, which
        the next reader deletes.
        """
        now = datetime.now(UTC)
        shared = folder.startswith(f"{SHARED}/")
        if self._ttl is None or not shared or now - manifest.used < self._ttl / _REFRESHES:
            return
        try:
            renewed = replace(manifest, used=now).to_json()
            await self._objects.put(_manifest_key(folder), renewed)
        except GatorError as error:
            log.info("the use of a frame was not noted", folder=folder, error=error.message)


def _manifest_key(folder: str) -> str:
    return f"{folder}/{MANIFEST}"


def _bytes_key(folder: str, manifest: FrameManifest) -> str:
    return f"{folder}/{manifest.header.sha256.hex()}.raw"
