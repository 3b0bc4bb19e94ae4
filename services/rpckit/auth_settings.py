"""Settings of a server that clients call: who they must be."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from rpckit.settings import Names, ServerSettings, split_names

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""Signatures by a private key. With a secret in common, who checks tokens could make some."""


def on_loopback(listen: str) -> bool:
    """Whether only this machine reaches the address `listen`, host:port or unix:path."""
    if listen.startswith(("unix:", "unix-abstract:")):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or empty: every address
        return False


class ClientFacingSettings(ServerSettings):
    """What a server that clients call can be told beyond what every server can.

    Without any of these it asks nobody who they are, and then it listens on
    loopback only.
    """

    auth_tokens_file: Path | None = None
    """Tokens of clients, TOML, see docs/security.md. Read again when it changes."""
    auth_jwks_file: Path | None = None
    """Public keys of the issuer of JWTs, a JWK set. Read again when it changes."""
    auth_jwks_url: str | None = None
    """Where the issuer of JWTs shows those keys; https, or http on loopback. Fetched again every
    five minutes, and for a key that is not known yet."""
    auth_jwks_ca_file: Path | None = None
    """Certificate authorities of that address, PEM. Unset uses the system's."""
    auth_issuer: str | None = None
    """The `iss` that a JWT must have."""
    auth_audience: Names = ()
    """The `aud` of which a JWT must have one, with commas between them."""
    auth_algorithms: Annotated[
        tuple[Algorithm, ...], NoDecode, BeforeValidator(split_names), Field(min_length=1)
    ] = ("RS256", "PS256", "ES256", "EdDSA")
    """Signatures that are taken, with commas between them."""
    auth_leeway: float = Field(default=30.0, ge=0, le=300)
    """Seconds by which the issuer's clock and this one may differ."""
    auth_owner_claim: str = Field(default="sub", min_length=1)
    """The claim that says to whom a JWT's renders belong."""
    auth_scope_claim: str = ""
    """The claim that holds gator.read and gator.write, a list or one string with spaces. Empty: a
    JWT that is valid may do everything."""
    auth_certificate_owner: bool = False
    """Whether a client that shows no token is known by its certificate: the owner is its first
    URI name, else its first DNS name, else its common name. Needs `tls_client_ca_file`."""
    insecure: bool = False
    """Listen beyond loopback though nobody is asked who they are."""

    @property
    def uses_jwt(self) -> bool:
        """Whether clients may show JWTs."""
        return self.auth_jwks_file is not None or self.auth_jwks_url is not None

    @property
    def uses_tokens(self) -> bool:
        """Whether clients may show tokens of any kind."""
        return self.auth_tokens_file is not None or self.uses_jwt

    @model_validator(mode="after")
    def _jwt_is_whole(self) -> ClientFacingSettings:
        if self.auth_jwks_file is not None and self.auth_jwks_url is not None:
            raise ValueError("auth_jwks_file and auth_jwks_url exclude each other")
        if self.uses_jwt and not (self.auth_issuer and self.auth_audience):
            raise ValueError(
                "auth_jwks_file and auth_jwks_url need auth_issuer and auth_audience: a token "
                "that was made for another service must not be taken"
            )
        if self.auth_jwks_url is not None and not _may_be_fetched(self.auth_jwks_url):
            raise ValueError("auth_jwks_url must begin with https://, or be http:// on loopback")
        if self.auth_certificate_owner and self.tls_client_ca_file is None:
            raise ValueError("auth_certificate_owner needs tls_client_ca_file")
        return self

    @model_validator(mode="after")
    def _not_open_to_all(self) -> ClientFacingSettings:
        asked = self.uses_tokens or self.tls_client_ca_file is not None
        if not asked and not self.insecure and not on_loopback(self.listen):
            prefix = str(self.model_config.get("env_prefix", ""))
            raise ValueError(
                f"it would listen on {self.listen} and ask nobody who they are: anybody who "
                f"reaches it could render. Set {prefix}AUTH_TOKENS_FILE, {prefix}AUTH_JWKS_URL or "
                f"{prefix}TLS_CLIENT_CA_FILE (docs/security.md), or {prefix}INSECURE=true where "
                "something else keeps strangers out"
            )
        return self


def _may_be_fetched(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and on_loopback(f"{parts.hostname or ''}:0")
