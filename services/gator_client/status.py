"""The status of a failed call as an error that says what to do next."""

from __future__ import annotations

from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from gator_client.errors import (
    FieldViolation,
    InvalidRequestError,
    RenderError,
    RenderFailure,
)

_M = TypeVar("_M", bound=Message)
_DETAILS_KEY = "grpc-status-details-bin"

_ADVICE = {
    "OVERLOADED": "Try again in a moment.",
    "DOWNSTREAM_UNAVAILABLE": "A service behind the gateway is away. Try again; if it stays so, "
    "look at that service's log.",
    "SHUTTING_DOWN": "Try again: another replica, or the restarted server, will take the call.",
    "STORAGE_FULL": "Free some disk space on the server, then try again.",
    "DEADLINE_EXCEEDED": "Allow more time (timeout), or ask for fewer scenes or a lower quality.",
    "GENERATION_FAILED": "Try again, with fewer steps or a lower quality if it stays so, or allow "
    "placeholders.",
    "UNAUTHENTICATED": "Show a token that the server knows and that has not expired (token).",
    "PERMISSION_DENIED": "Ask who runs the server for a token that may do this.",
    "INTERNAL": "This is a fault of the server. Its log has the details.",
    "CANCELLED": "`gator retry` with the render's id makes it anew, and no finished scene again. A "
    "request id stays with the render that it was given to.",
    "RENDER_NOT_FOUND": "`gator list` shows the renders that there are.",
    "REQUEST_ID_REUSED": "Give another request id, or ask for just what was asked for under it.",
    "QUOTA_EXCEEDED": "Wait until some of your renders have ended, or cancel some.",
    "STORAGE_UNAVAILABLE": "The server's database or object store is away. Try again; if it stays "
    "so, look at the server's log.",
    "UNIMPLEMENTED": "Is this the address of a Gator gateway, and not older than this client?",
}

_START_ONE = (
    "Is the server running? Start one with `gator serve`, or leave out the address to render in "
    "this process."
)
_CHECK_TLS = (
    "The secure connection failed. Does the server speak TLS, and is its certificate signed by a "
    "CA that this client trusts (ca_file)?"
)


_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


def to_failure(status: status_pb2.Status) -> RenderFailure:
    """Why a render failed, as its `error` tells it."""
    info = _detail(status, error_details_pb2.ErrorInfo()) or error_details_pb2.ErrorInfo()
    code = _CODES.get(status.code, "UNKNOWN")
    reason = info.reason or code
    return RenderFailure(code, reason, status.message, _ADVICE.get(reason, ""), dict(info.metadata))


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason that the server gave; empty where it is not the server that speaks."""
    info = _detail(_status(error), error_details_pb2.ErrorInfo())
    return info.reason if info else ""


def to_error(error: grpc.aio.AioRpcError, target: str) -> RenderError:
    """The error for a call to `target` that failed."""
    status = _status(error)
    info = _detail(status, error_details_pb2.ErrorInfo()) or error_details_pb2.ErrorInfo()
    code = error.code().name
    if code == "UNAVAILABLE" and not info.reason:
        return unreachable(target, error.details() or "")
    if code == "CANCELLED" and not info.reason:
        return dropped(target)
    reason = info.reason or code
    bad = _detail(status, error_details_pb2.BadRequest()) or error_details_pb2.BadRequest()
    retry = _detail(status, error_details_pb2.RetryInfo())
    retry_after = retry.retry_delay.ToTimedelta().total_seconds() if retry else None
    advice = _ADVICE.get(reason, _ADVICE.get(code, ""))
    if retry_after:
        advice = f"Try again in {retry_after:g} s."
    kind = InvalidRequestError if code == "INVALID_ARGUMENT" else RenderError
    return kind(
        error.details() or f"the call ended with {code}",
        code=code,
        reason=reason,
        violations=[FieldViolation(v.field, v.description) for v in bad.field_violations],
        retry_after=retry_after,
        advice=advice,
        metadata=dict(info.metadata),
    )


def unreachable(target: str, details: str) -> RenderError:
    """The error for a server that does not answer, or went away in the middle."""
    text = details.lower()
    # gRPC leads with "failed to connect to all addresses; last error: UNKNOWN: ".
    details = details.rpartition("last error: ")[2].removeprefix("UNKNOWN: ")
    secure = "handshake" in text or "ssl" in text or "certificate" in text
    return RenderError(
        f"no connection to the server at {target}: {details or 'no details'}",
        code="UNAVAILABLE",
        reason="UNREACHABLE",
        advice=_CHECK_TLS if secure else _START_ONE,
        metadata={"target": target},
    )


def dropped(target: str) -> RenderError:
    """The error for a call that neither the server's code nor this client ended."""
    return RenderError(
        f"the server at {target} dropped the call: it has more than it can take, or goes down",
        code="UNAVAILABLE",
        reason="UNREACHABLE",
        advice=_ADVICE["OVERLOADED"],
        metadata={"target": target},
    )


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    trailers: dict[str, bytes] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]  # pairs
    try:
        return status_pb2.Status.FromString(trailers.get(_DETAILS_KEY, b""))
    except DecodeError:  # not ours: a proxy's, perhaps
        return status_pb2.Status()


def _detail(status: status_pb2.Status, empty: _M) -> _M | None:
    """The detail of the kind of `empty`, if the status has one."""
    for detail in status.details:
        if detail.Unpack(empty):
            return empty
    return None
