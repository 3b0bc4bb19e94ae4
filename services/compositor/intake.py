"""The parts of a call's input in their order: a specification, then for each scene a frame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from compositor.timeline import SceneTiming
from rpckit.errors import GatorError, Reason
from rpckit.frame import Frame, FrameCheck, FrameHeader
from rpckit.video import Codec, Quality, VideoForm


@dataclass(frozen=True)
class Specification:
    """What to make."""

    quality: Quality
    scenes: tuple[SceneTiming, ...]
    """1 to 500 scenes in order."""
    codec: Codec = Codec.H264
    forms: frozenset[VideoForm] = frozenset({VideoForm.FRAGMENTED})
    """Which forms of the video are sent, at least one."""


@dataclass(frozen=True)
class SceneFrame:
    """A scene's frame begins; its bytes follow."""

    index: int
    """Position of the scene, from 0."""
    header: FrameHeader


Part = Specification | SceneFrame | bytes
"""A part of the input; bytes are a piece of the frame that has begun."""

_NAMES = {Specification: "a specification", SceneFrame: "a scene", bytes: "a chunk"}


class Intake:
    """Reads the parts of one call, each only when it is asked for.

    Every method raises GatorError: MESSAGE_OUT_OF_ORDER for a part at a place
    where it has none, with what was expected in the error's metadata.
    """

    def __init__(self, parts: AsyncIterator[Part]) -> None:
        self._parts = parts

    async def specification(self) -> Specification:
        """The first part."""
        part = await anext(self._parts, None)
        if not isinstance(part, Specification):
            raise _out_of_order(part, "specification", "send the specification first")
        return part

    async def frame(self, index: int, count: int) -> Frame:
        """The frame of scene `index` out of `count`. FRAME_CORRUPT if it is not as announced."""
        hint = f"send the frame of scene {index}, of {count} from 0"
        part = await anext(self._parts, None)
        if not isinstance(part, SceneFrame):
            raise _out_of_order(part, "scene", hint)
        if part.index != index:
            raise GatorError(
                Reason.MESSAGE_OUT_OF_ORDER,
                f"scene {part.index} came; {hint}",
                metadata={"expected": "scene", "index": str(index)},
            )
        # Not a bytearray: this one takes memory only as it fills.
        data = np.empty(part.header.size, np.uint8).data
        check = FrameCheck(part.header)
        while not check.complete:
            chunk = await anext(self._parts, None)
            if chunk is None:
                check.finish()
            if not isinstance(chunk, bytes):
                raise _out_of_order(
                    chunk, "chunk", f"scene {index} lacks bytes; send its other chunks"
                )
            begin = check.received
            check.add(chunk)
            data[begin : check.received] = chunk
        return Frame(part.header, data)

    async def end(self) -> None:
        """Returns when the caller has said that nothing more comes."""
        part = await anext(self._parts, None)
        if part is not None:
            raise _out_of_order(part, "end", "every scene has its frame; close the stream")


def _out_of_order(part: Part | None, expected: str, hint: str) -> GatorError:
    came = "the stream ended" if part is None else f"{_NAMES[type(part)]} came"
    return GatorError(
        Reason.MESSAGE_OUT_OF_ORDER, f"{came} too early; {hint}", metadata={"expected": expected}
    )
