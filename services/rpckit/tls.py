"""TLS credentials from the files that settings name."""

from __future__ import annotations

from pathlib import Path

import grpc

from rpckit.settings import ChannelSettings, ServerSettings


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


def server_credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """Credentials of a server, or None for plaintext. OSError if a file cannot be read."""
    certificate, key = _read(settings.tls_cert_file), _read(settings.tls_key_file)
    if certificate is None or key is None:
        return None
    client_ca = _read(settings.tls_client_ca_file)
    return grpc.ssl_server_credentials(
        [(key, certificate)],
        root_certificates=client_ca,
        require_client_auth=client_ca is not None,
    )


def channel_credentials(settings: ChannelSettings) -> grpc.ChannelCredentials | None:
    """Credentials of a client, or None for plaintext. OSError if a file cannot be read."""
    if not settings.secure:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=_read(settings.tls_ca_file),
        private_key=_read(settings.tls_key_file),
        certificate_chain=_read(settings.tls_cert_file),
    )
