"""The errors of the SDK, free of gRPC: `gator_client.status` makes them of a call's status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FieldViolation:
    """A field of a request and what is wrong with it."""

    field: str
    """Path of the field, such as "scenes[2].prompt"."""
    description: str
    """What is wrong and what would be right."""


@dataclass(frozen=True)
class RenderFailure:
    """Why a render failed: what a RenderError tells, as a value."""

    code: str
    """Name of a gRPC status code, such as "INTERNAL"."""
    reason: str
    """Name of a gator.type.v1.ErrorReason, such as "GENERATION_FAILED"."""
    message: str
    """What happened, in one sentence."""
    advice: str = ""
    """What to do next; empty where the message says it."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Details, such as the service that failed."""

    def as_error(self) -> RenderError:
        """The same, to be raised."""
        return RenderError(
            self.message,
            code=self.code,
            reason=self.reason,
            advice=self.advice,
            metadata=self.metadata,
        )


class RenderError(Exception):
    """A call that failed: why, and what to do next."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reason: str,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        advice: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """See the attributes."""
        super().__init__(message)
        self.message = message
        """What happened, in one sentence."""
        self.code = code
        """Name of the gRPC status code, such as "UNAVAILABLE"."""
        self.reason = reason
        """Name of a gator.type.v1.ErrorReason, such as "OVERLOADED". Errors that the SDK finds
        have UNREACHABLE, NOT_INSTALLED, NOT_STARTED, VIDEO_INCOMPLETE, VIDEO_CORRUPT,
        VIDEO_RESTARTED, or DATA_LOSS for a watch that broke off."""
        self.violations = tuple(violations)
        """Every bad field of the request."""
        self.retry_after = retry_after
        """Seconds after which to try again; None where the server did not say."""
        self.advice = advice
        """What to do next; empty where the message says it."""
        self.metadata = dict(metadata or {})
        """Details, such as the service that failed."""


class InvalidRequestError(RenderError, ValueError):
    """A request with bad fields; `violations` names each of them."""

    @classmethod
    def of(cls, violations: Sequence[FieldViolation]) -> InvalidRequestError:
        """The error for fields that cannot be sent at all."""
        text = "; ".join(f"{v.field}: {v.description}" for v in violations)
        return cls(text, code="INVALID_ARGUMENT", reason="INVALID_ARGUMENT", violations=violations)


@dataclass(frozen=True)
class Problem:
    """What is wrong in one place of a storyboard."""

    line: int | None
    """Line in the file, from 1; None where it is not known."""
    key: str
    """Path of the value, such as "scenes[2].duration"; empty for the whole file."""
    message: str


class StoryboardError(ValueError):
    """A storyboard that cannot be used; `problems` has every one that was found."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        """`name` is the file's name."""
        self.name = name
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        for problem in self.problems:
            place = self.name if problem.line is None else f"{self.name}:{problem.line}"
            yield ": ".join(part for part in (place, problem.key, problem.message) if part)
