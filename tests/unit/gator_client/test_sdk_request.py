"""Scenes and options as a request: exact times, what is unset, what cannot be sent."""

import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gator.type.v1 import frame_pb2, video_pb2
from gator_client import InvalidRequestError, Quality, Scene, Transition
from gator_client.request import to_request


def request(scenes="a", **options):
    message, warnings = to_request(scenes, **options)
    assert warnings == ()
    return message


def test_what_is_unset_stays_unset():
    message = request(["a", Scene("b")])
    assert [scene.prompt for scene in message.scenes] == ["a", "b"]
    for field in ("duration_per_frame", "transition_duration", "use_ai_generation"):
        assert not message.HasField(field)
    assert not message.HasField("num_inference_steps")
    assert not message.HasField("guidance_scale")
    assert message.quality == video_pb2.QUALITY_UNSPECIFIED
    assert {f.name for f, _ in message.scenes[1].ListFields()} == {"prompt"}


def test_everything_can_be_said():
    scene = Scene(
        "b",
        negative_prompt="fog",
        duration=1.5,
        transition="wipe",
        transition_duration=0,
        seed=2**64 - 1,
        num_inference_steps=4,
        guidance_scale=2.5,
    )
    message = request(
        [scene],
        quality="DRAFT",
        transition=Transition.ZOOM,
        duration_per_frame=2,
        transition_duration=0.25,
        use_ai_generation=False,
        num_inference_steps=30,
        guidance_scale=9,
        negative_prompt="rain",
        fallback_policy="fail",
        codec="AV1",
        strict=True,
    )
    assert message.quality == video_pb2.QUALITY_DRAFT
    assert message.transition == video_pb2.TRANSITION_ZOOM
    assert message.fallback_policy == frame_pb2.FALLBACK_POLICY_FAIL
    assert message.codec == video_pb2.CODEC_AV1
    assert message.HasField("use_ai_generation")
    assert not message.use_ai_generation
    assert message.strict
    sent = message.scenes[0]
    assert sent.seed == 2**64 - 1
    assert sent.HasField("transition_duration")
    assert sent.transition_duration.ToNanoseconds() == 0
    assert sent.transition == video_pb2.TRANSITION_WIPE


@pytest.mark.parametrize(
    ("value", "nanos"),
    [
        (3, 3_000_000_000),
        (2.37, 2_370_000_000),
        (Decimal("0.1"), 100_000_000),
        (Fraction(1, 24), 41_666_667),
        (Fraction(1, 2_000_000_000), 1),
        (timedelta(days=999, microseconds=1), 86_313_600_000_001_000),
        (-1.5, -1_500_000_000),
        (1e300, 315_576_000_000_000_000_000),
    ],
)
def test_times_are_sent_exactly(value, nanos):
    duration = request(duration_per_frame=value).duration_per_frame
    assert duration.seconds * 10**9 + duration.nanos == nanos
    assert duration.seconds == 0 or duration.nanos == 0 or (duration.seconds < 0) == (nanos < 0)


@given(st.fractions(-1000, 1000))
def test_a_time_is_off_by_at_most_half_a_nanosecond(value):
    duration = request(duration_per_frame=value).duration_per_frame
    sent = duration.seconds + Fraction(duration.nanos, 10**9)
    assert abs(sent - value) <= Fraction(1, 2 * 10**9)
    assert abs(duration.nanos) < 10**9


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, Decimal("sNaN")])
def test_a_time_that_is_no_number_gives_way_to_the_default(value):
    message, warnings = to_request(
        [Scene("a", transition_duration=value)], duration_per_frame=value
    )
    assert not message.HasField("duration_per_frame")
    assert not message.scenes[0].HasField("transition_duration")
    assert [(w.field, w.applied) for w in warnings] == [
        ("duration_per_frame", "3 s"),
        ("scenes[0].transition_duration", "the render's"),
    ]
    with pytest.raises(InvalidRequestError) as caught:
        to_request("a", duration_per_frame=value, strict=True)
    assert caught.value.violations[0].field == "duration_per_frame"


def test_numbers_too_large_for_a_message_reach_the_server_as_large_ones():
    message = request(num_inference_steps=10**12, guidance_scale=1e300)
    assert message.num_inference_steps == 2**31 - 1
    assert message.guidance_scale > 1e38
    assert math.isfinite(message.guidance_scale)
    assert math.isnan(request(guidance_scale=math.nan).guidance_scale)


def test_steps_are_made_whole_with_a_warning():
    message, warnings = to_request("a", num_inference_steps=24.5)
    assert message.num_inference_steps == 25
    assert [(w.field, w.asked, w.applied) for w in warnings] == [
        ("num_inference_steps", "24.5", "25")
    ]
    assert not to_request("a", num_inference_steps=math.nan)[0].HasField("num_inference_steps")


def test_every_value_that_cannot_be_sent_is_named():
    with pytest.raises(InvalidRequestError) as caught:
        to_request(
            [
                7,
                Scene("a", seed=-1),
                Scene("\ud800"),
                Scene("a", duration="3"),
                Scene(b"a"),
                Scene("a", seed=True),
            ],
            quality="hihg",
            transition=3,
            guidance_scale=True,
            use_ai_generation="no",
        )
    said = {v.field: v.description for v in caught.value.violations}
    assert set(said) == {
        "scenes[0]",
        "scenes[1].seed",
        "scenes[2].prompt",
        "scenes[3].duration",
        "scenes[4].prompt",
        "scenes[5].seed",
        "quality",
        "transition",
        "guidance_scale",
        "use_ai_generation",
    }
    assert said["quality"].endswith("did you mean high?")
    assert all(v.field in str(caught.value) for v in caught.value.violations)


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="did you mean quality"):
        to_request("a", qualty=Quality.HIGH)
