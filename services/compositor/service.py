"""Composing as an async stream of plain values: what the servicer sends, without gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from compositor.engine import Cancelled, Engine
from compositor.handoff import PROGRESS_INTERVAL, Output, StillQueue
from compositor.intake import Intake, Part
from compositor.planes import Planes, still
from compositor.timeline import Timeline, plan
from rpckit.errors import GatorError, Reason
from rpckit.video import PRESETS, Preset


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
class Summary:
    """The video is complete. Always the last event."""

    timeline: Timeline
    size: int
    """Bytes of the video."""
    sha256: bytes
    """SHA-256 of the video's bytes."""
    encoder: str
    """What coded the pictures."""


Event = Plan | Progress | bytes | Summary
"""What a call answers; bytes are the next of the video, 1 byte to 1 MiB."""


class Compositor:
    """Composes videos, at most `max_concurrent` at a time."""

    def __init__(self, engine: Engine, *, max_concurrent: int, retry_after: float = 1.0) -> None:
        """`retry_after` is what a caller is told to wait, in seconds, when there is no room."""
        self._engine = engine
        self._max_concurrent = max_concurrent
        self._retry_after = retry_after
        self._composing = 0

    @property
    def encoder(self) -> str:
        """What codes the pictures, such as "x264 core 165 veryfast crf 18"."""
        return self._engine.description

    async def compose(self, parts: AsyncIterator[Part]) -> AsyncGenerator[Event]:
        """Composes one video from the parts of a call's input.

        Closing the generator, or cancelling the task that runs it, ends the
        engine's thread before it returns: within about the time of one picture.

        Raises:
            GatorError: MESSAGE_OUT_OF_ORDER, FRAME_CORRUPT, OVERLOADED,
                ENCODING_FAILED; INVALID_ARGUMENT from `parts`.
        """
        intake = Intake(parts)
        specification = await intake.specification()
        preset = PRESETS[specification.quality]
        timeline = plan(specification.scenes, preset.fps)
        with self._admission():
            yield Plan(preset, timeline)
            async with _Composition(self._engine, preset, timeline, intake) as composition:
                async for event in composition.events():
                    yield event
                yield Summary(
                    timeline,
                    composition.output.size,
                    composition.output.sha256,
                    self._engine.description,
                )

    @contextmanager
    def _admission(self) -> Iterator[None]:
        if self._composing >= self._max_concurrent:
            raise GatorError(
                Reason.OVERLOADED,
                f"{self._composing} videos are being composed, as many as may be at a time; "
                "try again in a moment",
                retry_after=self._retry_after,
            )
        self._composing += 1
        try:
            yield
        finally:
            self._composing -= 1


class _Composition:
    """One video in the making: a task that reads frames and a thread that runs the engine."""

    def __init__(self, engine: Engine, preset: Preset, timeline: Timeline, intake: Intake) -> None:
        self._engine = engine
        self._preset = preset
        self._timeline = timeline
        self._intake = intake
        loop = asyncio.get_running_loop()
        self.output = Output(loop)
        self._stills = StillQueue(loop)
        # One thread for the engine, one for the conversion of the next frame.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="compose")
        self._converting: Future[Planes] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._composing = loop.run_in_executor(
            self._threads,
            self._engine.compose,
            self._preset,
            self._timeline,
            self._stills,
            self.output,
        )
        self._reading = asyncio.create_task(self._read_frames(), name="compose frames")
        for future in (self._composing, self._reading):
            future.add_done_callback(lambda _: self.output.wake())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.output.cancel()
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
            for future in (self._composing, self._reading):
                if future.done() and not future.cancelled():
                    future.exception()  # seen: events() has raised what matters

    async def events(self) -> AsyncIterator[Progress | bytes]:
        """The video's bytes, and its progress a few times a second, until it is complete."""
        output = self.output
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
