"""Creates a render, watches it to its end, and downloads its video.

    python render.py HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...

GATOR_CA_FILE: certificates to trust; turns TLS on. GATOR_TOKEN: shown over TLS only.

The SDK makes each call safe to repeat, looks for a server that went away, goes on with a
watch or a download where it was, and checks the video. stubs.py is the same without it.
"""

import os
import sys
import uuid
from pathlib import Path

from gator_client import Client, Render, RenderError, RenderProgress, Tls


def main(target: str, out: str, quality: str, *prompts: str) -> int:
    ca = os.environ.get("GATOR_CA_FILE")
    client = Client(
        target,
        tls=Tls(ca_file=Path(ca)) if ca else False,
        token=os.environ.get("GATOR_TOKEN") if ca else None,
    )
    try:
        with client:
            render = client.create(
                prompts, quality=quality, duration_per_frame=1, request_id=str(uuid.uuid4())
            )
            for event in client.watch(render.render_id):
                match event:
                    case RenderProgress(fraction=fraction):
                        print(f"{fraction:.0%}", file=sys.stderr)
                    case Render(state=state):
                        print(state, file=sys.stderr)
                        render = event
            if render.result is None:
                print(f"render failed: {render.state}: {render.error}", file=sys.stderr)
                return 1
            video = client.download(render.render_id, out)
    except RenderError as error:
        print(f"render failed: {error}\n{error.advice}", file=sys.stderr)
        return 1
    print(
        f"{out}: {render.result.frame_count} pictures, {video.size_bytes} bytes, "
        f"sha256 {video.sha256}"
    )
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit("usage: render.py HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...")
    sys.exit(main(*sys.argv[1:]))
