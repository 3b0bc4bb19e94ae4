"""Qualities, presets and transitions as plain values, read from the one table in video.proto."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gator.type.v1 import video_pb2


class Quality(Enum):
    """Quality preset of a video; the value is its number in video.proto."""

    DRAFT = video_pb2.QUALITY_DRAFT
    STANDARD = video_pb2.QUALITY_STANDARD
    HIGH = video_pb2.QUALITY_HIGH
    PREMIUM = video_pb2.QUALITY_PREMIUM


class Transition(Enum):
    """How one scene gives way to the next; the value is its number in video.proto."""

    FADE = video_pb2.TRANSITION_FADE
    CROSSFADE = video_pb2.TRANSITION_CROSSFADE
    WIPE = video_pb2.TRANSITION_WIPE
    SLIDE = video_pb2.TRANSITION_SLIDE
    ZOOM = video_pb2.TRANSITION_ZOOM
    DISSOLVE = video_pb2.TRANSITION_DISSOLVE


class Codec(Enum):
    """How the pictures of a video are coded; the value is its number in video.proto."""

    H264 = video_pb2.CODEC_H264
    HEVC = video_pb2.CODEC_HEVC
    AV1 = video_pb2.CODEC_AV1


class VideoForm(Enum):
    """How a video's file is laid out; the value is its number in video.proto."""

    FRAGMENTED = video_pb2.VIDEO_FORM_FRAGMENTED
    """Plays while it is still being written."""
    FASTSTART = video_pb2.VIDEO_FORM_FASTSTART
    """Its index stands in front: the form in which a video is stored."""


@dataclass(frozen=True)
class Preset:
    """What a quality stands for."""

    width: int
    """Picture width in pixels, even."""
    height: int
    """Picture height in pixels, even."""
    fps: int
    """Frames per second."""
    bitrate: int
    """Ceiling of the average bit rate, bits per second."""
    h264_level: int
    """H.264 level times 10."""
    use_case: str
    """What the preset is for."""

    def to_proto(self) -> video_pb2.Preset:
        """The message of this preset."""
        return video_pb2.Preset(
            width=self.width,
            height=self.height,
            fps=self.fps,
            bitrate_kbps=self.bitrate // 1000,
            use_case=self.use_case,
            h264_level=self.h264_level,
        )


def _preset(quality: Quality) -> Preset:
    value = video_pb2.Quality.DESCRIPTOR.values_by_number[quality.value]
    option = value.GetOptions().Extensions[video_pb2.preset]
    return Preset(
        width=option.width,
        height=option.height,
        fps=option.fps,
        bitrate=option.bitrate_kbps * 1000,
        h264_level=option.h264_level,
        use_case=option.use_case,
    )


PRESETS = {quality: _preset(quality) for quality in Quality}
"""The preset of each quality."""
