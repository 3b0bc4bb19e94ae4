"""A gateway that does what a test tells it."""

import asyncio
import hashlib
import threading
from contextlib import asynccontextmanager

import grpc
from google.protobuf.duration_pb2 import Duration
from scripted_renders import VIDEO, BrokenConnectionError, ScriptedRenders

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1 import render_service_pb2_grpc as stubs
from gator.type.v1 import capability_pb2, frame_pb2, video_pb2, warning_pb2
from rpckit.errors import GatorError, Reason
from rpckit.testing import running, scripted

__all__ = ["VIDEO", "BrokenConnectionError"]

NAME = "gator.gateway.v1.RenderService"
JPEG = b"\xff\xd8\xff\xe0 a small picture \xff\xd9"
NO_MODEL = "No image generation models available. Set one up, or use placeholders."


def accepted(request, warnings=()):
    return pb.RenderResponse(
        accepted=pb.RenderAccepted(
            render_id="r-1",
            quality=video_pb2.QUALITY_DRAFT,
            preset=video_pb2.Preset(width=854, height=480, fps=24),
            frame_count=72 * len(request.scenes),
            duration=Duration(seconds=3 * len(request.scenes)),
            scene_count=len(request.scenes),
            warnings=warnings,
        )
    )


def provenance():
    return frame_pb2.Provenance(
        backend=frame_pb2.BACKEND_PLACEHOLDER,
        seed=7,
        width=854,
        height=480,
        generation_time=Duration(nanos=120_000_000),
        passed_over=[
            frame_pb2.PassedOver(
                backend=frame_pb2.BACKEND_DIFFUSERS, reason="NO_MODEL_AVAILABLE", message=NO_MODEL
            )
        ],
        frame_sha256=bytes(32),
    )


def finished(index):
    return pb.RenderResponse(
        scene=pb.SceneProgress(index=index, state=pb.SCENE_STATE_FINISHED, provenance=provenance())
    )


def queued(index, time_left=None):
    left = None if time_left is None else Duration(seconds=time_left)
    return pb.RenderResponse(
        scene=pb.SceneProgress(index=index, state=pb.SCENE_STATE_QUEUED, time_left=left)
    )


def generating(index, step, steps, time_left=4):
    return pb.RenderResponse(
        scene=pb.SceneProgress(
            index=index,
            state=pb.SCENE_STATE_GENERATING,
            step=step,
            steps=steps,
            time_left=Duration(seconds=time_left),
        )
    )


def preview(index, step, jpeg=JPEG):
    return pb.RenderResponse(preview=pb.ScenePreview(index=index, jpeg=jpeg, step=step))


def progress(request, fraction):
    count = len(request.scenes)
    return pb.RenderResponse(
        progress=pb.RenderProgress(
            scenes_finished=count,
            scene_count=count,
            frames_encoded=round(72 * count * fraction),
            frame_count=72 * count,
            fraction=fraction,
        )
    )


def video(data):
    return pb.RenderResponse(video=video_pb2.VideoChunk(data=data))


def video_header(epoch=1, form="FRAGMENTED"):
    return pb.RenderResponse(
        video_header=pb.VideoHeader(
            content_tag=f"r-1.{epoch}.{form.lower()}",
            form=video_pb2.VideoForm.Value(f"VIDEO_FORM_{form}"),
        )
    )


def result(request, data=VIDEO, warnings=(), **changes):
    count = len(request.scenes)
    values = {
        "render_id": "r-1",
        "duration": Duration(seconds=3 * count),
        "width": 854,
        "height": 480,
        "fps": 24,
        "format": "MP4",
        "quality": video_pb2.QUALITY_DRAFT,
        "num_scenes": count,
        "transition": video_pb2.TRANSITION_SLIDE,
        "frame_count": 72 * count,
        "frames_generated": count,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).digest(),
        "encoder": "x264",
        "warnings": warnings,
        "scenes": [
            pb.SceneResult(
                index=index,
                start_time=Duration(seconds=3 * index),
                duration=Duration(seconds=3),
                transition=video_pb2.TRANSITION_SLIDE if index + 1 < count else 0,
                provenance=provenance(),
            )
            for index in range(count)
        ],
    }
    return pb.RenderResponse(result=pb.RenderResult(**(values | changes)))


