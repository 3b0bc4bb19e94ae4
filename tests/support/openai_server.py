"""A stand-in for OpenAI's images API on loopback: what it checks, refuses, sends and breaks off.

It speaks HTTP/1.1 on asyncio in the loop of the test, so that a test can wait
for a request to arrive or for a client to hang up instead of sleeping.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from PIL import Image

KEY = "sk-proj-4Tz0SecretSecretSecretQ9"
MODELS = frozenset({"gpt-image-1.5", "gpt-image-2", "gpt-image-2.6-flare"})
FIXED_SIZES = frozenset({"1024x1024", "1536x1024", "1024x1536", "auto"})
PARAMETERS = frozenset(
    {
        "background",
        "model",
        "moderation",
        "n",
        "output_compression",
        "output_format",
        "partial_images",
        "prompt",
        "quality",
        "size",
        "stream",
        "user",
    }
)
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    path: str
    headers: dict[str, str]
    """With their names in lower case."""
    body: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height that are asked for."""
        asked = self.body.get("size", "auto")
        width, _, height = ("1024x1024" if asked == "auto" else asked).partition("x")
        return int(width), int(height)


class Connection:
    """One client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.ended = False
        """Whether an answer ended the connection."""

    async def receive(self) -> Request | None:
        """The next request; None once the client has hung up."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            start, *lines = head.rstrip().split("\r\n")
            pairs = (line.split(":", 1) for line in lines)
            headers = {name.lower(): value.strip() for name, value in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Request(start.split()[1], headers, json.loads(body or b"{}"))

    async def send(
        self,
        status: int,
        body: bytes,
        headers: Headers = (),
        *,
        content_type: str = "application/json",
        length: int | None = None,
    ) -> None:
        """Sends a response that claims `length` bytes, or as many as it has."""
        claimed = len(body) if length is None else length
        lines = [
            f"HTTP/1.1 {status} Scripted",
            f"content-type: {content_type}",
            f"content-length: {claimed}",
            "x-request-id: req_4f1d00aa",
            *(f"{name}: {value}" for name, value in headers),
        ]
        await self.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def write(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def hung_up(self) -> None:
        """Waits until the client is gone."""
        while await self._reader.read(1 << 16):
            pass

    def abort(self) -> None:
        """Ends the connection at once."""
        self.ended = True
        self._writer.transport.abort()

    async def end(self) -> None:
        """Ends the connection once all is sent."""
        self.ended = True
        self._writer.close()
        await self._writer.wait_closed()


Reply = Callable[[Request, Connection], Awaitable[None]]
"""How one request is answered."""


class OpenAIServer:
    """Answers with pictures, or as its `script` says, from `async with` to the end of the block."""

    def __init__(self) -> None:
        self.base_url = ""
        """For OPENAI_BASE_URL, once started."""
        self.script: deque[Reply] = deque()
        """How the next requests are answered, whatever they ask for; then all are checked and get
        a picture."""
        self.requests: list[Request] = []
        """Every request that came."""
        self.answered = 0
        """Requests whose answer was sent in whole."""
        self.hang_ups = 0
        """Clients that did not wait for their answer."""
        self.most_at_once = 0
        """Most requests that were open at a time."""
        self._open = 0
        self._changed = asyncio.Condition()
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        # Not by cancelling their tasks, of which asyncio would complain.
        for connection in self._connections.values():
            connection.abort()
        await asyncio.gather(*self._connections)

    async def until(self, happened: Callable[[], bool]) -> None:
        """Waits for something that a request or its end brings about."""
        async with asyncio.timeout(100), self._changed:
            await self._changed.wait_for(happened)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        connection = Connection(reader, writer)
        self._connections[task] = connection
        try:
            while not connection.ended and (request := await connection.receive()):
                self.requests.append(request)
                await self._count(1)
                await self._answer(request, connection)
        except ConnectionError:
            self.hang_ups += 1
        finally:
            del self._connections[task]
            connection.abort()
            async with self._changed:
                self._changed.notify_all()

    async def _answer(self, request: Request, connection: Connection) -> None:
        reply = self.script.popleft() if self.script else checked
        try:
            await reply(request, connection)
            self.answered += 1
        finally:
            await self._count(-1)

    async def _count(self, change: int) -> None:
        self._open += change
        self.most_at_once = max(self.most_at_once, self._open)
        async with self._changed:
            self._changed.notify_all()


def png(width: int, height: int, colour: tuple[int, int, int] = (40, 90, 200)) -> bytes:
    """A PNG file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG", compress_level=1)
    return file.getvalue()


async def checked(request: Request, connection: Connection) -> None:
    """What the real service answers: a picture, or a refusal of a wrong request."""
    body = request.body
    if request.headers.get("authorization") != f"Bearer {KEY}":
        message = "Incorrect API key provided: sk-proj-****etQ9. You can find your API key at ..."
        await refusal(401, "invalid_api_key", message)(request, connection)
    elif request.path != "/v1/images/generations":
        await refusal(404, None, f"Invalid URL (POST {request.path})")(request, connection)
    elif body.get("model") not in MODELS:
        message = f"The model `{body.get('model')}` does not exist or you do not have access to it."
        await refusal(404, "model_not_found", message)(request, connection)
    elif unknown := set(body) - PARAMETERS:
        await refusal(400, "unknown_parameter", f"Unknown: {unknown}")(request, connection)
    elif not _takes_size(body["model"], body.get("size", "auto")):
        await refusal(400, "invalid_value", "Invalid size", param="size")(request, connection)
    elif body.get("stream"):
        await stream(body.get("partial_images", 0))(request, connection)
    else:
        await picture()(request, connection)


def _takes_size(model: str, size: str) -> bool:
    if size in FIXED_SIZES:
        return True
    if model == "gpt-image-1.5":
        return False
    width, height = map(int, size.split("x"))
    return width % 16 == height % 16 == 0 and 1 / 3 <= width / height <= 3


def picture(data: bytes | None = None) -> Reply:
    """A picture of the size that is asked for, or the bytes in `data` in its place."""

    async def reply(request: Request, connection: Connection) -> None:
        await connection.send(200, answer(data or png(*request.size), request))

    return reply


def answer(data: bytes, request: Request) -> bytes:
    """The body of an answer with a picture."""
    width, height = request.size
    fields = {
        "created": 1_790_000_000,
        "background": "opaque",
        "data": [{"b64_json": base64.b64encode(data).decode()}],
        "output_format": request.body.get("output_format", "png"),
        "quality": request.body.get("quality", "auto"),
        "size": f"{width}x{height}",
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": 7},
            "output_tokens": 100,
            "total_tokens": 107,
        },
    }
    return json.dumps(fields).encode()


def error_body(
    code: str | None, message: str, kind: str = "invalid_request_error", param: str | None = None
) -> bytes:
    """The body of a refusal."""
    fields = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": fields}).encode()


def refusal(
    status: int,
    code: str | None = None,
    message: str = "Scripted.",
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    headers: Headers = (("retry-after-ms", "10"),),
) -> Reply:
    """An error status with OpenAI's body."""

    async def reply(request: Request, connection: Connection) -> None:
        await connection.send(status, error_body(code, message, kind, param), headers)

    return reply


def raw(body: bytes, *, status: int = 200, content_type: str = "application/json") -> Reply:
    """Any body at all."""

    async def reply(request: Request, connection: Connection) -> None:
        await connection.send(status, body, content_type=content_type)

    return reply


def held(release: asyncio.Event, then: Reply = checked) -> Reply:
    """Answers once `release` is set, or never if the client hangs up before."""

    async def reply(request: Request, connection: Connection) -> None:
        gone = asyncio.ensure_future(connection.hung_up())
        free = asyncio.ensure_future(release.wait())
        try:
            await asyncio.wait({gone, free}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ConnectionResetError
        finally:
            for waiting in (gone, free):
                waiting.cancel()
            await asyncio.gather(gone, free, return_exceptions=True)
        await then(request, connection)

    return reply


def silence() -> Reply:
    """Never answers."""
    return held(asyncio.Event())


def half(then_wait: bool = False) -> Reply:
    """Sends half of a picture's answer, then breaks off, or waits until the client hangs up."""

    async def reply(request: Request, connection: Connection) -> None:
        body = answer(png(*request.size), request)
        await connection.send(200, body[: len(body) // 2], length=len(body))
        if then_wait:
            await connection.hung_up()
            raise ConnectionResetError
        await connection.end()

    return reply


def drop() -> Reply:
    """Breaks off without an answer."""

    async def reply(request: Request, connection: Connection) -> None:
        await connection.end()

    return reply


def stream(
    partial_images: int, last: Reply | None = None, *, partial: bytes | None = None
) -> Reply:
    """Server-sent events: partial pictures, red and ever brighter, then the whole one.

    `partial` stands in for the partial ones, `last` for the whole one.
    """

    async def reply(request: Request, connection: Connection) -> None:
        width, height = request.size
        shared = {"background": "opaque", "output_format": "png", "quality": "low"}
        shared |= {"size": f"{width}x{height}", "created_at": 1_790_000_000}
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        await connection.write(head.encode())
        for index in range(partial_images):
            data = partial or png(width, height, (60 * (index + 1), 0, 0))
            event = {"type": "image_generation.partial_image", "partial_image_index": index}
            await connection.write(_event(event | shared, data))
        if last:
            await last(request, connection)
        else:
            event = {"type": "image_generation.completed", "usage": None}
            await connection.write(_event(event | shared, png(width, height)))
        await connection.end()

    return reply


def failing_event(code: str, kind: str) -> Reply:
    """An error in the middle of a stream."""

    async def reply(request: Request, connection: Connection) -> None:
        body = error_body(code, "Scripted.", kind).decode()
        await connection.write(f"event: error\ndata: {body}\n\n".encode())

    return reply


def _event(fields: dict[str, Any], data: bytes) -> bytes:
    fields = fields | {"b64_json": base64.b64encode(data).decode()}
    return f"event: {fields['type']}\ndata: {json.dumps(fields)}\n\n".encode()
