"""The channel to a gateway."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from gator_client.target import on_loopback
from gator_client.token import Token, read_token

# Before its first message a call may be tried again by gRPC: nothing has begun. CANCELLED is how a
# server that has more calls waiting than it takes drops one, unseen by its own code; a call that
# this client cancels is not tried again.
_RETRY = {
    "methodConfig": [
        {
            "name": [{"service": "gator.gateway.v1.RenderService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
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


def open_channel(target: str, tls: bool | Tls, token: Token | None = None) -> grpc.aio.Channel:
    """A channel to `target`, "host:port" or what else gRPC takes. Connects on first use.

    Each call shows the token, if there is one. Raises OSError if a file cannot be
    read, ValueError if `token` can be none.
    """
    options: list[tuple[str, str | int]] = list(_OPTIONS)
    if on_loopback(target):
        # No proxy that the environment names can reach this machine's own loopback.
        options.append(("grpc.enable_http_proxy", 0))
    showing = _showing(token)
    if not tls:
        return grpc.aio.insecure_channel(target, options=options, interceptors=showing)
    files = tls if isinstance(tls, Tls) else Tls()
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(files.ca_file),
        private_key=_read(files.key_file),
        certificate_chain=_read(files.cert_file),
    )
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=showing)


def _read(path: Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


class _ShowsToken:
    def __init__(self, token: Token) -> None:
        self._token = token

    def _shown(self, call: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        given = [] if call.metadata is None else list(call.metadata)
        header = ("authorization", f"Bearer {read_token(self._token)}")
        metadata = grpc.aio.Metadata(*given, header)
        return grpc.aio.ClientCallDetails(
            call.method, call.timeout, metadata, call.credentials, call.wait_for_ready
        )


_Continue = Callable[[grpc.aio.ClientCallDetails, Any], Any]


# Two classes: gRPC takes one object for one kind of call. All calls of the API send one message.
class _ShowsTokenOnce(
    _ShowsToken,
    grpc.aio.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]  # not at run time
):
    async def intercept_unary_unary(
        self,
        continuation: _Continue,
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        return await continuation(self._shown(client_call_details), request)


class _ShowsTokenOnStream(
    _ShowsToken,
    grpc.aio.UnaryStreamClientInterceptor,  # type: ignore[type-arg]  # not at run time
):
    async def intercept_unary_stream(
        self,
        continuation: _Continue,
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        return await continuation(self._shown(client_call_details), request)


def _showing(token: Token | None) -> Sequence[Any]:
    if token is None:
        return ()
    read_token(token)  # what is wrong with it is told before a call is made
    return (_ShowsTokenOnce(token), _ShowsTokenOnStream(token))
