"""The channel to a gateway."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import grpc

DEFAULT_PORT = 50051
"""The port of `gator serve`."""

# Before its first message a call may be tried again by gRPC: nothing has begun.
_RETRY = {
    "methodConfig": [
        {
            "name": [{"service": "gator.gateway.v1.RenderService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS: list[tuple[str, str | int]] = [
    # A link that was cut is seen within 40 s, though nothing is sent on it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that went away is looked for often: whoever lost it waits for it to come back.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.service_config", json.dumps(_RETRY)),
]


@dataclass(frozen=True)
class Tls:
    """How to make a connection secure. PEM files; None means the system's or none."""

    ca_file: Path | None = None
    """Certificates of the CAs to trust."""
    cert_file: Path | None = None
    """This client's own certificate, where the server asks for one."""
    key_file: Path | None = None
    """The key of that certificate."""


_LOOPBACK = re.compile(r"(127\.[\d.]+|localhost|\[::1\]):\d+")


def full_target(target: str) -> str:
    """`target` with the port of `gator serve` where it names none."""
    bare_ipv6 = target.startswith("[") and target.endswith("]")
    return f"{target}:{DEFAULT_PORT}" if bare_ipv6 or ":" not in target else target


def open_channel(target: str, tls: bool | Tls) -> grpc.aio.Channel:
    """A channel to `target`, "host:port" or what else gRPC takes. Connects on first use.

    Raises OSError if a file of `tls` cannot be read.
    """
    options: list[tuple[str, str | int]] = list(_OPTIONS)
    if _LOOPBACK.fullmatch(target):
        # No proxy that the environment names can reach this machine's own loopback.
        options.append(("grpc.enable_http_proxy", 0))
    if not tls:
        return grpc.aio.insecure_channel(target, options=options)
    files = tls if isinstance(tls, Tls) else Tls()
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(files.ca_file),
        private_key=_read(files.key_file),
        certificate_chain=_read(files.cert_file),
    )
    return grpc.aio.secure_channel(target, credentials, options=options)


def _read(path: Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
