"""One frame, straight from the frame generation service, without a video."""

from __future__ import annotations

import asyncio
import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from gator.frame_gen.v1 import frame_gen_service_pb2 as pb
from gator.frame_gen.v1 import frame_gen_service_pb2_grpc
from gator.type.v1 import frame_pb2, video_pb2
from gator_client.channel import open_channel
from gator_client.errors import RenderError
from gator_client.fields import to_provenance
from gator_client.result import Provenance
from gator_client.scene import Scene
from gator_client.status import to_error
from gator_client.video import FallbackPolicy

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class GeneratedFrame:
    """A frame and where it came from."""

    rgb: np.ndarray
    """(height, width, 3), uint8."""
    provenance: Provenance


async def generate_frame(
    target: str,
    scene: Scene,
    width: int,
    height: int,
    *,
    index: int = 0,
    use_ai_generation: bool = True,
    fallback_policy: FallbackPolicy = FallbackPolicy.PLACEHOLDER,
) -> GeneratedFrame:
    """The frame of `scene` at `width` x `height` from the service at `target`.

    `index` is the number that a placeholder shows, from 0. Raises RenderError.
    """
    from standalone import fit_cover  # noqa: PLC0415 - the rest of the SDK does without

    request = pb.GenerateFrameRequest(
        prompt=scene.prompt,
        negative_prompt=scene.negative_prompt or "",
        seed=scene.seed or 0,
        num_inference_steps=round(_within(scene.num_inference_steps, 1, 100, default=25)),
        guidance_scale=_within(scene.guidance_scale, 1, 20, default=7.5),
        use_ai_generation=use_ai_generation,
        fallback_policy=frame_pb2.FallbackPolicy.Value(f"FALLBACK_POLICY_{fallback_policy.name}"),
        video_width=width,
        video_height=height,
        scene_index=index,
        scene_count=index + 1,
    )
    async with open_channel(target, tls=False) as channel:
        call = frame_gen_service_pb2_grpc.FrameGenServiceStub(channel).GenerateFrame(request)
        received = _Received()
        try:
            async for message in call:
                received.add(message)
        except grpc.aio.AioRpcError as error:
            raise to_error(error, target) from error
        finally:
            call.cancel()  # an abandoned call would never end
    rgb = await asyncio.to_thread(fit_cover, received.rgb(), width, height)
    return GeneratedFrame(rgb, to_provenance(received.provenance))


class _Received:
    """What has come of a frame."""

    def __init__(self) -> None:
        self.provenance = frame_pb2.Provenance()
        self._header = frame_pb2.FrameHeader()
        self._data = bytearray()

    def add(self, message: pb.GenerateFrameResponse) -> None:
        match message.WhichOneof("event"):
            case "header":
                self._header = message.header
            case "chunk":
                self._data += message.chunk.data
            case "done":
                self.provenance = message.done.provenance

    def rgb(self) -> np.ndarray:
        """(height, width, 3), uint8; RenderError if it is not the frame of the header."""
        import numpy as np  # noqa: PLC0415 - the rest of the SDK does without

        header = self._header
        whole = hashlib.sha256(self._data).digest() == header.sha256
        if not whole or header.pixel_format != video_pb2.PIXEL_FORMAT_RGB24:
            raise RenderError(
                "the frame did not arrive as it was sent", code="DATA_LOSS", reason="FRAME_CORRUPT"
            )
        return np.frombuffer(self._data, np.uint8).reshape(header.height, header.width, 3)


def _within(value: float | None, low: float, high: float, *, default: float) -> float:
    """The value, or the nearest bound; `default` if it is unset or no finite number.

    The gateway's rule for a render, which this call does not pass.
    """
    if value is None or not math.isfinite(value):
        return default
    return min(max(value, low), high)
