"""The same pictures by ffmpeg's command line.

The binary is the one of the imageio-ffmpeg wheel. Every command writes the
same number of pictures with the same settings of x264; the check in
`outcome` proves it. In `strongest` the transitions begin one picture early
and lose that picture: ffmpeg's progress is k/n where ours is (k+1)/(n+1).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence

import imageio_ffmpeg
import numpy as np

from compositor.encoder.x264 import cpu_count
from tests.benchmarks.job import TRANSITION, Job, x264_options

TO_BT709 = "scale=out_color_matrix=bt709:out_range=tv"
TAGGED = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
"""Words only; without them the primaries of PNG stand in the video."""

XFADES = {"WIPE": "wiperight", "SLIDE": "slideleft", "ZOOM": "zoomin", "DISSOLVE": "dissolve"}
"""The transitions of xfade that look most like ours; not the same pictures."""


def recipe(job: Job) -> list[str]:
    """The recipe that everybody gives: `-loop 1` on each image, and a chain of xfade."""
    inputs: list[str] = []
    for index in range(job.count):
        length = job.duration + (TRANSITION if index else 0)
        inputs += ["-loop", "1", "-framerate", str(job.preset.fps), "-t", f"{float(length):g}"]
        inputs += ["-i", str(job.stills.png(index))]
    graph, last = "", "[0:v]"
    for index in range(1, job.count):
        offset = float(index * job.duration - TRANSITION)
        graph += f"{last}[{index}:v]xfade=transition=fade:duration={float(TRANSITION):g}"
        graph += f":offset={offset:g}[x{index}];"
        last = f"[x{index}]"
    graph += f"{last}{TO_BT709},format=yuv420p,{TAGGED}[v]"
    return _command(job, inputs, graph) + _coding(job, "recipe")


def split(job: Job, *, raw: bool = False) -> list[str]:
    """The strongest command at the compositor's own speed of x264, from PNG or raw files."""
    inputs = raw_inputs(job) if raw else png_inputs(job)
    return _command(job, inputs, _pieces(job)) + _coding(job, "split-raw" if raw else "split")


def strongest(job: Job, speed: str) -> list[str]:
    """The fastest command known to us, from raw files, at a speed of x264.

    Each image is read and converted once. Held pictures are repeated as they
    are; only the pictures of transitions are made, and the pieces are put one
    after the other. Crossfade (an overlay with growing opacity) and fade stay
    in 4:2:0; xfade does the others, which has 4:4:4 only.
    """
    return _command(job, raw_inputs(job), _pieces(job)) + _coding(job, speed, speed)


def raw_inputs(job: Job) -> list[str]:
    """The stills, once a scene."""
    size = f"{job.preset.width}x{job.preset.height}"
    raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", size, "-i"]
    return [word for i in range(job.count) for word in (*raw, str(job.stills.raw(i)))]


def png_inputs(job: Job) -> list[str]:
    """The stills as PNG, once a scene."""
    return [word for i in range(job.count) for word in ("-i", str(job.stills.png(i)))]


def lossless(job: Job, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Luma (height, width) of pictures of `strongest`, in order, before they are coded."""
    chosen = "+".join(f"eq(n\\,{number})" for number in numbers)
    graph = _pieces(job).removesuffix("[v]") + f",select='{chosen}',setpts=N[v]"
    command = _command(job, raw_inputs(job), graph)
    del command[command.index("-r") :]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    width, height = job.preset.width, job.preset.height
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for _ in numbers:
            picture = process.stdout.read(width * height * 3 // 2)
            yield np.frombuffer(picture, np.uint8)[: width * height].reshape(height, width)


def _pieces(job: Job) -> str:
    """A graph from the stills to [v]: hold, transition, hold ..., one after the other."""
    fps = job.preset.fps
    clock = f"settb=1/{fps},setpts=N,fps={fps}"
    pixels = "yuv444p" if job.transition in XFADES else "yuv420p"
    graph, order = "", ""
    for index in range(job.count):
        comes, goes = index > 0, index < job.count - 1
        pads = f"[h{index}]" + f"[in{index}]" * comes + f"[out{index}]" * goes
        graph += f"[{index}:v]{TO_BT709},format={pixels},split={1 + comes + goes}{pads};"
        held = job.hold_frames if goes else job.slot_frames
        graph += f"[h{index}]format=yuv420p,loop={held - 1}:1:0,{clock}[H{index}];"
        order += f"[H{index}]"
        if goes:
            graph += _transition(job, index, clock)
            order += f"[T{index}]"
    return f"{graph}{order}concat=n={2 * job.count - 1}:v=1:a=0,{TAGGED}[v]"


def _transition(job: Job, index: int, clock: str) -> str:
    """From [outA] and [inB] to [TA]."""
    n, fps = job.transition_frames, job.preset.fps
    out, into, made = f"[out{index}]", f"[in{index + 1}]", f"[T{index}]"
    lasts = (n + 1) / fps
    last_n = f"trim=start_frame=1:end_frame={n + 1},setpts=N"
    if job.transition == "CROSSFADE":
        return (
            f"{into}format=yuva420p,loop={n}:1:0,{clock},fade=t=in:d={lasts}:alpha=1,"
            f"{last_n}[i{index}];{out}loop={n - 1}:1:0,{clock}[o{index}];"
            f"[o{index}][i{index}]overlay=format=yuv420:eof_action=endall,"
            f"setpts=N,format=yuv420p{made};"
        )
    if job.transition == "FADE":
        # Picture k shows A while 2(k+1) <= n+1. The filter counts in whole pictures, so
        # where n+1 is odd it works on twice as many, of which every other one is kept.
        shown, often = (n + 1) // 2, 1 + (n + 1) % 2
        steps = often * (n + 1) // 2
        return (
            f"{out}loop={often * shown}:1:0,{clock},fade=t=out:s=0:n={steps},"
            f"trim=start_frame={often},framestep={often},trim=end_frame={shown},{clock}[o{index}];"
            f"{into}loop={often * (n - shown)}:1:0,{clock},fade=t=in:s=0:n={steps},"
            f"trim=start_frame=1,framestep={often},trim=end_frame={n - shown},{clock}[i{index}];"
            f"[o{index}][i{index}]concat=n=2:v=1:a=0,{clock}{made};"
        )
    # One picture more than is kept: xfade ends with its shorter input.
    return (
        f"{out}loop={n + 1}:1:0,{clock}[o{index}];{into}loop={n + 1}:1:0,{clock}[i{index}];"
        f"[o{index}][i{index}]xfade=transition={XFADES[job.transition]}:duration={lasts}:offset=0,"
        f"{last_n},format=yuv420p{made};"
    )


def _command(job: Job, inputs: Sequence[str], graph: str) -> list[str]:
    return [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-nostdin"),
        *inputs,
        *("-filter_complex", graph, "-map", "[v]", "-r", str(job.preset.fps)),
    ]


def _coding(job: Job, name: str, speed: str | None = None) -> list[str]:
    words = ["-c:v", "libx264"]
    if speed is None:  # beside the compositor's x264, which must be told the same
        words += ["-threads", str(cpu_count())]
    for option, value in x264_options(job.preset, speed).items():
        words += [f"-{'profile:v' if option == 'profile' else option}", value]
    return [*words, str(job.video(name))]
