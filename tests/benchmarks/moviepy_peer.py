"""The same video by moviepy, in a process and an environment of its own.

`python moviepy_peer.py ORDER`, a JSON file with what is read below. moviepy
needs an older Pillow than the services, so this imports nothing of theirs.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from moviepy import CompositeVideoClip, ImageClip, vfx


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    wall, cpu = time.perf_counter(), time.process_time()
    fps, slot, n = order["fps"], order["slot_frames"], order["transition_frames"]
    clips = []
    for index, path in enumerate(order["frames"]):
        rgb = np.fromfile(path, np.uint8).reshape(order["height"], order["width"], 3)
        # One picture early, so that its progress is (k+1)/(n+1), as everybody's here.
        early = n + 1 if index else 0
        clip = ImageClip(rgb).with_duration((slot + early) / fps)
        clip = clip.with_start((index * slot - early) / fps)
        if early:
            clip = clip.with_effects([vfx.CrossFadeIn(early / fps)])
        clips.append(clip)
    size = (order["width"], order["height"])
    video = CompositeVideoClip(clips, size=size).with_duration(len(clips) * slot / fps)
    video.write_videofile(
        order["video"],
        fps=fps,
        codec="libx264",
        preset=order["x264"].pop("preset"),
        audio=False,
        logger=None,
        ffmpeg_params=["-vf", order["filter"], *coding(order["x264"])],
    )
    report = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    Path(order["report"]).write_text(json.dumps(report))


def coding(options: dict[str, str]) -> list[str]:
    words = []
    for option, value in options.items():
        words += [f"-{'profile:v' if option == 'profile' else option}", value]
    return words


if __name__ == "__main__":
    main()
