"""The video service of the first Gator, on the embedded services.

    service = VideoProcessingService(output_dir="videos")
    result = await service.generate_frame_by_frame_video(["one", "two"])

For new code `AsyncClient` says more. Each call starts the services in this
process and stops them when it ends.
"""

from __future__ import annotations

import logging
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gator_client.client import AsyncClient, OnEvent
from gator_client.embedded import embedded
from gator_client.presets import PRESETS
from gator_client.result import RenderEvent, RenderProgress, RenderResult
from gator_client.scene import RenderOptions, Scene
from gator_client.single_frame import generate_frame
from gator_client.video import Quality, Transition

if TYPE_CHECKING:
    import numpy as np

    from standalone import ExternalImages, ImageRequest, Standalone

log = logging.getLogger(__name__)

VideoQuality = Quality
"""The name that the first Gator gave to `Quality`."""
TransitionType = Transition
"""The name that the first Gator gave to `Transition`."""

DEFAULT_STEPS = 20
"""Denoising steps where the caller does not say."""

_E = TypeVar("_E", Quality, Transition)


class ImageSource(Protocol):
    """What may be given as `ai_model_manager`."""

    async def generate_image(
        self,
        *,
        prompt: str,
        width: int,
        height: int,
        num_inference_steps: int,
        guidance_scale: float,
    ) -> dict[str, Any]:
        """An image; `image_data` has the bytes of a PNG, JPEG or WebP file."""


ProgressCallback = Callable[[float], Awaitable[None] | None]
"""Gets the part of the work that is done, 0 to 1. May be a coroutine function."""


class VideoProcessingService:
    """Makes videos from prompts, in this process."""

    def __init__(self, output_dir: Path | str | None = None) -> None:
        """Videos go to `output_dir`, which is made if it is missing.

        Without it: the folder `gator_videos` among the system's temporary files.
        """
        self.output_dir = Path(output_dir or Path(tempfile.gettempdir()) / "gator_videos")
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.quality_settings: dict[Quality, dict[str, Any]] = {
            quality: {
                "resolution": (preset.width, preset.height),
                "fps": preset.fps,
                "bitrate": f"{preset.bitrate_kbps}k",
            }
            for quality, preset in PRESETS.items()
        }
        """What each quality stands for: `resolution` (width, height), `fps`, `bitrate`."""

    async def generate_frame_by_frame_video(
        self,
        prompts: Sequence[str],
        duration_per_frame: float = 3.0,
        quality: Quality | str = Quality.HIGH,
        transition: Transition | str = Transition.CROSSFADE,
        use_ai_generation: bool = True,
        ai_model_manager: ImageSource | None = None,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = 7.5,
        *,
        negative_prompt: str | None = None,
        transition_duration: float | None = None,
        seed: int | None = None,
        progress_callback: ProgressCallback | None = None,
        **ignored: Any,
    ) -> dict[str, Any]:
        """Renders a scene for each prompt into a new MP4 file in `output_dir`.

        Images come from `ai_model_manager` if it is given; a scene that it cannot
        make becomes a placeholder. Values out of range are replaced and told in
        `warnings`; other keywords are ignored. Cancelling leaves no file.

        Returns `file_path`, `file_size` (bytes), `duration` (seconds), `resolution`
        ("1920x1080"), `fps`, `format` ("MP4"), `quality`, `num_scenes`,
        `transition_type`, `frames_generated`; and `frame_count`, `sha256`, `scenes`
        (where each frame came from), `warnings`.

        Raises RenderError; InvalidRequestError, a ValueError, if there is no prompt.
        """
        if ignored:
            log.warning("ignored: %s", ", ".join(sorted(ignored)))
        options = RenderOptions(
            quality=known(Quality, quality, Quality.HIGH),
            transition=known(Transition, transition, Transition.CROSSFADE),
            duration_per_frame=duration_per_frame,
            transition_duration=transition_duration,
            use_ai_generation=use_ai_generation,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
        )
        scenes = [
            Scene(prompt, seed=None if seed is None else seed + index)
            for index, prompt in enumerate([prompts] if isinstance(prompts, str) else prompts)
        ]

        name = f"video_{time.strftime('%Y%m%d_%H%M%S')}_{uuid.uuid4().hex[:12]}.mp4"
        path = self.output_dir / name
        async with AsyncExitStack() as resources:
            source = ai_model_manager if use_ai_generation else None
            stack = await resources.enter_async_context(_stack(source))
            client = await resources.enter_async_context(AsyncClient(stack.address))
            result = await client.render_to_file(
                scenes, path, on_event=_reporting(progress_callback), **options
            )
        return _metadata(result, path)

    async def _generate_single_frame(
        self,
        prompt: str,
        quality: Quality | str,
        frame_index: int = 0,
        use_ai_generation: bool = True,
        ai_model_manager: ImageSource | None = None,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = 7.5,
        **_: Any,
    ) -> np.ndarray:
        """The frame for one prompt: (height, width, 3), uint8, BGR, at the preset's size.

        `frame_index` is the number that a placeholder shows, from 0. Raises RenderError.
        """
        import numpy as np  # noqa: PLC0415 - the rest of the SDK does without

        preset = PRESETS[known(Quality, quality, Quality.HIGH)]
        async with _stack(ai_model_manager if use_ai_generation else None) as stack:
            frame = await generate_frame(
                stack.frame_gen_address,
                Scene(
                    prompt,
                    num_inference_steps=num_inference_steps,
                    guidance_scale=guidance_scale,
                ),
                preset.width,
                preset.height,
                index=frame_index,
                use_ai_generation=use_ai_generation,
            )
        return np.ascontiguousarray(frame.rgb[:, :, ::-1])

    def get_supported_transitions(self) -> list[str]:
        """Names of the transitions."""
        return [transition.value for transition in Transition]

    def get_supported_qualities(self) -> list[str]:
        """Names of the qualities."""
        return [quality.value for quality in Quality]


