"""The one way to call another service: channel, retry, deadline."""

from __future__ import annotations

import json

import grpc

from rpckit.reloading_channel import ReloadingChannel
from rpckit.settings import ChannelSettings, SettingsError
from rpckit.tls import TlsFileError, channel_credentials

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            # gRPC retries a call only until its first message has come back.
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        # A frame is dear: it is begun again by the one who knows whether it is still wanted.
        {"name": [{"service": "gator.frame_gen.v1.FrameGenService", "method": "GenerateFrame"}]},
    ],
}

_OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # Services call each other directly, whatever proxy the environment names.
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]


def open_channel(target: str, settings: ChannelSettings | None = None) -> grpc.aio.Channel:
    """A channel to `target` (host:port or a gRPC name), plaintext or TLS by the settings.

    Certificates are used as their files have them, also when those change.

    Raises:
        SettingsError: a file that the settings name cannot be used.
    """
    settings = settings or ChannelSettings()
    options = list(_OPTIONS)
    if settings.tls_server_name:
        options.append(("grpc.ssl_target_name_override", settings.tls_server_name))
    try:
        credentials = channel_credentials(settings)
    except TlsFileError as error:
        raise SettingsError(f"GATOR_CHANNEL_TLS_...: {error}") from None
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return ReloadingChannel(
        credentials, lambda current: grpc.aio.secure_channel(target, current, options=options)
    )


def hop_timeout(remaining: float | None, reserve: float) -> float | None:
    """Seconds to give to the next hop out of the `remaining` ones of the caller's deadline.

    `reserve` seconds, at most a tenth, are kept back: the next hop then runs out
    of time first, and its name reaches the caller. None means no deadline.
    """
    if remaining is None:
        return None
    return max(remaining - min(reserve, remaining / 10), 0.0)
