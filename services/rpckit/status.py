"""Errors on the wire: GatorError <-> google.rpc.Status with its details."""

from __future__ import annotations

import math

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from rpckit.errors import DOMAIN, Code, FieldViolation, GatorError, Reason

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata key of a serialized google.rpc.Status."""

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def grpc_code(code: Code) -> grpc.StatusCode:
    """The gRPC status code of the same number."""
    return _GRPC_CODES[code.value]


def to_status(error: GatorError, service: str) -> status_pb2.Status:
    """The status of `error` as `service` sends it: ErrorInfo, BadRequest, RetryInfo.

    An error that came from further down keeps the name of the service that raised it.
    """
    details = []

    def add(message: object) -> None:
        packed = any_pb2.Any()
        packed.Pack(message)  # type: ignore[arg-type]  # any message packs
        details.append(packed)

    metadata = {"service": service, **error.metadata}
    add(error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=metadata))
    if error.violations:
        violation = error_details_pb2.BadRequest.FieldViolation
        fields = [violation(field=v.field, description=v.description) for v in error.violations]
        add(error_details_pb2.BadRequest(field_violations=fields))
    if error.retry_after is not None:
        fraction, whole = math.modf(error.retry_after)
        delay = Duration(seconds=int(whole), nanos=int(fraction * 1_000_000_000))
        add(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=error.code.value, message=error.message, details=details)


def from_status(status: status_pb2.Status) -> GatorError:
    """The error of a status; one without our ErrorInfo is named after its code."""
    reason = _reason_of_code(status.code)
    violations: list[FieldViolation] = []
    retry_after: float | None = None
    metadata: dict[str, str] = {}
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in Reason.__members__:
            reason = Reason(info.reason)
            metadata = dict(info.metadata)
        elif detail.Unpack(bad):
            violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return GatorError(
        reason,
        status.message,
        violations=violations,
        retry_after=retry_after,
        metadata=metadata,
    )


def from_rpc_error(error: grpc.aio.AioRpcError, downstream: str) -> GatorError:
    """The error of a failed call to `downstream`, whether that service or the transport failed."""
    trailers: dict[str, bytes] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]  # pairs
    if details := trailers.get(DETAILS_KEY):
        return from_status(status_pb2.Status.FromString(details))
    reason = _reason_of_code(error.code().value[0])
    if reason is Reason.DEADLINE_EXCEEDED:
        message = f"{downstream} did not finish in time; give the call a later deadline"
    else:
        message = f"{downstream}: {error.details() or error.code().name}"
    return GatorError(reason, message, metadata={"downstream": downstream})


def _reason_of_code(code: int) -> Reason:
    return {
        Code.CANCELLED.value: Reason.CANCELLED,
        Code.INVALID_ARGUMENT.value: Reason.INVALID_ARGUMENT,
        Code.DEADLINE_EXCEEDED.value: Reason.DEADLINE_EXCEEDED,
        Code.RESOURCE_EXHAUSTED.value: Reason.OVERLOADED,
        Code.UNAVAILABLE.value: Reason.DOWNSTREAM_UNAVAILABLE,
        Code.DATA_LOSS.value: Reason.FRAME_CORRUPT,
    }.get(code, Reason.INTERNAL)
