"""Composing as an async stream of plain values: what the servicer sends, without gRPC."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from compositor import metrics
from compositor.engine import Cancelled, Engine
from compositor.handoff import MAX_CHUNK, PROGRESS_INTERVAL, Output, StillQueue
from compositor.intake import Intake, Part
from compositor.observed import observed
from compositor.planes import Planes, still
from compositor.spool import Spool
from compositor.timeline import Timeline, plan
from rpckit.errors import FieldViolation, GatorError, Reason, invalid
from rpckit.video import PRESETS, Codec, Preset, VideoForm


@dataclass(frozen=True)
class Plan:
    """What will be made. Always the first event."""

    preset: Preset
    timeline: Timeline


@dataclass(frozen=True)
class Progress:
    """How far the video is."""

    frames_encoded: int
    """Pictures handed to the encoder."""


@dataclass(frozen=True)
class Stored:
    """The next bytes of the video with its index in front. After all of the fragmented form."""

    data: bytes
    """1 byte to 1 MiB."""


@dataclass(frozen=True)
class Content:
    """A form of the video, as it was sent."""

    size: int
    """Bytes."""
    sha256: bytes


@dataclass(frozen=True)
class Summary:
    """The video is complete. Always the last event."""

    timeline: Timeline
    fragmented: Content | None
    """None where it was not asked for."""
    stored: Content | None
    """None where it was not asked for."""
    encoder: str
    """What coded the pictures."""


Event = Plan | Progress | bytes | Stored | Summary
"""What a call answers; bytes are the next of the fragmented form, 1 byte to 1 MiB."""


class Compositor:
    """Composes videos, at most `max_concurrent` at a time."""

    def __init__(
        self,
        engines: Mapping[Codec, Engine],
        *,
        max_concurrent: int,
        retry_after: float = 1.0,
        spool_dir: Path | None = None,
    ) -> None:
        """A compositor without a call.

        Args:
            engines: what makes the videos of each codec.
            max_concurrent: videos that may be composed at the same time.
            retry_after: what a caller is told to wait, in seconds, when there is no room.
            spool_dir: see `Spool`.
        """
        self._engines = engines
        self._spool_dir = spool_dir
        self._max_concurrent = max_concurrent
        self._retry_after = retry_after
        self._composing = 0
        metrics.LIMIT.set(max_concurrent)

    async def compose(self, parts: AsyncIterator[Part]) -> AsyncGenerator[Event]:
        """Composes one video from the parts of a call's input.

        Closing the generator, or cancelling the task that runs it, ends the
        engine's thread before it returns: within about the time of one picture.

        Raises:
            GatorError: MESSAGE_OUT_OF_ORDER, FRAME_CORRUPT, OVERLOADED, ENCODING_FAILED,
                STORAGE_FULL; INVALID_ARGUMENT from `parts` and for a codec that is not there.
        """
        intake = Intake(parts)
        specification = await intake.specification()
        engine = self._engine(specification.codec)
        preset = PRESETS[specification.quality]
        timeline = plan(specification.scenes, preset.fps)
        with self._admission():
            yield Plan(preset, timeline)
            async with _Composition(
                engine, preset, timeline, intake, specification.forms, self._spool_dir
            ) as composition:
                async for event in composition.events():
                    yield event
                async for stored in composition.stored():
                    yield stored
                yield composition.summary()

    def _engine(self, codec: Codec) -> Engine:
        engine = self._engines.get(codec)
        if engine is None:
            names = ", ".join(known.name for known in self._engines)
            raise invalid(
                FieldViolation("specification.codec", f"is {codec.name}; here is only {names}")
            )
        return engine

    @contextmanager
    def _admission(self) -> Iterator[None]:
        if self._composing >= self._max_concurrent:
            metrics.REFUSED.inc()
            raise GatorError(
                Reason.OVERLOADED,
                f"{self._composing} videos are being composed, as many as may be at a time; "
                "try again in a moment",
                retry_after=self._retry_after,
            )
        self._composing += 1
        try:
            with metrics.RUNNING.track_inprogress():
                yield
        finally:
            self._composing -= 1


class _Composition:
    """One video in the making: a task that reads frames and a thread that runs the engine."""

    def __init__(
        self,
        engine: Engine,
        preset: Preset,
        timeline: Timeline,
        intake: Intake,
        forms: frozenset[VideoForm],
        spool_dir: Path | None,
    ) -> None:
        self._engine = engine
        self._preset = preset
        self._timeline = timeline
        self._intake = intake
        self._forms = forms
        loop = asyncio.get_running_loop()
        self._output = Output(loop, wanted=VideoForm.FRAGMENTED in forms)
        self._spool = Spool(spool_dir) if VideoForm.FASTSTART in forms else None
        self._spool_hash = hashlib.sha256()
        self._stills = StillQueue(loop)
        # One thread for the engine, one for the conversion of the next frame.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="compose")
        self._converting: Future[Planes] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._composing = loop.run_in_executor(
            self._threads,
            observed(self._engine),
            self._preset,
            self._timeline,
            self._stills,
            self._output,
            self._spool,
        )
        self._reading = asyncio.create_task(self._read_frames(), name="compose frames")
        for future in (self._composing, self._reading):
            future.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._output.cancel()
        self._stills.cancel()
        self._reading.cancel()
        try:
            await asyncio.wait([self._reading, self._composing])
            if self._converting is not None:  # cancelled, its thread goes on to its end
                converted = asyncio.wrap_future(self._converting)
                await asyncio.gather(converted, return_exceptions=True)
            self._threads.shutdown()
        finally:
            self._threads.shutdown(wait=False)
            if self._spool is not None:
                self._spool.close()

    def _ended(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            # Seen, also where nobody waits for it any more: events() raises what matters.
            future.exception()
        self._output.wake()

    async def events(self) -> AsyncIterator[Progress | bytes]:
        """The video's bytes, and its progress a few times a second, until it is complete."""
        output = self._output
        loop = asyncio.get_running_loop()
        told, told_at = 0, loop.time() - PROGRESS_INTERVAL
        complete = False
        while not complete:
            await output.changed()
            complete = self._composing.done()  # what is read below is then the last
            if self._reading.done():
                self._check_reading()
            if complete:
                self._check_composing()
            while chunk := output.take():
                yield chunk
            now = loop.time()
            if output.frames > told and (complete or now - told_at >= PROGRESS_INTERVAL):
                told, told_at = output.frames, now
                yield Progress(told)

    async def stored(self) -> AsyncIterator[Stored]:
        """The bytes of the complete video in its stored form, if that is wanted."""
        if self._spool is None:
            return
        loop = asyncio.get_running_loop()
        at = 0
        while data := await loop.run_in_executor(self._threads, self._read, self._spool, at):
            at += len(data)
            yield Stored(data)

    def _read(self, spool: Spool, at: int) -> bytes:
        data = spool.read(at, MAX_CHUNK)
        self._spool_hash.update(data)
        return data

    def summary(self) -> Summary:
        """What was sent, once all of it was."""
        fragmented, stored = None, None
        if VideoForm.FRAGMENTED in self._forms:
            fragmented = Content(self._output.size, self._output.sha256)
        if self._spool is not None:
            stored = Content(self._spool.size, self._spool_hash.digest())
        return Summary(self._timeline, fragmented, stored, self._engine.description)

    async def _read_frames(self) -> None:
        count = len(self._timeline.slots)
        for index in range(count):
            await self._stills.room()
            frame = await self._intake.frame(index, count)
            self._converting = self._threads.submit(
                still, frame, self._preset.width, self._preset.height
            )
            del frame  # its bytes are twice those of its planes, and are not needed again
            self._stills.put(await asyncio.wrap_future(self._converting))
            self._converting = None
        await self._intake.end()

    def _check_reading(self) -> None:
        if self._reading.cancelled():
            raise GatorError(Reason.CANCELLED, "the caller went away")
        self._reading.result()

    def _check_composing(self) -> None:
        try:
            self._composing.result()
        except Cancelled as order:  # only __aexit__ cancels, when nobody listens any more
            raise GatorError(Reason.CANCELLED, "the call was cancelled") from order
