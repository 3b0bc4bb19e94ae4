"""Python SDK of Gator Video: scene prompts in, a finished video out.

    from gator_client import Client

    with Client() as client:  # in this process; Client("host:50051") for a server
        client.render_to_file(["a hill at dawn", "the sea at night"], "film.mp4")

`AsyncClient` is the same for asyncio. The command is `gator`.
"""

# Names are looked up in their modules on first use, so that `gator --help` does
# not load gRPC, and the SDK not what only the embedded services need.
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gator_client.ai_models import AIModelManager
    from gator_client.capabilities import (
        BackendCapability,
        Capabilities,
        CodecCapability,
        Device,
        Limits,
    )
    from gator_client.channel import Tls
    from gator_client.client import AsyncClient
    from gator_client.durable import (
        DownloadedVideo,
        DownloadEvent,
        DownloadProgress,
        Priority,
        Render,
        RenderState,
        WatchEvent,
    )
    from gator_client.errors import (
        FieldViolation,
        InvalidRequestError,
        RenderError,
        RenderFailure,
        StoryboardError,
    )
    from gator_client.presets import PRESETS
    from gator_client.result import (
        ConnectionLost,
        PassedOver,
        Provenance,
        RenderAccepted,
        RenderEvent,
        RenderProgress,
        RenderResult,
        RenderWarning,
        ScenePreview,
        SceneProgress,
        SceneResult,
        VideoChunk,
        VideoHeader,
    )
    from gator_client.scene import CreateOptions, RenderOptions, Scene, Storyboard
    from gator_client.storyboard import load_storyboard
    from gator_client.sync import Client
    from gator_client.video import (
        Backend,
        Codec,
        FallbackPolicy,
        Preset,
        Quality,
        SceneState,
        Transition,
        VideoForm,
    )
    from gator_client.video_processing import (
        TransitionType,
        VideoProcessingService,
        VideoQuality,
    )

_MODULES = {
    "ai_models": ["AIModelManager"],
    "capabilities": ["BackendCapability", "Capabilities", "CodecCapability", "Device", "Limits"],
    "channel": ["Tls"],
    "client": ["AsyncClient"],
    "durable": [
        "DownloadEvent",
        "DownloadProgress",
        "DownloadedVideo",
        "Priority",
        "Render",
        "RenderState",
        "WatchEvent",
    ],
    "errors": [
        "FieldViolation",
        "InvalidRequestError",
        "RenderError",
        "RenderFailure",
        "StoryboardError",
    ],
    "presets": ["PRESETS"],
    "result": [
        "ConnectionLost",
        "PassedOver",
        "Provenance",
        "RenderAccepted",
        "RenderEvent",
        "RenderProgress",
        "RenderResult",
        "RenderWarning",
        "ScenePreview",
        "SceneProgress",
        "SceneResult",
        "VideoChunk",
        "VideoHeader",
    ],
    "scene": ["CreateOptions", "RenderOptions", "Scene", "Storyboard"],
    "storyboard": ["load_storyboard"],
    "sync": ["Client"],
    "video": [
        "Backend",
        "Codec",
        "FallbackPolicy",
        "Preset",
        "Quality",
        "SceneState",
        "Transition",
        "VideoForm",
    ],
    "video_processing": ["TransitionType", "VideoProcessingService", "VideoQuality"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "PRESETS",
    "AIModelManager",
    "AsyncClient",
    "Backend",
    "BackendCapability",
    "Capabilities",
    "Client",
    "Codec",
    "CodecCapability",
    "ConnectionLost",
    "CreateOptions",
    "Device",
    "DownloadEvent",
    "DownloadProgress",
    "DownloadedVideo",
    "FallbackPolicy",
    "FieldViolation",
    "InvalidRequestError",
    "Limits",
    "PassedOver",
    "Preset",
    "Priority",
    "Provenance",
    "Quality",
    "Render",
    "RenderAccepted",
    "RenderError",
    "RenderEvent",
    "RenderFailure",
    "RenderOptions",
    "RenderProgress",
    "RenderResult",
    "RenderState",
    "RenderWarning",
    "Scene",
    "ScenePreview",
    "SceneProgress",
    "SceneResult",
    "SceneState",
    "Storyboard",
    "StoryboardError",
    "Tls",
    "Transition",
    "TransitionType",
    "VideoChunk",
    "VideoForm",
    "VideoHeader",
    "VideoProcessingService",
    "VideoQuality",
    "WatchEvent",
    "load_storyboard",
]


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
