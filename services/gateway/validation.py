"""From the render that was asked for to the one that will be made.

A parameter that is out of range is replaced by the nearest one in range, one
that means nothing by the default, and each replacement is a warning (an error
if the request is strict). What leaves nothing to render is always an error.
All bad fields are told at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

from gateway.jobs.handling import Handling, judged
from gateway.jobs.records import Priority
from gateway.request import FallbackPolicy, Limits, Render, RenderAsked, Scene, SceneAsked
from gateway.rules import Rules
from gateway.seeds import derived_seeds
from rpckit.errors import invalid
from rpckit.times import NANOS
from rpckit.video import PRESETS, Codec, Preset, Quality, Transition

DEFAULT_DURATION = Fraction(3)
"""Seconds."""
DEFAULT_TRANSITION_DURATION = Fraction(1, 2)
"""Seconds."""
DEFAULT_STEPS = 25
DEFAULT_GUIDANCE = 7.5
STEPS = (1, 100)
GUIDANCE = (1.0, 20.0)


def accepted(
    asked: RenderAsked, limits: Limits, default_priority: Priority
) -> tuple[Render, Handling]:
    """The render that will be made, and how it is queued.

    GatorError INVALID_ARGUMENT with every bad field.
    """
    rules = Rules(strict=asked.strict)
    handling = judged(rules, asked, default_priority)
    return _effective(rules, asked, limits), handling


def _effective(rules: Rules, asked: RenderAsked, limits: Limits) -> Render:
    quality = rules.enum("quality", asked.quality, Quality, Quality.HIGH)
    preset = PRESETS[quality]
    judge = _SceneJudge(rules, limits, preset)
    wide = judge.render_wide(asked)
    codec = rules.enum("codec", asked.codec, Codec, Codec.H264)
    policy = rules.enum(
        "fallback_policy", asked.fallback_policy, FallbackPolicy, FallbackPolicy.PLACEHOLDER
    )
    if not asked.scenes:
        rules.refuse("scenes", "is empty; give at least one scene with a prompt")
    if len(asked.scenes) > limits.max_scenes:
        count = len(asked.scenes)
        rules.refuse("scenes", f"has {count} scenes; at most {limits.max_scenes} are allowed")
        raise invalid(*rules.violations)
    scenes = [judge.scene(f"scenes[{i}]", one, wide) for i, one in enumerate(asked.scenes)]
    _check_total(rules, scenes, preset, limits)
    if rules.violations:
        raise invalid(*rules.violations)
    return Render(
        scenes=_seeded(scenes, asked.scenes),
        quality=quality,
        transition=wide.transition,
        use_ai_generation=asked.use_ai_generation is not False,
        fallback_policy=policy,
        negative_prompt=wide.negative_prompt,
        warnings=tuple(rules.warnings),
        codec=codec,
    )


@cache
def shortest_scene(fps: int) -> Fraction:
    """One frame, in whole nanoseconds because a Duration has no smaller ones."""
    return Fraction(math.ceil(Fraction(NANOS, fps)), NANOS)


@dataclass(frozen=True)
class _SceneJudge:
    """Judges scenes, and the render-wide values that they fall back on."""

    rules: Rules
    limits: Limits
    preset: Preset

    def render_wide(self, asked: RenderAsked) -> Scene:
        """The render-wide values, as a scene without a prompt."""
        built_in = Scene(
            prompt="",
            negative_prompt="",
            duration=DEFAULT_DURATION,
            transition=Transition.CROSSFADE,
            transition_duration=DEFAULT_TRANSITION_DURATION,
            seed=0,
            num_inference_steps=DEFAULT_STEPS,
            guidance_scale=DEFAULT_GUIDANCE,
        )
        values = SceneAsked(
            prompt="",
            negative_prompt=asked.negative_prompt,
            duration=asked.duration_per_frame,
            transition=asked.transition,
            transition_duration=asked.transition_duration,
            num_inference_steps=asked.num_inference_steps,
            guidance_scale=asked.guidance_scale,
        )
        return self._values("", "", values, built_in, duration_name="duration_per_frame")

    def scene(self, path: str, asked: SceneAsked, wide: Scene) -> Scene:
        """A scene whose unset values are those of `wide`."""
        prompt = self.rules.text(f"{path}.prompt", asked.prompt, self.limits.max_prompt_characters)
        if not prompt:
            self.rules.refuse(f"{path}.prompt", "is blank; say what the scene shows")
        return self._values(f"{path}.", prompt, asked, wide)

    def _values(
        self,
        prefix: str,
        prompt: str,
        asked: SceneAsked,
        default: Scene,
        duration_name: str = "duration",
    ) -> Scene:
        rules, limits = self.rules, self.limits
        durations = (shortest_scene(self.preset.fps), limits.max_scene_duration)
        transitions = (Fraction(0), limits.max_transition_duration)
        negative = asked.negative_prompt
        return Scene(
            prompt=prompt,
            negative_prompt=(
                default.negative_prompt
                if negative is None
                else rules.text(f"{prefix}negative_prompt", negative, limits.max_prompt_characters)
            ),
            duration=rules.number(
                prefix + duration_name, asked.duration, durations, default.duration
            ),
            transition=rules.enum(
                f"{prefix}transition", asked.transition, Transition, default.transition
            ),
            transition_duration=rules.number(
                f"{prefix}transition_duration",
                asked.transition_duration,
                transitions,
                default.transition_duration,
            ),
            seed=default.seed,
            num_inference_steps=rules.number(
                f"{prefix}num_inference_steps",
                asked.num_inference_steps,
                STEPS,
                default.num_inference_steps,
            ),
            guidance_scale=rules.number(
                f"{prefix}guidance_scale", asked.guidance_scale, GUIDANCE, default.guidance_scale
            ),
        )


def _check_total(rules: Rules, scenes: list[Scene], preset: Preset, limits: Limits) -> None:
    total = sum((scene.duration for scene in scenes), Fraction(0))
    if total > limits.max_total_duration:
        rules.refuse(
            "scenes",
            f"last {float(total):g} s together; at most {float(limits.max_total_duration):g} s "
            "are allowed: use fewer or shorter scenes",
        )
    pixels = total * preset.fps * preset.width * preset.height
    if pixels > limits.max_total_pixels:
        rules.refuse(
            "quality",
            f"asks for {float(pixels):.3g} pixels in all; at most {limits.max_total_pixels:.3g} "
            "are allowed: choose a lower quality or a shorter video",
        )


def _seeded(scenes: list[Scene], asked: tuple[SceneAsked, ...]) -> tuple[Scene, ...]:
    derived = derived_seeds((scene.prompt, scene.negative_prompt) for scene in scenes)
    return tuple(
        replace(scene, seed=seed if one.seed is None else one.seed)
        for scene, one, seed in zip(scenes, asked, derived, strict=True)
    )
