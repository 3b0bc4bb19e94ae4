"""The parameter rules: what is replaced with a warning, what is refused."""

import math
from fractions import Fraction

import pytest

from gateway.jobs.records import Priority
from gateway.request import FallbackPolicy, Limits, Render, RenderAsked, SceneAsked
from gateway.validation import accepted
from rpckit.errors import GatorError, Reason
from rpckit.video import Codec, Quality, Transition

LIMITS = Limits()


def asked(*prompts: str, **values: object) -> RenderAsked:
    return RenderAsked(scenes=tuple(SceneAsked(prompt=p) for p in prompts or ("a fox",)), **values)


def one(**values: object) -> RenderAsked:
    return RenderAsked(scenes=(SceneAsked(**{"prompt": "a fox", **values}),))


def effective(request: RenderAsked, limits: Limits) -> Render:
    return accepted(request, limits, Priority.BATCH)[0]


def refused(request: RenderAsked, limits: Limits = LIMITS) -> list[str]:
    with pytest.raises(GatorError) as raised:
        effective(request, limits)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
    return [violation.field for violation in raised.value.violations]


def test_defaults_are_those_of_the_product():
    render = effective(asked("a fox"), LIMITS)
    (scene,) = render.scenes
    assert render.quality is Quality.HIGH
    assert render.codec is Codec.H264
    assert render.use_ai_generation
    assert render.fallback_policy is FallbackPolicy.PLACEHOLDER
    assert scene.transition is Transition.CROSSFADE
    assert (scene.duration, scene.transition_duration) == (3, Fraction(1, 2))
    assert (scene.num_inference_steps, scene.guidance_scale) == (25, 7.5)
    assert render.warnings == ()


SOFT = [
    ("quality", 99, "quality", Quality.HIGH),
    ("codec", 9, "codec", Codec.H264),
    ("transition", -3, "transition", Transition.CROSSFADE),
    ("fallback_policy", 42, "fallback_policy", FallbackPolicy.PLACEHOLDER),
    ("duration_per_frame", Fraction(-2), "duration", Fraction(33_333_334, 10**9)),
    ("duration_per_frame", Fraction(601), "duration", Fraction(600)),
    ("transition_duration", Fraction(-1), "transition_duration", Fraction(0)),
    ("transition_duration", Fraction(11), "transition_duration", Fraction(10)),
    ("num_inference_steps", 0, "num_inference_steps", 1),
    ("num_inference_steps", 101, "num_inference_steps", 100),
    ("guidance_scale", 0.5, "guidance_scale", 1.0),
    ("guidance_scale", 21.0, "guidance_scale", 20.0),
    ("guidance_scale", math.nan, "guidance_scale", 7.5),
    ("guidance_scale", math.inf, "guidance_scale", 7.5),
]


@pytest.mark.parametrize(("field", "value", "name", "applied"), SOFT)
def test_a_soft_parameter_is_replaced_with_one_warning(field, value, name, applied):
    render = effective(asked(**{field: value}), LIMITS)
    holder = render if hasattr(render, name) else render.scenes[0]
    assert getattr(holder, name) == applied
    assert [warning.field for warning in render.warnings] == [field]


@pytest.mark.parametrize(("field", "value", "name", "applied"), SOFT)
def test_strict_refuses_what_would_be_replaced(field, value, name, applied):
    assert refused(asked(**{field: value}, strict=True)) == [field]


def test_a_scene_overrides_the_render_and_is_judged_on_its_own():
    request = RenderAsked(
        scenes=(
            SceneAsked("a fox"),
            SceneAsked("a hen", duration=Fraction(700), transition=77, guidance_scale=3.0),
        ),
        duration_per_frame=Fraction(2),
        transition=Transition.WIPE.value,
        guidance_scale=9.0,
    )
    render = effective(request, LIMITS)
    fox, hen = render.scenes
    assert (fox.duration, fox.transition, fox.guidance_scale) == (2, Transition.WIPE, 9.0)
    assert (hen.duration, hen.transition, hen.guidance_scale) == (600, Transition.WIPE, 3.0)
    assert [w.field for w in render.warnings] == ["scenes[1].duration", "scenes[1].transition"]


