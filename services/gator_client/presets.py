"""The presets of the qualities, read from the one table in video.proto."""

from __future__ import annotations

from gator.type.v1 import video_pb2
from gator_client.fields import to_preset
from gator_client.video import Preset, Quality


def _preset(quality: Quality) -> Preset:
    value = video_pb2.Quality.DESCRIPTOR.values_by_name[f"QUALITY_{quality.name}"]
    return to_preset(value.GetOptions().Extensions[video_pb2.preset])


PRESETS = {quality: _preset(quality) for quality in Quality}
"""What each quality stands for."""
