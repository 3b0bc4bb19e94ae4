"""Jobs for the step engine, listeners that keep what they hear, and diffusers' own images."""

from __future__ import annotations

import copy
import math
import threading

import numpy as np
import torch

from frame_gen.diffusion.job import Failure, Image, Job, Preview, Progress
from frame_gen.diffusion.models import LoadedModel

TIMEOUT = 100
"""Seconds for what must come; a test may take 120."""


class Recorder:
    """A listener that keeps everything, and lets a test wait for it."""

    def __init__(self, *, on_progress=None, slow=False) -> None:
        self.positions: list[int] = []
        self.steps: list[Progress] = []
        self.previews: list[Preview] = []
        self.ends: list[Image | Failure] = []
        self.after_end = 0
        self._on_progress = on_progress
        self._slow = slow
        self._wake = threading.Condition()

    def queued(self, position):
        self._note(self.positions, position)

    def progress(self, progress):
        self._note(self.steps, progress)
        if self._on_progress is not None:
            self._on_progress(progress)

    def wants_preview(self):
        return not self._slow

    def preview(self, preview):
        self._note(self.previews, preview)

    def finished(self, image):
        self._note(self.ends, image)

    def failed(self, failure):
        self._note(self.ends, failure)

    def wait_for(self, condition):
        """Waits until the condition of the recorder holds."""
        with self._wake:
            assert self._wake.wait_for(lambda: condition(self), TIMEOUT), vars(self)

    def end(self) -> Image | Failure:
        """The end of the job."""
        self.wait_for(lambda recorder: recorder.ends)
        return self.ends[0]

    def image(self) -> Image:
        """The image of the job, which has one."""
        end = self.end()
        assert isinstance(end, Image), end
        return end

    def failure(self) -> Failure:
        """The failure of the job, which has one."""
        end = self.end()
        assert isinstance(end, Failure), end
        return end

    def _note(self, where, what):
        with self._wake:
            self.after_end += bool(self.ends)
            where.append(what)
            self._wake.notify_all()


class Turnstile:
    """Holds the thread that passes until let on.

    As `on_progress` of a Recorder it holds an engine after each step that it tells of: what a
    test does meanwhile comes before the next step.
    """

    def __init__(self) -> None:
        self._steps = threading.Semaphore(0)
        self._open = False

    def __call__(self, *_: object) -> None:
        if not self._open:
            assert self._steps.acquire(timeout=TIMEOUT)

    def let_on(self) -> None:
        """Lets one pass."""
        self._steps.release()

    def open(self) -> None:
        """Lets all pass from here on."""
        self._open = True
        self._steps.release()

    def open_when_called(self, monkeypatch, thing: object, method: str) -> None:
        """Opens when a method is called: that by which a closing waits for the step in hand."""
        wait = getattr(thing, method)

        def open_and_wait(*args: object, **more: object) -> object:
            self.open()
            return wait(*args, **more)

        monkeypatch.setattr(thing, method, open_and_wait)


def thread_named(name: str) -> threading.Thread:
    """The one thread of this name."""
    (thread,) = (thread for thread in threading.enumerate() if thread.name == name)
    return thread


def loaded(pipeline, **more) -> LoadedModel:
    """The pipeline's modules for the engine: copies, so that the pipeline can be called too."""
    return LoadedModel.from_pipeline(
        copy.deepcopy(pipeline), name="tiny", width=128, height=64, **more
    )


def job(model: LoadedModel, prompt: str = "the cat", **more) -> Job:
    """A small job."""
    values = {"width": 64, "height": 64, "steps": 4, "guidance": 5.0, "seed": 1, **more}
    return Job(model, prompt, **values)


def stock_image(pipeline, asked: Job) -> np.ndarray:
    """The image that diffusers' own pipeline makes of a job."""
    result = pipeline(
        asked.prompt,
        negative_prompt=asked.negative_prompt or None,
        width=asked.width,
        height=asked.height,
        num_inference_steps=asked.steps,
        guidance_scale=asked.guidance,
        generator=torch.Generator("cpu").manual_seed(asked.seed),
        output_type="np",
    )
    return (result.images[0] * 255).round().astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal to noise ratio of two pictures in decibels."""
    assert a.shape == b.shape
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