@pytest.mark.parametrize(("quality", "nanos"), [(1, 41_666_667), (3, 33_333_334), (4, 16_666_667)])
def test_the_least_duration_is_one_frame_of_the_preset(quality, nanos):
    request = RenderAsked((SceneAsked("a fox", duration=Fraction(1, 1000)),), quality=quality)
    assert effective(request, LIMITS).scenes[0].duration == Fraction(nanos, 10**9)


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t", "\u200f"])
def test_a_blank_prompt_is_refused_by_its_name(prompt):
    assert refused(asked("a fox", prompt)) == ["scenes[1].prompt"]


def test_no_scenes_and_too_many_scenes_are_refused():
    assert refused(RenderAsked(scenes=())) == ["scenes"]
    assert refused(asked(*["a fox"] * 501)) == ["scenes"]
    assert len(effective(asked(*["a fox"] * 500), LIMITS).scenes) == 500


def test_a_prompt_of_ten_thousand_characters_is_refused_and_four_thousand_is_not():
    assert refused(asked("x" * 10_000)) == ["scenes[0].prompt"]
    assert len(effective(asked("x" * 4_000), LIMITS).scenes[0].prompt) == 4_000


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x85"])
def test_control_characters_are_refused(character):
    assert refused(asked(f"a{character}fox")) == ["scenes[0].prompt"]
    assert refused(asked(negative_prompt=f"a{character}fox")) == ["negative_prompt"]


def test_line_ends_and_tabs_are_text():
    assert effective(asked("a fox\n\tin snow\n"), LIMITS).scenes[0].prompt == "a fox\n\tin snow"


def test_bidi_controls_are_stripped_with_a_warning():
    render = effective(asked("a \u202efox\u202c"), LIMITS)
    assert render.scenes[0].prompt == "a fox"
    assert [w.field for w in render.warnings] == ["scenes[0].prompt"]
    strict = RenderAsked(scenes=(SceneAsked("a \u202efox"),), strict=True)
    assert refused(strict) == ["scenes[0].prompt"]


def test_prompts_are_in_nfc():
    assert effective(asked("cafe\u0301"), LIMITS).scenes[0].prompt == "caf\u00e9"


def test_every_bad_field_is_told_at_once():
    request = RenderAsked(
        scenes=(SceneAsked(""), SceneAsked("a\x00"), SceneAsked("ok", negative_prompt="y" * 4_001)),
        quality=9,
        strict=True,
    )
    assert refused(request) == [
        "quality",
        "scenes[0].prompt",
        "scenes[1].prompt",
        "scenes[2].negative_prompt",
    ]


def test_a_video_of_more_than_two_hours_is_refused():
    request = RenderAsked(scenes=(SceneAsked("a fox"),) * 13, duration_per_frame=Fraction(600))
    assert refused(request) == ["scenes"]


def test_the_pixel_budget_counts_every_picture():
    budget = Limits(max_total_pixels=1920 * 1080 * 30 * 3)
    assert effective(asked("a fox"), budget)
    assert refused(asked("a fox", "a hen"), budget) == ["quality"]


def test_an_unset_seed_depends_on_the_prompts_and_their_repetition_only():
    first = effective(asked("a fox", "a hen", "a fox"), LIMITS).scenes
    again = effective(asked("a hen", "a fox", "a fox"), LIMITS).scenes
    assert len({scene.seed for scene in first}) == 3
    assert [s.seed for s in again] == [first[1].seed, first[0].seed, first[2].seed]
    negative = effective(asked("a fox", negative_prompt="blur"), LIMITS).scenes
    assert negative[0].seed != first[0].seed


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_a_given_seed_is_kept(seed):
    assert effective(one(seed=seed), LIMITS).scenes[0].seed == seed
