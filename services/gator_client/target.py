"""The address of a gateway."""

from __future__ import annotations

import re

DEFAULT_PORT = 50051
"""The port of `gator serve`."""

_PORT = re.compile(r"(?!unix).*:(-?\d+)")
_LOOPBACK = re.compile(r"(127\.[\d.]+|localhost|\[::1\]):\d+|unix(-abstract)?:.+")


def full_target(target: str) -> str:
    """`target` with the port of `gator serve` where it names none.

    ValueError if it names a port that there is not: gRPC takes it modulo 65,536, and would ask
    whoever listens there.
    """
    port = _PORT.fullmatch(target)
    if port and not 0 <= int(port[1]) <= 65_535:
        raise ValueError(f"{target}: {port[1]} is no port; ports are 1 to 65535")
    bare_ipv6 = target.startswith("[") and target.endswith("]")
    return f"{target}:{DEFAULT_PORT}" if bare_ipv6 or ":" not in target else target


def on_loopback(target: str) -> bool:
    """Whether what goes to `target`, "host:port", stays on this machine."""
    return _LOOPBACK.fullmatch(target) is not None