def known(kind: type[_E], value: _E | str, default: _E) -> _E:
    """The member that `value` is or names; `default`, with a log line, if there is none."""
    try:
        return kind(value.lower() if isinstance(value, str) else value)
    except ValueError:
        log.warning("%r is no %s; %s is used", value, kind.__name__.lower(), default.value)
        return default


def _stack(source: ImageSource | None) -> AbstractAsyncContextManager[Standalone]:
    """The services, with the images of `source` where it brings some of its own."""
    from gator_client.ai_models import AIModelManager  # noqa: PLC0415 - it imports this module

    if source is None:
        return embedded()
    own = AIModelManager.generate_image
    if isinstance(source, AIModelManager) and type(source).generate_image is own:
        return source.services()  # its images are those of the services themselves
    return embedded(external_images=_images_of(source))


def _images_of(source: ImageSource) -> ExternalImages:
    async def images(request: ImageRequest) -> bytes:
        answer = await source.generate_image(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
        )
        return bytes(answer["image_data"])

    return images


def _reporting(progress_callback: ProgressCallback | None) -> OnEvent | None:
    if progress_callback is None:
        return None

    def on_event(event: RenderEvent) -> Awaitable[None] | None:
        if isinstance(event, RenderProgress | RenderResult):
            return progress_callback(1.0 if isinstance(event, RenderResult) else event.fraction)
        return None

    return on_event


def _metadata(result: RenderResult, path: Path) -> dict[str, Any]:
    return {
        "file_path": str(path),
        "file_size": result.size_bytes,
        "duration": result.duration,
        "resolution": result.resolution,
        "fps": result.fps,
        "format": result.format,
        "quality": result.quality.value if result.quality else "",
        "num_scenes": result.num_scenes,
        "transition_type": result.transition.value if result.transition else "",
        "frames_generated": result.frames_generated,
        "frame_count": result.frame_count,
        "sha256": result.sha256,
        "scenes": [asdict(scene) for scene in result.scenes],
        "warnings": [asdict(warning) for warning in result.warnings],
    }
