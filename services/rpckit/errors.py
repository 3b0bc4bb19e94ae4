"""The one error type of the services, free of gRPC. `rpckit.status` puts it on the wire."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

DOMAIN = "gator.video"
"""The `domain` of every google.rpc.ErrorInfo that the services send."""


class Code(Enum):
    """Status codes, a subset of google.rpc.Code, by what the caller can do about them."""

    CANCELLED = 1
    """The caller gave up. Nothing to do."""
    INVALID_ARGUMENT = 3
    """The request can never work. Change it."""
    DEADLINE_EXCEEDED = 4
    """Time ran out. Give more, or ask for less."""
    NOT_FOUND = 5
    """There is no such thing for this caller."""
    ALREADY_EXISTS = 6
    """It is there already, with other content."""
    PERMISSION_DENIED = 7
    """The caller is known, and may not. Ask who runs the service."""
    RESOURCE_EXHAUSTED = 8
    """Too much at the moment. Try again after `retry_after`."""
    FAILED_PRECONDITION = 9
    """The system is not in a state for it. Change the state, then try again."""
    OUT_OF_RANGE = 11
    """The request goes past an end."""
    INTERNAL = 13
    """A fault of the service."""
    UNAVAILABLE = 14
    """A service is away. Try again."""
    DATA_LOSS = 15
    """Bytes arrived other than they were sent."""
    UNAUTHENTICATED = 16
    """The service does not know who calls. Show other credentials."""


class Reason(Enum):
    """Why: the values of gator.type.v1.ErrorReason, which documents each with an example."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    MESSAGE_OUT_OF_ORDER = "MESSAGE_OUT_OF_ORDER"
    FRAME_CORRUPT = "FRAME_CORRUPT"
    NO_MODEL_AVAILABLE = "NO_MODEL_AVAILABLE"
    GENERATION_FAILED = "GENERATION_FAILED"
    OVERLOADED = "OVERLOADED"
    DOWNSTREAM_UNAVAILABLE = "DOWNSTREAM_UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    ENCODING_FAILED = "ENCODING_FAILED"
    INTERNAL = "INTERNAL"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    STORAGE_FULL = "STORAGE_FULL"
    CANCELLED = "CANCELLED"
    CONTENT_REJECTED = "CONTENT_REJECTED"
    SPEND_LIMIT_REACHED = "SPEND_LIMIT_REACHED"
    RENDER_NOT_FOUND = "RENDER_NOT_FOUND"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    WRONG_STATE = "WRONG_STATE"
    CONTENT_CHANGED = "CONTENT_CHANGED"
    OFFSET_OUT_OF_RANGE = "OFFSET_OUT_OF_RANGE"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"

    @property
    def code(self) -> Code:
        """The status code under which an error with this reason travels."""
        return _CODES[self]


_CODES = {
    Reason.INVALID_ARGUMENT: Code.INVALID_ARGUMENT,
    Reason.MESSAGE_OUT_OF_ORDER: Code.INVALID_ARGUMENT,
    Reason.FRAME_CORRUPT: Code.DATA_LOSS,
    Reason.NO_MODEL_AVAILABLE: Code.FAILED_PRECONDITION,
    Reason.GENERATION_FAILED: Code.INTERNAL,
    Reason.OVERLOADED: Code.RESOURCE_EXHAUSTED,
    Reason.DOWNSTREAM_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED: Code.DEADLINE_EXCEEDED,
    Reason.ENCODING_FAILED: Code.INTERNAL,
    Reason.INTERNAL: Code.INTERNAL,
    Reason.SHUTTING_DOWN: Code.UNAVAILABLE,
    Reason.STORAGE_FULL: Code.RESOURCE_EXHAUSTED,
    Reason.CANCELLED: Code.CANCELLED,
    Reason.CONTENT_REJECTED: Code.INVALID_ARGUMENT,
    Reason.SPEND_LIMIT_REACHED: Code.RESOURCE_EXHAUSTED,
    Reason.RENDER_NOT_FOUND: Code.NOT_FOUND,
    Reason.REQUEST_ID_REUSED: Code.ALREADY_EXISTS,
    Reason.WRONG_STATE: Code.FAILED_PRECONDITION,
    Reason.CONTENT_CHANGED: Code.FAILED_PRECONDITION,
    Reason.OFFSET_OUT_OF_RANGE: Code.OUT_OF_RANGE,
    Reason.QUOTA_EXCEEDED: Code.RESOURCE_EXHAUSTED,
    Reason.STORAGE_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.UNAUTHENTICATED: Code.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: Code.PERMISSION_DENIED,
}


@dataclass(frozen=True)
class FieldViolation:
    """A field of a request and what is wrong with it."""

    field: str
    """Path of the field, such as `scenes[2].prompt`."""
    description: str
    """What is wrong and what would be right, in one sentence."""


@dataclass(frozen=True)
class QuotaViolation:
    """A quota that a caller has used up."""

    quota: str
    """Its name, such as `renders_per_owner`."""
    limit: int
    subject: str
    """Whose it is, such as `owner:ada`."""
    description: str
    """How much of it is used, in one sentence."""


class GatorError(Exception):
    """An error that a caller is told about: a reason, a sentence, and details.

    Any other exception that leaves a service is a bug and reaches the caller as
    INTERNAL with an id under which the log has the traceback.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        violations: Sequence[FieldViolation] = (),
        quota: QuotaViolation | None = None,
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """`retry_after` is in seconds; `metadata` goes into google.rpc.ErrorInfo."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.quota = quota
        self.retry_after = retry_after
        self.metadata = dict(metadata or {})

    @property
    def code(self) -> Code:
        """The status code of the error's reason."""
        return self.reason.code


def invalid(*violations: FieldViolation) -> GatorError:
    """The error for a request with bad fields: INVALID_ARGUMENT that names each of them."""
    text = "; ".join(f"{v.field}: {v.description}" for v in violations)
    return GatorError(Reason.INVALID_ARGUMENT, text, violations=violations)


def fault(service: str) -> GatorError:
    """The error for what `service` did not foresee: INTERNAL with an `error_id` for the log."""
    error_id = uuid.uuid4().hex[:8]
    return GatorError(
        Reason.INTERNAL,
        f"a fault of the {service} service; its log has the details under error_id {error_id}",
        metadata={"error_id": error_id},
    )


def unauthenticated(problem: str, message: str) -> GatorError:
    """The error for a call whose credentials are not good; `problem` says how, in a word."""
    return GatorError(Reason.UNAUTHENTICATED, message, metadata={"problem": problem})
