"""Certificates and keys as files have them, checked before they are used."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path


class TlsFileError(Exception):
    """A certificate or key file cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files of one side of a connection. None: not given."""

    cert: Path | None
    """The certificate chain, leaf first."""
    key: Path | None
    """The private key of the leaf, without a passphrase."""
    ca: Path | None
    """The certificate authorities to trust."""

    @property
    def all(self) -> tuple[Path | None, ...]:
        """Each of them."""
        return self.cert, self.key, self.ca

    def read(self) -> Pem:
        """What they hold. TlsFileError if that is no pair, or no certificates.

        Files that are replaced one after the other do not match for a moment; what
        is returned always does.
        """
        pem = Pem(_content(self.cert), _content(self.key), _content(self.ca))
        if self.cert is not None:
            _check_pair(self.cert, self.key)
        if self.ca is not None:
            _check_authorities(self.ca, pem.ca)
        if pem != Pem(_content(self.cert), _content(self.key), _content(self.ca)):
            raise TlsFileError(f"{self.cert or self.ca} changed while it was read")
        return pem


@dataclass(frozen=True)
class Pem:
    """What the files hold. None: not given."""

    cert: bytes | None
    key: bytes | None = field(repr=False)
    ca: bytes | None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf certificate, as `openssl x509 -fingerprint -sha256` has it."""
        if self.cert is None:
            return ""
        end = "-----END CERTIFICATE-----"
        leaf = self.cert.decode("ascii", "replace").partition(end)[0] + end
        leaf = leaf[leaf.index("-----BEGIN CERTIFICATE-----") :]
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf)).hexdigest()


def _content(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise TlsFileError(f"{file} cannot be read: {error.strerror or error}") from None


def _check_pair(cert: Path, key: Path | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password it would ask on the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TlsFileError(
            f"{cert} and {key} are not a certificate and its key, both PEM, the key without a "
            f"passphrase: {_why(error)}"
        ) from None


def _check_authorities(file: Path, content: bytes | None) -> None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=(content or b"").decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise TlsFileError(f"{file} has no certificates, PEM: {_why(error)}") from None


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).lower()
