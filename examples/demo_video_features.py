"""The six transitions and what a quality stands for, on placeholders.

    python examples/demo_video_features.py [FOLDER]

Runs in seconds with no server and no model. Writes its videos to FOLDER, else out/.
"""

import asyncio
import sys

from gator_client import TransitionType, VideoProcessingService, VideoQuality

PROMPTS = ["A quiet harbour at dawn", "A market in full swing", "A lighthouse in a storm"]


async def main() -> None:
    service = VideoProcessingService(sys.argv[1] if len(sys.argv) > 1 else "out")

    print("Qualities")
    for name in service.get_supported_qualities():
        settings = service.quality_settings[VideoQuality(name)]
        width, height = settings["resolution"]
        print(f"  {name:<10}{width}x{height} at {settings['fps']} fps, {settings['bitrate']}")

    print("\nTransitions")
    for name in service.get_supported_transitions():
        result = await service.generate_frame_by_frame_video(
            prompts=PROMPTS,
            duration_per_frame=1.0,
            quality=VideoQuality.DRAFT,
            transition=TransitionType(name),
            use_ai_generation=False,
        )
        size = f"{result['duration']} s, {result['file_size'] / 1024:.0f} KiB"
        print(f"  {name:<10}{size}, {result['file_path']}")

    print("\nProgress of one render")
    seen: list[int] = []

    def on_progress(fraction: float) -> None:
        if not seen or int(fraction * 10) > seen[-1]:
            seen.append(int(fraction * 10))
            print(f"  {fraction:4.0%} {'#' * round(fraction * 40)}")

    await service.generate_frame_by_frame_video(
        prompts=PROMPTS,
        duration_per_frame=1.0,
        quality=VideoQuality.STANDARD,
        use_ai_generation=False,
        progress_callback=on_progress,
    )


if __name__ == "__main__":
    asyncio.run(main())
