"""The SDK in a minute: python examples/quickstart.py [HOST:PORT]

Without an address the services run in this process. Writes two files to out/.
"""

import asyncio
import sys
from pathlib import Path

from gator_client import (
    AsyncClient,
    Client,
    RenderError,
    RenderProgress,
    Scene,
    SceneProgress,
    SceneState,
    Transition,
)

OUT = Path("out")


def simple(target: str | None) -> None:
    """Without an event loop: prompts in, a file out."""
    with Client(target) as client:
        result = client.render_to_file(
            ["a quiet harbour at dawn", "a market in full swing"],
            OUT / "quickstart.mp4",
            quality="draft",
            duration_per_frame=1.5,
        )
    print(f"{OUT / 'quickstart.mp4'}: {result.duration} s, {result.size_bytes} bytes")
    for scene in result.scenes:
        print(f"  scene {scene.index + 1} was made by {scene.provenance.backend}")
    for warning in result.warnings:
        print(f"  {warning.field}: {warning.applied} is used: {warning.reason}")


async def with_events(target: str | None) -> None:
    """With asyncio: a setting for each scene, and what happens while it happens."""

    def on_event(event: object) -> None:
        match event:
            case SceneProgress(index=index, state=SceneState.FINISHED):
                print(f"  scene {index + 1} is ready")
            case RenderProgress(fraction=fraction):
                print(f"  {fraction:.0%}")

    scenes = [
        Scene("a lighthouse in a storm", duration=2, transition=Transition.WIPE, seed=42),
        Scene("the same lighthouse at night", duration=1.5),
    ]
    async with AsyncClient(target, timeout=300) as client:
        path = OUT / "lighthouse.mp4"
        result = await client.render_to_file(scenes, path, on_event=on_event, quality="draft")
    print(f"{path}: {result.frame_count} pictures, SHA-256 {result.sha256}")


def main() -> int:
    target = sys.argv[1] if len(sys.argv) > 1 else None
    OUT.mkdir(exist_ok=True)
    try:
        simple(target)
        asyncio.run(with_events(target))
    except RenderError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
