"""The same pictures by ffmpeg's command line and its xfade filter.

The binary is the one of the imageio-ffmpeg wheel. Every command writes the
same number of pictures with the same settings of x264; the check in
`outcome` proves it.
"""

import imageio_ffmpeg

from compositor.encoder.x264 import cpu_count
from tests.benchmarks.job import DURATION, SCENES, TRANSITION, Job, x264_options

TO_BT709 = "scale=out_color_matrix=bt709:out_range=tv"
TAGGED = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
"""Words only; without them the primaries of PNG stand in the video."""


def recipe(job: Job) -> list[str]:
    """The recipe that everybody gives: `-loop 1` on each image, and a chain of xfade."""
    inputs: list[str] = []
    for index in range(SCENES):
        length = DURATION + (TRANSITION if index else 0)
        inputs += ["-loop", "1", "-framerate", str(job.preset.fps), "-t", f"{float(length):g}"]
        inputs += ["-i", str(job.png(index))]
    graph, last = "", "[0:v]"
    for index in range(1, SCENES):
        offset = float(index * DURATION - TRANSITION)
        graph += f"{last}[{index}:v]{_xfade(offset)}[x{index}];"
        last = f"[x{index}]"
    return _command(job, "recipe", inputs, f"{graph}{last}{TO_BT709},format=yuv420p,{TAGGED}[v]")


def split(job: Job, *, raw: bool = False) -> list[str]:
    """The fastest command known to us: xfade sees only the pictures of the transition.

    Each image is decoded and converted once, held pictures are repeated in
    4:2:0, and the pieces are concatenated. `raw` reads raw RGB instead of PNG.
    """
    preset = job.preset
    clock = f"settb=1/{preset.fps},setpts=N,fps={preset.fps}"
    inputs: list[str] = []
    graph, order = "", ""
    for index in range(SCENES):
        if raw:
            inputs += ["-f", "rawvideo", "-pixel_format", "rgb24"]
            inputs += ["-video_size", f"{preset.width}x{preset.height}", "-i", str(job.raw(index))]
        else:
            inputs += ["-i", str(job.png(index))]
        comes, goes = index > 0, index < SCENES - 1
        pads = f"[h{index}]" + f"[in{index}]" * comes + f"[out{index}]" * goes
        graph += f"[{index}:v]{TO_BT709},format=yuv444p,split={1 + comes + goes}{pads};"
        held = job.hold_frames if goes else job.slot_frames
        graph += f"[h{index}]format=yuv420p,loop={held - 1}:1:0,{clock}[H{index}];"
        # One picture more than the transition has: xfade ends with its shorter input.
        for pad in ("in",) * comes + ("out",) * goes:
            graph += f"[{pad}{index}]loop={job.transition_frames}:1:0,{clock}[{pad}l{index}];"
    for index in range(SCENES):
        order += f"[H{index}]"
        if index < SCENES - 1:
            graph += (
                f"[outl{index}][inl{index + 1}]{_xfade(0)},trim=end_frame={job.transition_frames},"
                f"setpts=N,format=yuv420p[T{index}];"
            )
            order += f"[T{index}]"
    graph += f"{order}concat=n={2 * SCENES - 1}:v=1:a=0,{TAGGED}[v]"
    return _command(job, "split-raw" if raw else "split", inputs, graph)


def _xfade(offset: float) -> str:
    return f"xfade=transition=fade:duration={float(TRANSITION):g}:offset={offset:g}"


def _command(job: Job, name: str, inputs: list[str], graph: str) -> list[str]:
    coding = ["-threads", str(cpu_count())]
    for option, value in x264_options(job.preset).items():
        coding += [f"-{'profile:v' if option == 'profile' else option}", value]
    return [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-nostdin"),
        *inputs,
        *("-filter_complex", graph, "-map", "[v]", "-r", str(job.preset.fps)),
        *("-c:v", "libx264", *coding, str(job.video(name))),
    ]
