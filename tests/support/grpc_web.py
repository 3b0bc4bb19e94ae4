"""A client of gRPC-Web over HTTP/1.1, as a browser would call: no trailers, no HTTP/2."""

from __future__ import annotations

import asyncio
import http.client
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

T = TypeVar("T", bound="Message")

_TRAILERS = 0x80
"""Flag of the frame that holds what would be trailers."""


class Message(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes: ...
    @classmethod
    def FromString(cls, data: bytes) -> Self: ...


@dataclass
class Answer:
    """What came back for a call."""

    status: int
    """gRPC status code."""
    message: str
    headers: Mapping[str, str]
    frames: list[bytes] = field(default_factory=list)

    def messages(self, kind: type[T]) -> list[T]:
        """The messages in order."""
        return [kind.FromString(frame) for frame in self.frames]


async def call(address: str, method: str, request: Message, **headers: str) -> Answer:
    """Calls `method`, such as /gator.gateway.v1.RenderService/GetRender, at host:port."""
    return await asyncio.to_thread(_call, address, method, request.SerializeToString(), headers)


def _call(address: str, method: str, message: bytes, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection(address, timeout=300)
    try:
        connection.request(
            "POST",
            method,
            body=struct.pack(">BI", 0, len(message)) + message,
            headers={
                "content-type": "application/grpc-web+proto",
                "x-grpc-web": "1",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        frames = list(_frames(response.read()))
    finally:
        connection.close()
    trailers = dict(received)
    messages = []
    for flags, frame in frames:
        if flags & _TRAILERS:
            for line in frame.decode().splitlines():
                name, _, value = line.partition(":")
                trailers[name.strip().lower()] = value.strip()
        else:
            messages.append(frame)
    status = int(trailers["grpc-status"])
    return Answer(status, trailers.get("grpc-message", ""), received, messages)


def _frames(body: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        assert len(body) >= 5 + size, "the last frame is cut off"
        frames.append((flags, body[5 : 5 + size]))
        body = body[5 + size :]
    return frames
