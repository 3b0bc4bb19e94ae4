"""JSON Web Tokens: checked by the public keys of their issuer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from rpckit.auth_jwks import KeyAddress, KeyFile, KeySource, VerifyingKey
from rpckit.auth_settings import ClientFacingSettings
from rpckit.errors import unauthenticated
from rpckit.identity import EVERYTHING, Identity, Scope

MAX_OWNER = 200
"""Most characters of an owner."""

_PROBLEMS: list[tuple[type[Exception], str, str]] = [
    (jwt.ExpiredSignatureError, "expired", "the token has expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid", "the token is not valid yet"),
    (jwt.InvalidAudienceError, "audience", "the token was made for another service"),
    (jwt.InvalidIssuerError, "issuer", "the token was made by another issuer"),
    (jwt.MissingRequiredClaimError, "claim", "the token lacks a claim"),
]
"""What a caller is told, the first that fits. Other faults have one message for all."""


@dataclass(frozen=True)
class JwtRules:
    """What a token must be."""

    issuer: str
    audience: tuple[str, ...]
    """Of these the token's `aud` must have one."""
    algorithms: frozenset[str]
    leeway: float
    """Seconds by which clocks may differ."""
    owner_claim: str
    scope_claim: str
    """Empty: every token may do everything."""


class JwtAuthenticator:
    """Knows callers by JWTs."""

    def __init__(self, source: KeySource, rules: JwtRules) -> None:
        """`source` has the issuer's keys."""
        self._source = source
        self._rules = rules

    async def identify(self, token: str) -> Identity | None:
        """See Authenticator. None for what is no JWT at all."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):  # JSON may be nested without end
            return None
        algorithm, key_id = str(header.get("alg")), header.get("kid", "")
        if algorithm not in self._rules.algorithms:  # before a key is looked for
            raise unauthenticated("algorithm", "the token is signed in a way that is not taken")
        keys = await self._source.keys(key_id)
        key = keys.get(key_id) if key_id or len(keys) > 1 else next(iter(keys.values()))
        if key is None or algorithm not in key.algorithms:
            raise unauthenticated(
                "key", "the token is signed by a key that its issuer does not show"
            )
        return self._identity(self._claims(token, key))

    async def close(self) -> None:
        """Ends what runs for the keys."""
        await self._source.close()

    def _claims(self, token: str, key: VerifyingKey) -> Mapping[str, Any]:
        rules = self._rules
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=sorted(rules.algorithms & key.algorithms),
                issuer=rules.issuer,
                audience=rules.audience,
                leeway=rules.leeway,
                options={
                    "require": ["exp", "iss", "aud", rules.owner_claim],
                    "enforce_minimum_key_length": True,
                },
            )
        except (jwt.PyJWTError, OverflowError, RecursionError) as error:
            for kind, problem, message in _PROBLEMS:
                if isinstance(error, kind):
                    raise unauthenticated(problem, message) from None
            raise unauthenticated("invalid", "the token is not valid") from None
        return claims

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        owner = claims[self._rules.owner_claim]
        if not isinstance(owner, str) or not 0 < len(owner) <= MAX_OWNER or not owner.isprintable():
            raise unauthenticated(
                "owner",
                f"the token's {self._rules.owner_claim} must be 1 to {MAX_OWNER} printable "
                "characters",
            )
        return Identity(owner=owner, name=owner, scopes=self._scopes(claims))

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        if not self._rules.scope_claim:
            return EVERYTHING
        value = claims.get(self._rules.scope_claim, "")
        given = value.split() if isinstance(value, str) else value
        if not isinstance(given, list):
            return frozenset()
        return frozenset(scope for scope in Scope if scope.value in given)


def jwt_authenticator(settings: ClientFacingSettings) -> JwtAuthenticator:
    """The one that `settings` ask for. SettingsError if a file of theirs cannot be used."""
    source: KeySource
    if settings.auth_jwks_file is not None:
        source = KeyFile(settings.auth_jwks_file)
    else:
        source = KeyAddress(settings.auth_jwks_url or "", settings.auth_jwks_ca_file)
    return JwtAuthenticator(
        source,
        JwtRules(
            issuer=settings.auth_issuer or "",
            audience=settings.auth_audience,
            algorithms=frozenset(settings.auth_algorithms),
            leeway=settings.auth_leeway,
            owner_claim=settings.auth_owner_claim,
            scope_claim=settings.auth_scope_claim,
        ),
    )
