"""Plain scenes and options as a RenderRequest.

The server replaces what is out of range and tells it in warnings. Only what a
message cannot carry at all is dealt with here, by the same rules: a time that
is no number gives way to the default with a warning (refused if `strict`), and
what has the wrong type is an error that names every bad field.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Unpack

from google.protobuf.duration_pb2 import Duration

from gator.gateway.v1 import render_service_pb2 as pb
from gator.type.v1 import frame_pb2, video_pb2
from gator_client.durable import Priority, RenderState
from gator_client.errors import FieldViolation, InvalidRequestError
from gator_client.result import RenderWarning
from gator_client.scene import CreateOptions, Scene, Scenes
from gator_client.suggestion import suggestion
from gator_client.video import Codec, FallbackPolicy, Quality, Transition

_NANOS = 10**9
_MAX_DURATION = 315_576_000_000 * _NANOS  # what a Duration may hold, by its definition
_MAX_INT32 = 2**31 - 1
_MAX_FLOAT = Fraction(2**128 - 2**104)  # of a 32-bit float
_MAX_SEED = 2**64 - 1


def to_request(
    scenes: Scenes, **options: Unpack[CreateOptions]
) -> tuple[pb.RenderRequest, tuple[RenderWarning, ...]]:
    """The request for `scenes`, and what was replaced in it. It always has a request_id.

    Raises InvalidRequestError that names every field whose value cannot be sent.
    """
    unknown = sorted(options.keys() - CreateOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}{suggestion(unknown[0], _OPTIONS)}")
    fields = _Fields(strict=bool(options.get("strict")))
    request = pb.RenderRequest(
        quality=fields.quality("quality", options.get("quality")),
        transition=fields.transition("transition", options.get("transition")),
        duration_per_frame=fields.duration(
            "duration_per_frame", options.get("duration_per_frame"), "3 s"
        ),
        transition_duration=fields.duration(
            "transition_duration", options.get("transition_duration"), "0.5 s"
        ),
        use_ai_generation=fields.flag("use_ai_generation", options.get("use_ai_generation")),
        num_inference_steps=fields.steps("num_inference_steps", options.get("num_inference_steps")),
        guidance_scale=fields.number("guidance_scale", options.get("guidance_scale")),
        negative_prompt=fields.text("negative_prompt", options.get("negative_prompt")) or "",
        fallback_policy=fields.fallback_policy("fallback_policy", options.get("fallback_policy")),
        codec=fields.codec("codec", options.get("codec")),
        strict=fields.strict,
        scenes=fields.scenes(scenes),
        request_id=fields.text("request_id", options.get("request_id")) or str(uuid.uuid4()),
        labels=fields.labels("labels", options.get("labels")),
        priority=fields.priority("priority", options.get("priority")),
    )
    fields.check()
    return request, tuple(fields.warnings)


def to_states(states: Iterable[RenderState | str]) -> list[pb.RenderState.ValueType]:
    """Numbers of states. InvalidRequestError that names every one that there is not."""
    fields = _Fields(strict=True)
    items = [states] if isinstance(states, str) else states
    numbers = [fields.state(f"states[{index}]", state) for index, state in enumerate(items)]
    fields.check()
    return numbers


_OPTIONS = list(CreateOptions.__annotations__)


class _Fields:
    """Turns values into what a message takes, and keeps what is wrong with them."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.warnings: list[RenderWarning] = []
        self._violations: list[FieldViolation] = []

    def check(self) -> None:
        """Raises InvalidRequestError if a value could not be used."""
        if self._violations:
            raise InvalidRequestError.of(self._violations)

    def scenes(self, scenes: Scenes) -> list[pb.Scene]:
        items = [scenes] if isinstance(scenes, str | Scene) else list(scenes)
        return [self._scene(f"scenes[{index}]", item) for index, item in enumerate(items)]

    def _scene(self, path: str, item: str | Scene) -> pb.Scene:
        scene = Scene(item) if isinstance(item, str) else item
        if not isinstance(scene, Scene):
            self._refuse(path, f"is {_shown(item)}; must be a prompt or a Scene")
            return pb.Scene()
        return pb.Scene(
            prompt=self.text(f"{path}.prompt", scene.prompt) or "",
            negative_prompt=self.text(f"{path}.negative_prompt", scene.negative_prompt),
            duration=self.duration(f"{path}.duration", scene.duration, "the render's"),
            transition=self.transition(f"{path}.transition", scene.transition),
            transition_duration=self.duration(
                f"{path}.transition_duration", scene.transition_duration, "the render's"
            ),
            seed=self._seed(f"{path}.seed", scene.seed),
            num_inference_steps=self.steps(
                f"{path}.num_inference_steps", scene.num_inference_steps
            ),
            guidance_scale=self.number(f"{path}.guidance_scale", scene.guidance_scale),
        )

    def duration(self, field: str, value: object, default: str) -> Duration | None:
        if isinstance(value, timedelta):
            # By its parts: total_seconds() is a float and rounds long times.
            whole = value.days * 86_400 + value.seconds
            value = whole + Fraction(value.microseconds, 1_000_000)
        number = self._finite_or_not(field, value, "seconds or a timedelta")
        if number is None:
            return None
        if not isinstance(number, Fraction):
            self._replace(field, str(number), default, "it must be a finite number")
            return None
        nanos = max(-_MAX_DURATION, min(_round(number * _NANOS), _MAX_DURATION))
        sign = -1 if nanos < 0 else 1
        seconds, rest = divmod(abs(nanos), _NANOS)
        return Duration(seconds=sign * seconds, nanos=sign * rest)

    def number(self, field: str, value: object) -> float | None:
        number = self._finite_or_not(field, value, "a number")
        if isinstance(number, Fraction):
            return float(max(-_MAX_FLOAT, min(number, _MAX_FLOAT)))
        return number

    def steps(self, field: str, value: object) -> int | None:
        number = self._finite_or_not(field, value, "a whole number")
        if number is None:
            return None
        if not isinstance(number, Fraction):
            self._replace(field, str(number), "the default", "it must be a finite number")
            return None
        whole = _round(number)
        if whole != number:
            self._replace(field, _shown(value), str(whole), "it must be a whole number")
        return max(-_MAX_INT32, min(whole, _MAX_INT32))

    def text(self, field: str, value: object) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            self._refuse(field, f"is {_shown(value)}; must be text")
            return None
        try:
            value.encode()
        except UnicodeEncodeError:
            self._refuse(field, "holds half of a surrogate pair, which is no character")
            return None
        return value

    def flag(self, field: str, value: object) -> bool | None:
        if value is not None and not isinstance(value, bool):
            self._refuse(field, f"is {_shown(value)}; must be True or False")
            return None
        return value

    def quality(self, field: str, value: object) -> video_pb2.Quality.ValueType:
        name = self._choice(field, value, Quality)
        return video_pb2.Quality.Value(f"QUALITY_{name}")

    def transition(self, field: str, value: object) -> video_pb2.Transition.ValueType:
        name = self._choice(field, value, Transition)
        return video_pb2.Transition.Value(f"TRANSITION_{name}")

    def codec(self, field: str, value: object) -> video_pb2.Codec.ValueType:
        return video_pb2.Codec.Value(f"CODEC_{self._choice(field, value, Codec)}")

    def fallback_policy(self, field: str, value: object) -> frame_pb2.FallbackPolicy.ValueType:
        name = self._choice(field, value, FallbackPolicy)
        return frame_pb2.FallbackPolicy.Value(f"FALLBACK_POLICY_{name}")

    def priority(self, field: str, value: object) -> pb.Priority.ValueType:
        return pb.Priority.Value(f"PRIORITY_{self._choice(field, value, Priority)}")

    def state(self, field: str, value: object) -> pb.RenderState.ValueType:
        known = [state for state in RenderState if state is not RenderState.UNKNOWN]
        return pb.RenderState.Value(f"RENDER_STATE_{self._choice(field, value, known)}")

    def labels(self, field: str, value: object) -> dict[str, str]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._refuse(field, f"is {_shown(value)}; must be a mapping of texts")
            return {}
        return {
            self.text(field, key) or "": self.text(f"{field}[{key}]", text) or ""
            for key, text in value.items()
        }

    def _choice(self, field: str, value: object, known: Iterable[StrEnum]) -> str:
        """Name of the member of `known` that `value` is or names."""
        if value is None:
            return "UNSPECIFIED"
        names = [member.value for member in known]
        if isinstance(value, str) and value.lower() in names:
            return value.upper()
        hint = suggestion(value.lower(), names) if isinstance(value, str) else ""
        self._refuse(field, f"is {_shown(value)}; must be one of {', '.join(names)}{hint}")
        return "UNSPECIFIED"

    def _seed(self, field: str, value: object) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_SEED:
            self._refuse(field, f"is {_shown(value)}; must be a whole number, 0 to 2^64 - 1")
            return None
        return value

    def _finite_or_not(self, field: str, value: object, wanted: str) -> Fraction | float | None:
        """The exact value; a float if it is NaN or infinite; None if unset or refused."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal | Fraction):
            self._refuse(field, f"is {_shown(value)}; must be {wanted}")
            return None
        if isinstance(value, Decimal) and value.is_nan():  # a signalling one cannot become a float
            return math.nan
        return Fraction(value) if math.isfinite(value) else float(value)

    def _replace(self, field: str, asked: str, applied: str, reason: str) -> None:
        if self.strict:
            self._refuse(field, f"is {asked}; {reason}")
        else:
            self.warnings.append(RenderWarning(field, asked, applied, reason))

    def _refuse(self, field: str, description: str) -> None:
        self._violations.append(FieldViolation(field, description))


def _round(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _shown(value: object) -> str:
    """The value as text, short enough for a message."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
