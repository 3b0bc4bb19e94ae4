"""A render that goes on alone: python examples/renders_that_outlive_you.py [HOST:PORT]

With the address of a `gator serve`, stop this program at any time and give it the id that
it printed: python examples/renders_that_outlive_you.py HOST:PORT ID. Without an address the
services run in this process, and so end with it. Writes two files to out/.
"""

import sys
from dataclasses import replace
from pathlib import Path

from gator_client import (
    Client,
    DownloadProgress,
    Render,
    RenderError,
    RenderProgress,
    RenderState,
)

OUT = Path("out")


def create(client: Client) -> Render:
    """Returns at once: what was answered is stored, and made whatever dies."""
    return client.create(
        ["a quiet harbour at dawn", "a market in full swing", "the harbour at night"],
        quality="draft",
        duration_per_frame=1.5,
        labels={"film": "harbour"},
        request_id="harbour-1",  # asked for twice, it is made once
    )


def watch(client: Client, render_id: str) -> Render:
    """Goes on where it was if the connection breaks, or the server is restarted."""
    for event in client.watch(render_id):
        match event:
            case Render() as render:
                print(f"  {render.state}")
            case RenderProgress(fraction=fraction):
                print(f"  {fraction:.0%}")
    return render


def download(client: Client, render_id: str, path: Path) -> None:
    """Goes on with what an earlier try left beside the file."""

    def on_event(event: object) -> None:
        if isinstance(event, DownloadProgress) and event.resumed_at:
            print(f"  from byte {event.resumed_at} on")

    video = client.download(render_id, path, on_event=on_event)
    print(f"{path}: {video.size_bytes} bytes, SHA-256 {video.sha256}")


def edit(client: Client, render: Render) -> Render:
    """The same scenes but for one: where an image model made them, only that one is made."""
    scenes = list(render.request.scenes)
    scenes[1] = replace(scenes[1], prompt="the market, empty")
    return client.create(scenes, **render.request.options, labels=render.labels)


def main() -> int:
    target = sys.argv[1] if len(sys.argv) > 1 else None
    OUT.mkdir(exist_ok=True)
    try:
        with Client(target) as client:
            render_id = sys.argv[2] if len(sys.argv) > 2 else create(client).render_id
            print(f"render {render_id}")
            render = watch(client, render_id)
            if render.state is not RenderState.SUCCEEDED:
                print(render.error.message if render.error else render.state, file=sys.stderr)
                return 1
            download(client, render_id, OUT / "harbour.mp4")
            edited = client.wait(edit(client, render).render_id)
            download(client, edited.render_id, OUT / "harbour-edited.mp4")
            if edited.result:
                print(f"  {edited.result.frames_reused} frames were there already")
            films = [film.render_id for film in client.list(labels={"film": "harbour"})]
            print(f"{len(films)} renders of the harbour")
    except RenderError as error:
        print(f"{error}\n{error.advice}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
