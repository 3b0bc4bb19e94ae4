"""What messages of several kinds have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.request import RenderWarning
from gator.type.v1 import warning_pb2
from rpckit.errors import GatorError, Reason


def unknown_message(service: str) -> GatorError:
    """The error for a message of `service` that has no meaning here."""
    return GatorError(
        Reason.INTERNAL,
        f"the {service} service sent a message that this gateway does not know; "
        "run the same version of both",
        metadata={"downstream": service},
    )


def warning_messages(warnings: Sequence[RenderWarning]) -> list[warning_pb2.Warning]:
    """The messages of warnings."""
    return [
        warning_pb2.Warning(field=w.field, asked=w.asked, applied=w.applied, reason=w.reason)
        for w in warnings
    ]


def warning_values(messages: Iterable[warning_pb2.Warning]) -> tuple[RenderWarning, ...]:
    """The warnings of messages."""
    return tuple(RenderWarning(w.field, w.asked, w.applied, w.reason) for w in messages)
