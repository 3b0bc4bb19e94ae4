"""The check at the door of a server: who calls, and whether they may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rpckit.auth_settings import ClientFacingSettings, on_loopback
from rpckit.auth_tokens import TokenFile
from rpckit.errors import GatorError, Reason, unauthenticated
from rpckit.identity import ANYONE, Identity, Scope
from rpckit.settings import ServerSettings
from rpckit.telemetry import logger

log = logger(__name__)

AUTHORIZATION = "authorization"
"""Metadata key of a call's credentials, `Bearer TOKEN`."""


class Authenticator(Protocol):
    """Knows callers by one kind of token."""

    async def identify(self, token: str) -> Identity | None:
        """Whose token it is; None if it is not of this kind.

        GatorError UNAUTHENTICATED if it is, and is not valid.
        """
        ...

    async def close(self) -> None:
        """Frees what it holds."""
        ...


@dataclass(frozen=True)
class Peer:
    """What TLS proved about the other end; all empty without a certificate."""

    uris: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    common_name: str = ""

    @property
    def names(self) -> frozenset[str]:
        """What it may be called: a common name counts only where there is no other name."""
        return frozenset(self.uris + self.dns_names) or frozenset(filter(None, [self.common_name]))

    @property
    def name(self) -> str:
        """The first URI name, else the first DNS name, else the common name."""
        return (*self.uris, *self.dns_names, self.common_name)[0]

    @classmethod
    def of(cls, auth_context: Mapping[str, Iterable[bytes]]) -> Peer:
        """The peer of a gRPC call by its `auth_context()`."""

        def values(key: str) -> tuple[str, ...]:
            return tuple(value.decode("utf-8", "replace") for value in auth_context.get(key, ()))

        common_names = values("x509_common_name")
        return cls(
            uris=values("peer_uri"),
            dns_names=values("peer_dns"),
            common_name=common_names[0] if common_names else "",
        )


class Door:
    """Lets calls in, each with the identity of its caller."""

    def __init__(
        self,
        authenticators: Sequence[Authenticator] = (),
        *,
        client_names: Iterable[str] = (),
        certificate_owner: bool = False,
    ) -> None:
        """Without authenticators nobody is asked for a token."""
        self._authenticators = tuple(authenticators)
        self._client_names = frozenset(client_names)
        self._certificate_owner = certificate_owner

    async def admit(
        self, method: str, metadata: Iterable[tuple[str, str | bytes]], peer: Peer
    ) -> Identity:
        """Who makes a call of `method` ("/package.Service/Method").

        GatorError UNAUTHENTICATED if that is not known, PERMISSION_DENIED if they may not,
        DOWNSTREAM_UNAVAILABLE if it cannot be found out now.
        """
        if self._client_names and not self._client_names & peer.names:
            raise _denied(
                f"the certificate of {peer.name or 'this client'} is good, but its name is none "
                "of those that this server takes calls from",
                certificate=peer.name,
            )
        identity = await self._identify(metadata, peer)
        needed = Scope.of_method(method)
        if needed not in identity.scopes:
            raise _denied(
                f"{identity.name} may not do this: it lacks the scope {needed.value}",
                scope=needed.value,
            )
        return identity

    async def close(self) -> None:
        """Frees what the authenticators hold."""
        for authenticator in self._authenticators:
            await authenticator.close()

    async def _identify(self, metadata: Iterable[tuple[str, str | bytes]], peer: Peer) -> Identity:
        shown = [value for key, value in metadata if key == AUTHORIZATION]
        if self._certificate_owner and not shown and peer.names:
            return Identity(owner=peer.name, name=peer.name)
        if not self._authenticators:
            if self._certificate_owner:
                raise unauthenticated("missing", "the certificate carries no name")
            return ANYONE
        token = _bearer(shown)
        for authenticator in self._authenticators:
            identity = await authenticator.identify(token)
            if identity is not None:
                return identity
        raise unauthenticated("unknown", "the token is not known to this server")


def door(settings: ServerSettings) -> Door:
    """The check that `settings` ask for. SettingsError if a file of theirs cannot be used."""
    if not isinstance(settings, ClientFacingSettings):
        return Door(client_names=settings.tls_client_names)
    authenticators: list[Authenticator] = []
    if settings.auth_tokens_file is not None:
        authenticators.append(TokenFile(settings.auth_tokens_file))
    if settings.uses_jwt:
        # Loaded now: only servers that take JWTs have the package installed.
        from rpckit.auth_jwt import jwt_authenticator  # noqa: PLC0415

        authenticators.append(jwt_authenticator(settings))
    return Door(
        authenticators,
        client_names=settings.tls_client_names,
        certificate_owner=settings.auth_certificate_owner,
    )


def warn_of_open_doors(service: str, settings: ServerSettings) -> None:
    """Says in the log what only the network around the server can make safe."""
    if on_loopback(settings.listen):
        return
    tokens = isinstance(settings, ClientFacingSettings) and settings.uses_tokens
    if tokens and settings.tls_cert_file is None:
        log.warning(
            "tokens come in clear text, unless a proxy in front ends TLS",
            service=service,
            listen=settings.listen,
        )
    elif not tokens and settings.tls_client_ca_file is None:
        log.warning(
            "whoever reaches this address may call it", service=service, listen=settings.listen
        )


def _denied(message: str, **metadata: str) -> GatorError:
    return GatorError(Reason.PERMISSION_DENIED, message, metadata=metadata)


def _bearer(shown: Sequence[str | bytes]) -> str:
    if not shown:
        raise unauthenticated(
            "missing",
            "this server asks for a token: send the metadata `authorization: Bearer TOKEN`",
        )
    if len(shown) > 1:
        raise unauthenticated("malformed", "the call has more than one `authorization`")
    scheme, _, token = str(shown[0]).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthenticated("malformed", "`authorization` must be `Bearer TOKEN`")
    return token.strip()
