"""The model manager of the first Gator, on the embedded services.

    manager = AIModelManager()
    await manager.initialize_models()
    result = await manager.generate_video(["one", "two"], quality="draft")

Each call starts the services and stops them, and so loads an image model anew.
`async with AIModelManager() as manager:` keeps them, and the model, until its end.
For new code `AsyncClient` says more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gator_client.capabilities import BackendCapability
from gator_client.client import AsyncClient
from gator_client.embedded import embedded
from gator_client.png import png
from gator_client.scene import Scene
from gator_client.single_frame import generate_frame
from gator_client.video import Backend, FallbackPolicy
from gator_client.video_processing import VideoProcessingService

if TYPE_CHECKING:
    from standalone import Standalone

log = logging.getLogger(__name__)

DEFAULT_STEPS = 25
"""Denoising steps where the caller does not say."""


class AIModelManager:
    """Makes images and videos from prompts, in this process."""

    def __init__(self, output_dir: Path | str | None = None) -> None:
        """Videos go to `output_dir`; see VideoProcessingService."""
        self.gpu_type = "cpu"
        """"cuda", "rocm", "mps" or "cpu"; known after `initialize_models`."""
        self.models_loaded = False
        """Whether `initialize_models` has been called."""
        self.available_models: dict[str, list[dict[str, Any]]] = {"image": [], "video": []}
        """By kind, each with `name`, `provider`, `loaded`, `message`; known after
        `initialize_models`."""
        self._output_dir = output_dir
        self._kept = AsyncExitStack()
        self._services: Standalone | None = None

    async def __aenter__(self) -> Self:
        """Starts the services and keeps them for all calls."""
        self._services = await self._kept.enter_async_context(embedded())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the services."""
        self._services = None
        await self._kept.aclose()

    def services(self) -> AbstractAsyncContextManager[Standalone]:
        """The services for one call: those that are kept, or new ones that end with it."""
        return embedded() if self._services is None else nullcontext(self._services)

    async def initialize_models(self) -> None:
        """Finds out which models there are, and on what device they run."""
        async with self.services() as stack, AsyncClient(stack.address) as client:
            found = await client.capabilities()
        self.gpu_type = found.device.type or "cpu"
        self.available_models = {
            "image": [
                model
                for backend in found.backends
                if backend.backend is not Backend.PLACEHOLDER
                for model in _models(backend)
            ],
            "video": [
                {
                    "name": "multi_frame",
                    "provider": "gator",
                    "loaded": True,
                    "message": "scenes with transitions between them",
                }
            ],
        }
        self.models_loaded = True

    async def generate_image(
        self,
        prompt: str,
        width: int = 1024,
        height: int = 1024,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = 7.5,
        *,
        negative_prompt: str | None = None,
        seed: int | None = None,
    ) -> dict[str, Any]:
        """An image of `width` x `height` pixels, 16 to 8,192 each.

        Returns `image_data` (bytes of a PNG file), `format` ("PNG"), `width`,
        `height`, `model`, `provider`, `seed`. Raises RenderError
        (NO_MODEL_AVAILABLE) if there is no image model.
        """
        scene = Scene(
            prompt,
            negative_prompt=negative_prompt,
            seed=seed,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
        )
        async with self.services() as stack:
            frame = await generate_frame(
                stack.frame_gen_address, scene, width, height, fallback_policy=FallbackPolicy.FAIL
            )
        return {
            "image_data": await asyncio.to_thread(png, frame.rgb),
            "format": "PNG",
            "width": width,
            "height": height,
            "model": frame.provenance.model,
            "provider": frame.provenance.backend.value,
            "seed": frame.provenance.seed,
        }

    async def generate_video(
        self,
        prompt: str | Sequence[str],
        video_type: str = "multi_frame",
        quality: str = "high",
        transition: str = "crossfade",
        duration_per_frame: float = 3.0,
        use_ai_generation: bool = True,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = 7.5,
        **options: Any,
    ) -> dict[str, Any]:
        """Renders a scene for each prompt; see generate_frame_by_frame_video.

        One prompt is a video of one scene. `options` are that method's too, and
        `output_dir`.
        """
        if video_type != "multi_frame":
            log.warning("%r is no video type; multi_frame is used", video_type)
        service = VideoProcessingService(options.pop("output_dir", self._output_dir))
        return await service.generate_frame_by_frame_video(
            prompts=[prompt] if isinstance(prompt, str) else prompt,
            duration_per_frame=duration_per_frame,
            quality=quality,
            transition=transition,
            use_ai_generation=use_ai_generation,
            ai_model_manager=self,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            **options,
        )


def _models(backend: BackendCapability) -> list[dict[str, Any]]:
    # A backend without a model is listed all the same: its message says what to do.
    return [
        {
            "name": name,
            "provider": backend.backend.value,
            "loaded": backend.available,
            "message": backend.message,
        }
        for name in backend.models or (backend.backend.value,)
    ]
