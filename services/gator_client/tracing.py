"""Calls under the caller's own trace, where the program has one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

S = TypeVar("S")


def traced(stub: S) -> S:
    """The same stub; its calls carry the ids of the span that is current when they are made.

    They travel as the program's propagators have it (OTEL_PROPAGATORS; a W3C `traceparent` by
    default). OpenTelemetry is not imported for it.
    """
    # Not by an interceptor: that is a task around each call, for one header.
    for name, method in tuple(vars(stub).items()):
        setattr(stub, name, partial(_call, method))
    return stub


def _call(method: Callable[..., Any], request: Any, **options: Any) -> Any:
    if "opentelemetry.trace" in sys.modules:  # else nothing can have begun a span
        from opentelemetry import propagate  # noqa: PLC0415 - a program may do without

        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        if carrier:
            ids = ((key.lower(), value) for key, value in carrier.items())
            options["metadata"] = (*(options.get("metadata") or ()), *ids)
    return method(request, **options)
