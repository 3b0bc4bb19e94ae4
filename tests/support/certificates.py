"""Certificates in files, as services and clients are given them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rpckit.settings import ChannelSettings, ServerSettings
from rpckit.testing import LoopbackSettings

SERVER = "127.0.0.1"
"""The name by which tests call servers."""


@dataclass(frozen=True)
class Files:
    """PEM files of one party."""

    cert: Path
    key: Path
    ca: Path

    def server(self, settings: type[ServerSettings] = LoopbackSettings, **more: object):
        """Settings of a server that shows this certificate and asks for clients'."""
        given = {
            "tls_cert_file": self.cert,
            "tls_key_file": self.key,
            "tls_client_ca_file": self.ca,
        }
        return settings(**(given | more))

    def client(self, **more: object) -> ChannelSettings:
        """Settings of calls that show this certificate."""
        given = {"tls_ca_file": self.ca, "tls_cert_file": self.cert, "tls_key_file": self.key}
        return ChannelSettings(**(given | more))


class Party:
    """A server or client whose files lie in a folder and can be replaced."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.files = Files(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")

    def hold(self, issued: trustme.LeafCert, *trusted: trustme.CA) -> Files:
        """Puts the files there, each whole at once, one after the other."""
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        _replace(self.files.cert, chain)
        _replace(self.files.key, issued.private_key_pem.bytes())
        self.trust(*trusted)
        return self.files

    def trust(self, *authorities: trustme.CA) -> None:
        """Trusts these authorities and no other."""
        _replace(self.files.ca, b"".join(ca.cert_pem.bytes() for ca in authorities))


def expired(ca: trustme.CA, name: str) -> trustme.LeafCert:
    """A certificate that was good until yesterday."""
    now = datetime.now(UTC)
    return ca.issue_cert(
        name, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
    )


def with_uri(ca: trustme.CA, uri: str) -> trustme.LeafCert:
    """A certificate with a URI name, such as "spiffe://...", and no other."""
    authority = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    signer = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), True)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    key_pem = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return trustme.LeafCert(key_pem, certificate.public_bytes(pem), [])


def _replace(file: Path, content: bytes) -> None:
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(content)
    beside.replace(file)
