"""What the gateway and the services below it can do."""

from __future__ import annotations

from gateway.request import Limits
from gator.compositor.v1 import compositor_service_pb2 as compositor_pb
from gator.frame_gen.v1 import frame_gen_service_pb2 as frame_gen_pb
from gator.gateway.v1 import render_service_pb2 as pb
from rpckit.times import to_duration


def capabilities(
    frames: frame_gen_pb.GetCapabilitiesResponse,
    videos: compositor_pb.GetCapabilitiesResponse,
    limits: Limits,
    version: str,
) -> pb.GetCapabilitiesResponse:
    """What the two services below can do, and the limits on requests."""
    return pb.GetCapabilitiesResponse(
        presets=videos.presets,
        transitions=videos.transitions,
        backends=frames.backends,
        device=frames.device,
        limits=pb.Limits(
            max_scenes=limits.max_scenes,
            max_prompt_characters=limits.max_prompt_characters,
            max_scene_duration=to_duration(limits.max_scene_duration),
            max_transition_duration=to_duration(limits.max_transition_duration),
            max_total_duration=to_duration(limits.max_total_duration),
            max_total_pixels=limits.max_total_pixels,
        ),
        encoder=videos.encoder,
        version=version,
        codecs=videos.codec_capabilities,
    )