def warning():
    return warning_pb2.Warning(
        field="guidance_scale", asked="99", applied="20", reason="it must be from 1 to 20"
    )


async def succeed(request):
    """A whole render."""
    yield accepted(request, [warning()] if request.guidance_scale > 20 else [])
    for index in range(len(request.scenes)):
        yield generating(index, 3, 25)
        yield finished(index)
    yield video(VIDEO[:1000])
    yield progress(request, 0.5)
    yield video(VIDEO[1000:])
    yield result(request, warnings=[warning()] if request.guidance_scale > 20 else [])


async def hang(request):
    """A render that never ends."""
    yield accepted(request)
    yield video(VIDEO[:1000])
    await asyncio.Event().wait()


async def never_answer(request):
    await asyncio.Event().wait()
    yield accepted(request)


class ScriptedGateway(ScriptedRenders):
    """`script` makes the answers to a Render request."""

    def __init__(self):
        super().__init__()
        self.script = succeed
        self.requests = []
        self.started = threading.Event()
        self.ended = threading.Event()
        self.address = ""

    async def Render(self, request, context):
        self.requests.append(request)
        try:
            async for message in self.script(request):
                if message.HasField("accepted") and "r-1" not in self.renders:
                    prompts = (scene.prompt for scene in request.scenes)
                    self.add(*prompts, render_id="r-1", state=pb.RENDER_STATE_RUNNING)
                yield message
                self.started.set()
            self.started.set()
        except BrokenConnectionError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        except GatorError as error:
            if (render := self.renders.get("r-1")) and error.reason is not Reason.SHUTTING_DOWN:
                render.state = pb.RENDER_STATE_FAILED
            raise
        finally:
            self.ended.set()

    async def GetCapabilities(self, request, context):
        return pb.GetCapabilitiesResponse(
            presets=[
                capability_pb2.QualityPreset(
                    quality=video_pb2.QUALITY_DRAFT,
                    preset=video_pb2.Preset(
                        width=854, height=480, fps=24, bitrate_kbps=1500, use_case="fast testing"
                    ),
                )
            ],
            transitions=[video_pb2.TRANSITION_FADE, video_pb2.TRANSITION_SLIDE],
            backends=[
                capability_pb2.BackendCapability(
                    backend=frame_pb2.BACKEND_DIFFUSERS, message=NO_MODEL
                ),
                capability_pb2.BackendCapability(
                    backend=frame_pb2.BACKEND_PLACEHOLDER, available=True
                ),
            ],
            device=capability_pb2.Device(type="cpu"),
            limits=pb.Limits(
                max_scenes=500,
                max_prompt_characters=4000,
                max_scene_duration=Duration(seconds=600),
                max_transition_duration=Duration(seconds=10),
                max_total_duration=Duration(seconds=7200),
            ),
            encoder="x264",
            version="1.2.3",
            codecs=[
                capability_pb2.CodecCapability(codec=video_pb2.CODEC_H264, encoder="x264 fast"),
                capability_pb2.CodecCapability(
                    codec=video_pb2.CODEC_AV1, encoder="av1_nvenc", hardware=True
                ),
                capability_pb2.CodecCapability(codec=77, encoder="unheard of"),  # a newer server
            ],
        )


@asynccontextmanager
async def gateway(settings=None):
    """A running ScriptedGateway; `address` is where."""
    servicer = ScriptedGateway()
    service = scripted(
        lambda server: stubs.add_RenderServiceServicer_to_server(servicer, server), NAME
    )
    async with running(service, settings) as server:
        servicer.address = server.address
        yield servicer
