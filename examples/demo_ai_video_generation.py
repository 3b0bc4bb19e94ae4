"""Placeholders, the best backend there is, and images of your own, side by side.

    python examples/demo_ai_video_generation.py [FOLDER]

Runs in seconds with no server and no model. Writes its videos to FOLDER, else out/.
"""

import asyncio
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from gator_client import AIModelManager, TransitionType, VideoProcessingService, VideoQuality

PROMPTS = [
    "A beautiful sunset over the ocean",
    "A peaceful forest with rays of sunlight",
    "A starry night sky with the milky way",
]


class Stripes:
    """Any object with an async generate_image can make the frames: here, coloured stripes."""

    async def generate_image(
        self, prompt: str, width: int, height: int, num_inference_steps: int, guidance_scale: float
    ) -> dict[str, Any]:
        red, green, blue = zlib.crc32(prompt.encode()).to_bytes(4, "big")[:3]
        stripe = max(width // num_inference_steps, 1)
        change = round(guidance_scale * 4)
        row = b"".join(
            bytes((red, green, (blue + x // stripe * change) % 256)) for x in range(width)
        )
        return {"image_data": png(width, height, (b"\0" + row) * height)}


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG file of 8-bit RGB rows, each led by a zero."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def show(title: str, result: dict[str, Any], began: float) -> None:
    makers = ", ".join(scene["provenance"]["backend"] for scene in result["scenes"])
    print(f"{title}, in {time.monotonic() - began:.1f} s")
    print(f"  {result['file_path']}")
    print(
        f"  {result['duration']} s, {result['resolution']} at {result['fps']} fps, "
        f"{result['file_size'] / 1024:.0f} KiB; frames by {makers}\n"
    )


async def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    manager = AIModelManager(output_dir=folder)
    await manager.initialize_models()
    print(f"Models run on {manager.gpu_type}.")
    for model in manager.available_models["image"]:
        state = "ready" if model["loaded"] else f"not available: {model['message']}"
        print(f"  {model['name']}: {state}")
    print()

    began = time.monotonic()
    result = await manager.generate_video(
        prompt=PROMPTS, quality="draft", duration_per_frame=1.5, use_ai_generation=False
    )
    show("Placeholders", result, began)

    began = time.monotonic()
    result = await manager.generate_video(
        prompt=PROMPTS,
        video_type="multi_frame",
        quality="draft",
        transition="crossfade",
        duration_per_frame=1.5,
        use_ai_generation=True,
        num_inference_steps=25,
        guidance_scale=7.5,
    )
    show("The best backend that is there", result, began)

    began = time.monotonic()
    service = VideoProcessingService(output_dir=folder)
    result = await service.generate_frame_by_frame_video(
        prompts=PROMPTS,
        duration_per_frame=1.5,
        quality=VideoQuality.DRAFT,
        transition=TransitionType.DISSOLVE,
        use_ai_generation=True,
        ai_model_manager=Stripes(),
        num_inference_steps=20,
    )
    show("Images of your own", result, began)


if __name__ == "__main__":
    asyncio.run(main())
