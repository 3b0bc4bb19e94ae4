"""Checksums as `ffmpeg -i clip.mp4 -f framemd5 -` prints them, to be compared with `diff`."""

from __future__ import annotations

from collections.abc import Sequence


def framemd5(
    digests: Sequence[bytes], width: int, height: int, fps: int, *, aspect_is_told: bool = True
) -> str:
    """FFmpeg's "frame checksums" of version 2, without the line that names its own version.

    Args:
        digests: MD5 of each picture's samples as packed I420, in output order.
        width: Of the pictures, in pixels.
        height: Of the pictures, in pixels.
        fps: Pictures a second.
        aspect_is_told: Whether the stream says that its samples are square.
    """
    size = width * height * 3 // 2
    lines = [
        "#format: frame checksums",
        "#version: 2",
        "#hash: MD5",
        f"#tb 0: 1/{fps}",
        "#media_type 0: video",
        "#codec_id 0: rawvideo",
        f"#dimensions 0: {width}x{height}",
        f"#sar 0: {int(aspect_is_told)}/1",
        "#stream#, dts,        pts, duration,     size, hash",
    ]
    lines += [
        f"0, {number:10}, {number:10}, {1:8}, {size:8}, {digest.hex()}"
        for number, digest in enumerate(digests)
    ]
    return "\n".join(lines) + "\n"
