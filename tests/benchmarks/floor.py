"""The floor: x264 alone, on pictures that lie ready in memory.

A process of its own: `python -m tests.benchmarks.floor QUALITY FOLDER OUT REPORT`
reads the raw stills of FOLDER, makes every picture, and only then times the
encoding into OUT. Writes wall and CPU seconds to REPORT as JSON.
"""

import json
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from compositor.encoder.x264 import cpu_count
from compositor.planes import Planes, to_i420
from compositor.transitions import crossfade
from rpckit.video import PRESETS, Quality
from tests.benchmarks.job import SCENES, Job, Stills, x264_options


def pictures(job: Job) -> list[av.VideoFrame]:
    """All pictures in order; held ones are the same object."""
    stills = [to_i420(job.stills.rgb(scene)) for scene in range(SCENES)]
    shown: list[av.VideoFrame] = []
    for index, a in enumerate(stills):
        n = job.transition_frames if index < SCENES - 1 else 0
        shown += [_picture(a)] * (job.slot_frames - n)
        for k in range(n):
            blended = Planes.empty(job.preset.width, job.preset.height)
            crossfade(a, stills[index + 1], Fraction(k + 1, n + 1), blended)
            shown.append(_picture(blended))
    return shown


def encode(job: Job, shown: list[av.VideoFrame], path: Path) -> dict[str, float]:
    """Codes and writes the pictures; wall and CPU seconds."""
    preset = job.preset
    wall, cpu = time.perf_counter(), time.process_time()
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=preset.fps, options=x264_options(preset))
        stream.width, stream.height, stream.pix_fmt = preset.width, preset.height, "yuv420p"
        codec = stream.codec_context
        codec.thread_count = cpu_count()
        codec.thread_type = "FRAME"
        codec.color_range = ColorRange.MPEG
        codec.colorspace = Colorspace.ITU709
        codec.color_primaries = ColorPrimaries.BT709
        codec.color_trc = ColorTrc.BT709
        for number, picture in enumerate(shown):
            picture.pts = number
            picture.time_base = Fraction(1, preset.fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def _picture(planes: Planes) -> av.VideoFrame:
    return av.VideoFrame.from_numpy_buffer(planes.i420, format="yuv420p")


def main() -> None:
    quality, folder, out, report = sys.argv[1:]
    preset = PRESETS[Quality[quality]]
    stills = Stills("", Path(folder), preset.width, preset.height, SCENES)
    job = Job(Quality[quality], stills, Path(folder))
    Path(report).write_text(json.dumps(encode(job, pictures(job), Path(out))))


if __name__ == "__main__":
    main()
