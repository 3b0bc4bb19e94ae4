"""Creates a render, watches it to its end, and downloads its video, with gRPC's stubs alone.

    pip install grpcio grpcio-tools googleapis-common-protos
    python -m grpc_tools.protoc -I ../../../protos --python_out=. --grpc_python_out=. \
        $(cd ../../../protos && find gator/gateway gator/type -name '*.proto')
    python stubs.py HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...

GATOR_CA_FILE: certificates to trust; turns TLS on. GATOR_TOKEN: shown over TLS only.
"""

import hashlib
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from gator.type.v1 import video_pb2

T = TypeVar("T")
ENDED = (pb.RENDER_STATE_SUCCEEDED, pb.RENDER_STATE_FAILED, pb.RENDER_STATE_CANCELLED)
OPTIONS = [  # a dead link is noticed though nothing is sent on it
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]


def open_channel(target: str) -> grpc.Channel:
    ca, token = os.environ.get("GATOR_CA_FILE"), os.environ.get("GATOR_TOKEN")
    if not ca:
        return grpc.insecure_channel(target, OPTIONS)
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes())
    if token:
        shown = grpc.access_token_call_credentials(token)
        credentials = grpc.composite_channel_credentials(credentials, shown)
    return grpc.secure_channel(target, credentials, OPTIONS)


def retried(once: Callable[[], T]) -> T:
    """Tries again while the server cannot be reached, for about a minute.

    What `once` remembers between two tries (an event's number, an offset) makes the second
    go on where the first was.
    """
    delay = 0.2
    while True:
        try:
            return once()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or delay > 30:
                raise
            time.sleep(delay)
            delay *= 2


def watch(stub: RenderServiceStub, render_id: str) -> pb.Render:
    asked = pb.WatchRenderRequest(render_id=render_id)
    last = pb.Render()

    def once() -> None:
        for event in stub.WatchRender(asked):
            asked.after_sequence = event.sequence
            if event.HasField("progress"):
                print(f"{event.progress.fraction:.0%}", file=sys.stderr)
            if event.HasField("render"):
                print(pb.RenderState.Name(event.render.state), file=sys.stderr)
                last.CopyFrom(event.render)

    retried(once)
    return last


def download(stub: RenderServiceStub, render_id: str, path: Path) -> str:
    asked = pb.DownloadVideoRequest(render_id=render_id)
    sha256 = hashlib.sha256()

    with path.open("wb") as file:

        def once() -> None:
            for part in stub.DownloadVideo(asked):
                if part.HasField("header"):
                    asked.content_tag = part.header.content_tag
                if part.HasField("chunk"):
                    file.write(part.chunk.data)
                    sha256.update(part.chunk.data)
                    asked.offset += len(part.chunk.data)
                if part.HasField("trailer") and part.trailer.sha256 != sha256.digest():
                    sys.exit("the video is damaged")

        retried(once)
    return sha256.hexdigest()


def main(target: str, out: str, quality: str, *prompts: str) -> None:
    partial = Path(f"{out}.part")  # the file gets its name once it is whole
    request = pb.RenderRequest(
        scenes=[pb.Scene(prompt=prompt) for prompt in prompts],
        quality=video_pb2.Quality.Value(f"QUALITY_{quality.upper()}"),
        duration_per_frame=Duration(seconds=1),
        request_id=str(uuid.uuid4()),  # safe to repeat
    )
    with open_channel(target) as channel:
        stub = RenderServiceStub(channel)
        try:
            created = pb.CreateRenderRequest(render=request)
            render = retried(lambda: stub.CreateRender(created, timeout=30)).render
            render = watch(stub, render.render_id)
            if render.state != pb.RENDER_STATE_SUCCEEDED:
                state = pb.RenderState.Name(render.state)
                sys.exit(f"render failed: {state}: {render.error.message}")
            sha256 = download(stub, render.render_id, partial)
        except grpc.RpcError as error:
            sys.exit(f"render failed: {error.code().name}: {error.details()}")
    partial.rename(out)
    result = render.result
    print(f"{out}: {result.frame_count} pictures, {result.size_bytes} bytes, sha256 {sha256}")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit("usage: stubs.py HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...")
    main(*sys.argv[1:])
