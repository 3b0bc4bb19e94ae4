"""Errors on the wire: GatorError <-> google.rpc.Status with its details."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from rpckit.errors import DOMAIN, Code, FieldViolation, GatorError, QuotaViolation, Reason

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata key of a serialized google.rpc.Status."""

# Together under 8 KiB: details travel in Base64 (4/3), characters beyond ASCII of a
# message as three each, and the message goes twice, alone and in the details.
_MAX_VIOLATIONS = 3072  # bytes
_MAX_MESSAGE = 768  # bytes

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def grpc_code(code: Code) -> grpc.StatusCode:
    """The gRPC status code of the same number."""
    return _GRPC_CODES[code.value]


def to_status(error: GatorError, service: str) -> status_pb2.Status:
    """The status of `error` as `service` sends it, with its details.

    ErrorInfo always; BadRequest, QuotaFailure and RetryInfo where there is something to tell.

    An error that came from further down keeps the name of the service that raised it.
    A status travels in trailers, of which a client takes 8 KiB: the bad fields for which
    there is no room are left out, and the message says how many there are.
    """
    details = []

    def add(message: object) -> None:
        packed = any_pb2.Any()
        packed.Pack(message)  # type: ignore[arg-type]  # any message packs
        details.append(packed)

    metadata = {"service": service, **error.metadata}
    named = _that_fit(error.violations)
    left_out = len(error.violations) - len(named)
    if left_out:
        metadata["violations_left_out"] = str(left_out)
    add(error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=metadata))
    if error.violations:
        violation = error_details_pb2.BadRequest.FieldViolation
        fields = [violation(field=v.field, description=v.description) for v in named]
        add(error_details_pb2.BadRequest(field_violations=fields))
    if error.quota is not None:
        add(error_details_pb2.QuotaFailure(violations=[_quota_violation(error.quota)]))
    if error.retry_after is not None:
        fraction, whole = math.modf(error.retry_after)
        delay = Duration(seconds=int(whole), nanos=int(fraction * 1_000_000_000))
        add(error_details_pb2.RetryInfo(retry_delay=delay))
    message = _shortened(error.message)
    if left_out:
        message += f" (and {left_out} more bad fields)"
    return status_pb2.Status(code=error.code.value, message=message, details=details)


def _quota_violation(quota: QuotaViolation) -> error_details_pb2.QuotaFailure.Violation:
    return error_details_pb2.QuotaFailure.Violation(
        subject=quota.subject,
        description=quota.description,
        quota_id=quota.quota,
        quota_value=quota.limit,
    )


def _that_fit(violations: Sequence[FieldViolation]) -> Sequence[FieldViolation]:
    """The first of `violations`, as many as the details of a status have room for."""
    size = 0
    for count, violation in enumerate(violations):
        size += len(violation.field.encode()) + len(violation.description.encode()) + 8
        if size > _MAX_VIOLATIONS:
            return violations[:count]
    return violations


def _shortened(message: str) -> str:
    """`message`, cut where it is too long for the trailers, with room for a remark."""
    encoded = message.encode()
    if len(encoded) <= _MAX_MESSAGE:
        return message
    return encoded[: _MAX_MESSAGE - 64].decode(errors="ignore") + "..."


def from_status(status: status_pb2.Status) -> GatorError:
    """The error of a status; one without our ErrorInfo is named after its code."""
    reason = _reason_of_code(status.code)
    violations: list[FieldViolation] = []
    quota: QuotaViolation | None = None
    retry_after: float | None = None
    metadata: dict[str, str] = {}
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        failure = error_details_pb2.QuotaFailure()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in Reason.__members__:
            reason = Reason(info.reason)
            metadata = dict(info.metadata)
        elif detail.Unpack(bad):
            violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(failure) and failure.violations:
            told = failure.violations[0]
            quota = QuotaViolation(told.quota_id, told.quota_value, told.subject, told.description)
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return GatorError(
        reason,
        status.message,
        violations=violations,
        quota=quota,
        retry_after=retry_after,
        metadata=metadata,
    )


def from_rpc_error(error: grpc.aio.AioRpcError, downstream: str) -> GatorError:
    """The error of a failed call to `downstream`, whether that service or the transport failed."""
    trailers: dict[str, bytes] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]  # pairs
    if details := trailers.get(DETAILS_KEY):
        with suppress(DecodeError):  # else not ours: a proxy's, perhaps
            return _not_the_callers(from_status(status_pb2.Status.FromString(details)), downstream)
    reason = _reason_of_code(error.code().value[0])
    if reason is Reason.DEADLINE_EXCEEDED:
        message = f"{downstream} did not finish in time; give the call a later deadline"
    else:
        message = f"{downstream}: {error.details() or error.code().name}"
    failure = GatorError(reason, message, metadata={"downstream": downstream})
    return _not_the_callers(failure, downstream)


def _not_the_callers(error: GatorError, downstream: str) -> GatorError:
    """What `downstream` holds against this service's own credentials is not its caller's fault."""
    if error.reason not in (Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED):
        return error
    return GatorError(
        Reason.DOWNSTREAM_UNAVAILABLE,
        f"{downstream} refuses this service: {error.message}",
        metadata={**error.metadata, "downstream": downstream},
    )


def _reason_of_code(code: int) -> Reason:
    return {
        Code.CANCELLED.value: Reason.CANCELLED,
        Code.INVALID_ARGUMENT.value: Reason.INVALID_ARGUMENT,
        Code.DEADLINE_EXCEEDED.value: Reason.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED.value: Reason.OVERLOADED,
        Code.UNAVAILABLE.value: Reason.DOWNSTREAM_UNAVAILABLE,
        Code.DATA_LOSS.value: Reason.FRAME_CORRUPT,
        Code.UNAUTHENTICATED.value: Reason.UNAUTHENTICATED,
        Code.PERMISSION_DENIED.value: Reason.PERMISSION_DENIED,
    }.get(code, Reason.INTERNAL)
