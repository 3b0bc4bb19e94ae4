"""What the store keeps of a render as bytes: messages of the API, written and read again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from google.rpc import status_pb2

from gateway.convert.events import progress_message, result_message, scene_message
from gateway.convert.parts import warning_messages, warning_values
from gateway.events import RenderProgress, Result, SceneProgress, SceneState
from gateway.jobs.handling import Handling
from gateway.jobs.records import Priority
from gateway.request import FallbackPolicy, Render, RenderWarning, Scene
from gator.gateway.v1 import render_service_pb2 as pb
from rpckit.errors import GatorError
from rpckit.provenance import Provenance
from rpckit.status import from_status, to_status
from rpckit.times import to_duration, to_seconds
from rpckit.video import Codec, Quality, Transition

SERVICE = "gateway"
"""Name under which errors are stored that come from no service below."""

_PRIORITIES = {
    Priority.INTERACTIVE: pb.PRIORITY_INTERACTIVE,
    Priority.BATCH: pb.PRIORITY_BATCH,
}


def request_bytes(render: Render, handling: Handling) -> bytes:
    """The effective request."""
    message = pb.RenderRequest(
        scenes=[_scene(scene, render.negative_prompt) for scene in render.scenes],
        quality=render.quality.value,
        transition=render.transition.value,
        use_ai_generation=render.use_ai_generation,
        fallback_policy=render.fallback_policy.value,
        codec=render.codec.value,
        negative_prompt=render.negative_prompt,
        request_id=handling.request_id,
        labels=handling.labels,
        priority=_PRIORITIES[handling.priority],
    )
    return message.SerializeToString()


def _scene(scene: Scene, negative_prompt: str) -> pb.Scene:
    return pb.Scene(
        prompt=scene.prompt,
        # A long one in each of 500 scenes would not fit into a message.
        negative_prompt=(
            None if scene.negative_prompt == negative_prompt else scene.negative_prompt
        ),
        duration=to_duration(scene.duration),
        transition=scene.transition.value,
        transition_duration=to_duration(scene.transition_duration),
        seed=scene.seed,
        num_inference_steps=scene.num_inference_steps,
        guidance_scale=scene.guidance_scale,
    )


def request_of(data: bytes) -> pb.RenderRequest:
    """The effective request as a message."""
    return pb.RenderRequest.FromString(data)


def retried(data: bytes, request_id: str) -> bytes:
    """The effective request of a retry."""
    message = request_of(data)
    message.request_id = request_id
    return message.SerializeToString()


def retry_fingerprint(render_id: str) -> bytes:
    """What stands for the content of a retry of `render_id`, 32 bytes."""
    return hashlib.sha256(b"retry of " + render_id.encode()).digest()


def labels_of(data: bytes) -> dict[str, str]:
    """The labels of an effective request."""
    return dict(request_of(data).labels)


def render_of(request: bytes, warnings: bytes) -> Render:
    """The render that is made, from its effective request."""
    message = request_of(request)
    return Render(
        scenes=tuple(_scene_of(scene, message.negative_prompt) for scene in message.scenes),
        quality=Quality(message.quality),
        transition=Transition(message.transition),
        use_ai_generation=message.use_ai_generation,
        fallback_policy=FallbackPolicy(message.fallback_policy),
        codec=Codec(message.codec),
        negative_prompt=message.negative_prompt,
        warnings=warnings_of(warnings),
    )


def _scene_of(message: pb.Scene, negative_prompt: str) -> Scene:
    own = message.HasField("negative_prompt")
    return Scene(
        prompt=message.prompt,
        negative_prompt=message.negative_prompt if own else negative_prompt,
        duration=to_seconds(message.duration),
        transition=Transition(message.transition),
        transition_duration=to_seconds(message.transition_duration),
        seed=message.seed,
        num_inference_steps=message.num_inference_steps,
        guidance_scale=message.guidance_scale,
    )


def warnings_bytes(warnings: Sequence[RenderWarning]) -> bytes:
    """Warnings; none are no bytes."""
    return pb.Render(warnings=warning_messages(warnings)).SerializeToString()


def warnings_of(data: bytes) -> tuple[RenderWarning, ...]:
    """Warnings of `warnings_bytes`."""
    return warning_values(pb.Render.FromString(data).warnings)


def scene_bytes(progress: SceneProgress) -> bytes:
    """How far a scene is."""
    return scene_message(progress).SerializeToString()


def scene_of(data: bytes) -> pb.SceneProgress:
    """How far a scene is, as a message."""
    return pb.SceneProgress.FromString(data)


def scene_value(data: bytes) -> SceneProgress:
    """How far a scene is, from `scene_bytes`."""
    return _scene_value(scene_of(data))


def _scene_value(message: pb.SceneProgress) -> SceneProgress:
    made = message.HasField("provenance")
    return SceneProgress(
        index=message.index,
        state=SceneState(message.state),
        step=message.step,
        steps=message.steps,
        time_left=to_seconds(message.time_left) if message.HasField("time_left") else None,
        provenance=Provenance.from_proto(message.provenance) if made else None,
    )


def provenance_of(data: bytes) -> Provenance:
    """The provenance of a finished scene, from `scene_bytes`."""
    return Provenance.from_proto(scene_of(data).provenance)


def event_bytes(event: RenderProgress | SceneProgress) -> bytes:
    """An event for watchers, without its number."""
    if isinstance(event, SceneProgress):
        return pb.WatchRenderResponse(scene=scene_message(event)).SerializeToString()
    return pb.WatchRenderResponse(progress=progress_message(event)).SerializeToString()


def event_of(data: bytes) -> pb.WatchRenderResponse:
    """An event for watchers of `event_bytes`, as a message."""
    return pb.WatchRenderResponse.FromString(data)


def event_value(data: bytes) -> RenderProgress | SceneProgress:
    """An event for watchers, from `event_bytes`."""
    message = event_of(data)
    if message.HasField("scene"):
        return _scene_value(message.scene)
    progress = message.progress
    return RenderProgress(
        scenes_finished=progress.scenes_finished,
        scene_count=progress.scene_count,
        frames_encoded=progress.frames_encoded,
        frame_count=progress.frame_count,
        fraction=progress.fraction,
    )


def result_bytes(result: Result) -> bytes:
    """The result, with size and checksum of the stored form."""
    return result_message(result).SerializeToString()


def result_of(data: bytes) -> pb.RenderResult:
    """The result for the stored form, as a message."""
    return pb.RenderResult.FromString(data)


def error_bytes(error: GatorError) -> bytes:
    """Why a render failed."""
    data: bytes = to_status(error, SERVICE).SerializeToString()
    return data


def error_status(data: bytes) -> status_pb2.Status:
    """Why a render failed, as a message."""
    return status_pb2.Status.FromString(data)


def error_of(data: bytes) -> GatorError:
    """Why a render failed, from `error_bytes`."""
    return from_status(error_status(data))
