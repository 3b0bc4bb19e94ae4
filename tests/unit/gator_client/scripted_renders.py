"""The renders of a scripted gateway that outlive their clients."""

import hashlib
import itertools
from datetime import UTC, datetime

import grpc

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1 import render_service_pb2_grpc as stubs
from gator.type.v1 import video_pb2
from rpckit.errors import GatorError, Reason

VIDEO = bytes(range(256)) * 64
ENDED = (pb.RENDER_STATE_SUCCEEDED, pb.RENDER_STATE_FAILED, pb.RENDER_STATE_CANCELLED)
FIRST = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class BrokenConnectionError(Exception):
    """Raised by a script: its call ends as if the connection had broken."""


def header(render_id, form="faststart", offset=0, epoch=1):
    return pb.DownloadVideoResponse(
        header=pb.VideoHeader(
            content_tag=f"{render_id}.{epoch}.{form}",
            form=video_pb2.VideoForm.Value(f"VIDEO_FORM_{form.upper()}"),
            offset=offset,
            size_bytes=len(VIDEO),
        )
    )


def chunk(data):
    return pb.DownloadVideoResponse(chunk=video_pb2.VideoChunk(data=data))


def trailer(data=VIDEO):
    return pb.DownloadVideoResponse(
        trailer=pb.VideoTrailer(size_bytes=len(data), sha256=hashlib.sha256(data).digest())
    )


async def stored(request, attempt):
    """The stored video, in pieces of 1,000 bytes."""
    tag = f"{request.render_id}.1.faststart"
    if request.content_tag not in ("", tag):
        raise GatorError(Reason.CONTENT_CHANGED, "this content is not there any more")
    if request.offset > len(VIDEO):
        raise GatorError(Reason.OFFSET_OUT_OF_RANGE, "past the end")
    yield header(request.render_id, offset=request.offset)
    for start in range(request.offset, len(VIDEO), 1000):
        yield chunk(VIDEO[start : start + 1000])
    yield trailer()


class ScriptedRenders(stubs.RenderServiceServicer):
    """Keeps renders in memory; `watching` and `downloading` script the two streams."""

    def __init__(self):
        self.renders = {}
        self.cancelled = []
        self.watches = []
        self.downloads = []
        self.pages = []
        self.watching = None
        self.downloading = stored
        self._numbers = itertools.count(1)

    def add(self, *prompts, state=pb.RENDER_STATE_QUEUED, render_id=None, **values):
        """A render that is there."""
        number = next(self._numbers)
        render = pb.Render(
            render_id=render_id or f"{number:08x}-0000-4000-8000-000000000000",
            state=state,
            request=pb.RenderRequest(
                scenes=[pb.Scene(prompt=prompt) for prompt in prompts],
                quality=video_pb2.QUALITY_DRAFT,
                labels=values.pop("labels", {}),
            ),
            progress=pb.RenderProgress(scene_count=len(prompts), frame_count=72 * len(prompts)),
            **values,
        )
        render.create_time.FromDatetime(FIRST.replace(second=number))
        self.renders[render.render_id] = render
        return render

    def _found(self, render_id):
        if render_id not in self.renders:
            raise GatorError(Reason.RENDER_NOT_FOUND, f"there is no render {render_id}")
        return self.renders[render_id]

    async def CreateRender(self, request, context):
        self.requests.append(request.render)
        for render in self.renders.values():
            if render.request.request_id == request.render.request_id:
                return pb.CreateRenderResponse(render=render)
        render = self.add(*(scene.prompt for scene in request.render.scenes))
        render.request.MergeFrom(
            pb.RenderRequest(
                request_id=request.render.request_id,
                labels=request.render.labels,
                priority=request.render.priority,
            )
        )
        return pb.CreateRenderResponse(render=render)

    async def GetRender(self, request, context):
        return pb.GetRenderResponse(render=self._found(request.render_id))

    async def ListRenders(self, request, context):
        self.pages.append(request)
        found = [
            render
            for render in reversed(self.renders.values())
            if (not request.states or render.state in request.states)
            and all(render.request.labels.get(k) == v for k, v in request.labels.items())
        ]
        start, size = int(request.page_token or 0), min(request.page_size, 2)
        following = start + size
        return pb.ListRendersResponse(
            renders=found[start:following],
            next_page_token=str(following) if following < len(found) else "",
        )

    async def CancelRender(self, request, context):
        render = self._found(request.render_id)
        self.cancelled.append(request.render_id)
        if render.state not in ENDED:
            render.state = pb.RENDER_STATE_CANCELLED
        return pb.CancelRenderResponse(render=render)

    async def DeleteRender(self, request, context):
        render = self._found(request.render_id)
        if render.state not in ENDED:
            raise GatorError(Reason.WRONG_STATE, f"render {render.render_id} is RUNNING")
        del self.renders[request.render_id]
        return pb.DeleteRenderResponse()

    async def RetryRender(self, request, context):
        source = self._found(request.render_id)
        render = self.add(*(scene.prompt for scene in source.request.scenes))
        render.retry_of = source.render_id
        render.request.request_id = request.request_id
        return pb.RetryRenderResponse(render=render)

    async def WatchRender(self, request, context):
        self.watches.append(request)
        if self.watching is None:
            yield pb.WatchRenderResponse(sequence=1, render=self._found(request.render_id))
            return
        try:
            async for message in self.watching(request, len(self.watches)):
                yield message
        except BrokenConnectionError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    async def DownloadVideo(self, request, context):
        self.downloads.append(request)
        self._found(request.render_id)
        try:
            async for message in self.downloading(request, len(self.downloads)):
                yield message
        except BrokenConnectionError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
