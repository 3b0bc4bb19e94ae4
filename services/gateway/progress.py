"""How far a render is: half of the work is making frames, half encoding them."""

from __future__ import annotations

from gateway.events import RenderProgress


class ProgressMeter:
    """Adds up the progress of scenes and of the video. Its fraction never falls."""

    def __init__(self, scene_count: int, fraction: float = 0.0) -> None:
        """`fraction` was told before, and is the least that is told from now on."""
        self.frame_count = 0
        """Pictures of the video; 0 until the compositor has planned it."""
        self.frames_encoded = 0
        """Pictures handed to the encoder."""
        self._scenes = [0.0] * scene_count
        self._finished = 0
        self._fraction = fraction

    def scene_stepped(self, index: int, step: int, steps: int) -> None:
        """Scene `index` has done `step` of `steps` steps; 0 steps tell nothing."""
        if steps:
            self._scenes[index] = max(self._scenes[index], min(step / steps, 1.0))

    def scene_finished(self, index: int) -> None:
        """Scene `index` has its frame."""
        self._scenes[index] = 1.0
        self._finished += 1

    def progress(self) -> RenderProgress:
        """How far the render is now."""
        made = sum(self._scenes) / len(self._scenes)
        encoded = self.frames_encoded / self.frame_count if self.frame_count else 0.0
        self._fraction = max(self._fraction, (made + encoded) / 2)
        return RenderProgress(
            scenes_finished=self._finished,
            scene_count=len(self._scenes),
            frames_encoded=self.frames_encoded,
            frame_count=self.frame_count,
            fraction=self._fraction,
        )
