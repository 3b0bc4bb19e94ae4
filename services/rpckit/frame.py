"""A raw picture, and how it travels: a header, then its bytes in chunks of 1 MiB.

1 MiB is the fastest chunk over gRPC on loopback (64 KiB and 4 MiB move half as
much) and stays under gRPC's 4 MiB message limit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from gator.type.v1 import frame_pb2, video_pb2
from rpckit.errors import FieldViolation, GatorError, Reason, invalid

CHUNK_SIZE = 1 << 20
MAX_CHUNK_SIZE = 2 << 20
MAX_SIDE = 16_384
MAX_PIXELS = 64_000_000
SHA256_SIZE = 32


class PixelFormat(Enum):
    """Layout of a picture's bytes; the value is its number in video.proto."""

    RGB24 = video_pb2.PIXEL_FORMAT_RGB24
    """8-bit R, G, B per pixel, sRGB, full range."""
    I420 = video_pb2.PIXEL_FORMAT_I420
    """Planes Y, U, V in 4:2:0, BT.709 limited range; even sides."""

    def size(self, width: int, height: int) -> int:
        """Number of bytes of a `width` x `height` picture."""
        pixels = width * height
        return pixels * 3 if self is PixelFormat.RGB24 else pixels * 3 // 2


@dataclass(frozen=True)
class FrameHeader:
    """Describes a picture whose bytes come apart from it."""

    width: int
    height: int
    pixel_format: PixelFormat
    sha256: bytes
    """SHA-256 of the bytes."""

    @property
    def size(self) -> int:
        """Number of the picture's bytes."""
        return self.pixel_format.size(self.width, self.height)

    def to_proto(self) -> frame_pb2.FrameHeader:
        """The message of this header."""
        return frame_pb2.FrameHeader(
            width=self.width,
            height=self.height,
            pixel_format=self.pixel_format.value,
            size_bytes=self.size,
            sha256=self.sha256,
        )


@dataclass(frozen=True)
class Frame:
    """A raw picture."""

    header: FrameHeader
    data: bytes | bytearray | memoryview
    """`header.size` bytes, rows packed."""

    @classmethod
    def of(
        cls,
        width: int,
        height: int,
        data: bytes | bytearray | memoryview,
        pixel_format: PixelFormat = PixelFormat.RGB24,
    ) -> Frame:
        """A picture of the given size from its bytes, which must be as many as it needs."""
        header = FrameHeader(width, height, pixel_format, hashlib.sha256(data).digest())
        if len(data) != header.size:
            raise ValueError(f"{width}x{height} {pixel_format.name} has {header.size} bytes")
        return cls(header, data)

    def chunks(self) -> Iterator[bytes]:
        """The picture's bytes in order, in pieces of 1 MiB and a rest."""
        view = memoryview(self.data)
        for start in range(0, len(view), CHUNK_SIZE):
            yield bytes(view[start : start + CHUNK_SIZE])


def checked_header(message: frame_pb2.FrameHeader, *, field: str) -> FrameHeader:
    """The header of a message, or INVALID_ARGUMENT with every bad field.

    `field` is the path of the message in the request.
    """
    width, height = message.width, message.height
    bad: list[FieldViolation] = []

    def check(ok: bool, name: str, description: str) -> None:
        if not ok:
            bad.append(FieldViolation(f"{field}.{name}", description))

    check(1 <= width <= MAX_SIDE, "width", f"is {width}; must be 1 to {MAX_SIDE} pixels")
    check(1 <= height <= MAX_SIDE, "height", f"is {height}; must be 1 to {MAX_SIDE} pixels")
    check(
        width * height <= MAX_PIXELS,
        "width",
        f"{width}x{height} is more than {MAX_PIXELS} pixels; send a smaller picture",
    )
    known = {f.value for f in PixelFormat}
    number = message.pixel_format
    check(number in known, "pixel_format", f"is {number}; must be RGB24 or I420")
    length = len(message.sha256)
    check(length == SHA256_SIZE, "sha256", f"has {length} bytes; must have {SHA256_SIZE}")
    if not bad:
        layout = PixelFormat(number)
        even = layout is PixelFormat.RGB24 or (width % 2 == 0 and height % 2 == 0)
        check(even, "pixel_format", "is I420; width and height must be even")
        size = layout.size(width, height)
        check(
            message.size_bytes == size,
            "size_bytes",
            f"is {message.size_bytes}; {width}x{height} {layout.name} has {size}",
        )
    if bad:
        raise invalid(*bad)
    return FrameHeader(width, height, PixelFormat(number), message.sha256)


class FrameCheck:
    """Checks a picture's bytes against its header while they come, keeping none of them."""

    def __init__(self, header: FrameHeader) -> None:
        self._header = header
        self._hash = hashlib.sha256()
        self.received = 0
        """Number of bytes so far."""

    @property
    def complete(self) -> bool:
        """Whether all bytes have come."""
        return self.received == self._header.size

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes; FRAME_CORRUPT if they are too many or end in a wrong checksum."""
        if not chunk:
            raise _corrupt("a chunk is empty")
        if len(chunk) > MAX_CHUNK_SIZE:
            raise _corrupt(f"a chunk has {len(chunk)} bytes; at most {MAX_CHUNK_SIZE} may come")
        self.received += len(chunk)
        if self.received > self._header.size:
            raise _corrupt(f"more than the {self._header.size} bytes of the header came")
        self._hash.update(chunk)
        if self.complete and self._hash.digest() != self._header.sha256:
            raise _corrupt("the bytes do not have the SHA-256 of the header")

    def finish(self) -> None:
        """FRAME_CORRUPT if bytes are missing."""
        if not self.complete:
            raise _corrupt(f"{self.received} of {self._header.size} bytes came")


def _corrupt(what: str) -> GatorError:
    return GatorError(Reason.FRAME_CORRUPT, f"the frame is corrupt: {what}")
