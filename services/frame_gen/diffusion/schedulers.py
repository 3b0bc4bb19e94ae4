"""Schedulers: which there are by name, and one image's own copy of one.

A diffusers scheduler holds the state of one image (step index, earlier model
outputs), so that images at different steps can share a UNet call only if each
has a scheduler of its own.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import diffusers
import torch

NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpm++-karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
    ),
    "unipc": ("UniPCMultistepScheduler", {}),
}
"""Schedulers that a catalog's entry may name, with diffusers' class and what is set in it."""


def build(name: str, like: Any) -> Any:
    """The scheduler of a name, with the noise schedule of the scheduler `like`.

    Raises:
        ValueError: there is no such name.
    """
    if name not in NAMES:
        raise ValueError(f"there is no scheduler {name!r}; choose one of {', '.join(NAMES)}")
    class_name, changes = NAMES[name]
    return getattr(diffusers, class_name).from_config(like.config, **changes)


class Sampler:
    """One image's way from noise: its timesteps, its place in them, its scheduler's state.

    A step happens whole or not at all: when one fails, memory that ran out for
    instance, the same step can be done again.
    """

    def __init__(self, prototype: Any, steps: int) -> None:
        """Steps with a copy of `prototype`, which stays as it is."""
        self._scheduler = copy.deepcopy(prototype)
        # On the CPU: the schedulers index tables with them, which on another
        # device would wait for it at every step.
        self._scheduler.set_timesteps(steps, device="cpu")
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(0)
        self._takes_generator = "generator" in inspect.signature(self._scheduler.step).parameters
        self._steps = steps
        self._index = 0

    @property
    def initial_scale(self) -> Any:
        """Standard deviation of the noise from which the image starts."""
        return self._scheduler.init_noise_sigma

    @property
    def done(self) -> bool:
        """Whether every timestep was taken."""
        return self._index >= len(self._scheduler.timesteps)

    @property
    def steps_done(self) -> int:
        """Steps done as the caller counts them: some schedulers call the model more often."""
        return self._index * self._steps // len(self._scheduler.timesteps)

    @property
    def calls_left(self) -> int:
        """Number of model calls to come."""
        return len(self._scheduler.timesteps) - self._index

    @property
    def timestep(self) -> float:
        """What the model is told about the noise at this step."""
        return float(self._scheduler.timesteps[self._index])

    def model_input(self, latents: torch.Tensor) -> torch.Tensor:
        """What the model is given of the latents at this step."""
        timestep = self._scheduler.timesteps[self._index]
        scaled: torch.Tensor = self._scheduler.scale_model_input(latents, timestep)
        return scaled

    def step(
        self, prediction: torch.Tensor, latents: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The latents after this step, and an estimate of the finished ones.

        `prediction` is the model's output with guidance. All have the latents' shape.
        """
        attempt = _copy_of_state(self._scheduler)
        drawn = generator.get_state()
        extra = {"generator": generator} if self._takes_generator else {}
        timestep = attempt.timesteps[self._index]
        try:
            output = attempt.step(prediction, timestep, latents, **extra)
        except BaseException:
            generator.set_state(drawn)
            raise
        self._scheduler = attempt
        self._index += 1
        return output.prev_sample, _estimate(attempt, output)


def _copy_of_state(scheduler: Any) -> Any:
    attempt = copy.copy(scheduler)
    for name, value in vars(scheduler).items():
        if isinstance(value, list):
            setattr(attempt, name, list(value))
    return attempt


def _estimate(scheduler: Any, output: Any) -> torch.Tensor:
    """The finished latents as far as the step knows them, else the noisy ones."""
    estimate = getattr(output, "pred_original_sample", None)
    predicts = scheduler.config.get("algorithm_type") == "dpmsolver++"
    if estimate is None and (predicts or scheduler.config.get("predict_x0")):
        estimate = scheduler.model_outputs[-1]
    noisy: torch.Tensor = output.prev_sample
    return noisy if estimate is None else estimate
