"""TLS credentials from the files that settings name, and again when those change."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from rpckit.reloaded import Reloaded
from rpckit.settings import ChannelSettings, ServerSettings
from rpckit.telemetry import logger
from rpckit.tls_files import TlsFileError, TlsFiles

__all__ = ["TlsFileError", "channel_credentials", "server_credentials"]

log = logger(__name__)


def server_credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """Credentials of a server, or None for plaintext. TlsFileError if a file cannot be used.

    Each new connection is shaken hands with under the certificates that the files
    hold then; connections that stand are left alone.
    """
    files = TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    if files.cert is None:
        return None

    def read() -> grpc.ServerCertificateConfiguration:
        pem = files.read()
        log.info("server certificate", file=str(files.cert), sha256=pem.fingerprint)
        return grpc.ssl_server_certificate_configuration(
            [(pem.key or b"", pem.cert or b"")], root_certificates=pem.ca
        )

    certificates = Reloaded("server certificate", files.all, read)
    used = first = certificates.get()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC's threads at each new connection; None is no change."""
        nonlocal used
        newest = certificates.get()
        if newest is used:
            return None
        used = newest
        return newest

    return grpc.dynamic_ssl_server_credentials(
        first,
        fetch,  # type: ignore[arg-type]  # the stubs know no None
        require_client_authentication=files.ca is not None,
    )


def channel_credentials(
    settings: ChannelSettings,
) -> Callable[[], grpc.ChannelCredentials] | None:
    """Credentials of a client as its files have them when asked; None for plaintext.

    The same object until the files change. TlsFileError if a file cannot be used.
    """
    if not settings.secure:
        return None
    files = TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file)

    def read() -> grpc.ChannelCredentials:
        pem = files.read()
        if pem.cert is not None:
            log.info("client certificate", file=str(files.cert), sha256=pem.fingerprint)
        return grpc.ssl_channel_credentials(
            root_certificates=pem.ca, private_key=pem.key, certificate_chain=pem.cert
        )

    return Reloaded("client certificate", files.all, read).get
