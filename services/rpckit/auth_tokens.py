"""Tokens that a file lists, known by their hashes.

    [[token]]
    name = "ci"                       # for logs
    owner = "team-a"                  # to whom its renders belong
    sha256 = "9f86d081884c7d65..."    # of the token, hexadecimal
    scopes = ["gator.read"]           # unset: gator.read and gator.write
    expires = 2027-06-30T00:00:00Z    # unset: never

A token is random (32 bytes or more), so one round of SHA-256 is enough: there
is nothing to guess from a dictionary.
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from rpckit.errors import unauthenticated
from rpckit.identity import EVERYTHING, Identity, Scope
from rpckit.reloaded import Reloaded
from rpckit.settings import SettingsError

_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Token(BaseModel):
    """One `[[token]]` of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: _Name
    owner: _Name
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    scopes: frozenset[Scope] = EVERYTHING
    expires: AwareDatetime | None = None


class _File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    token: tuple[_Token, ...]
    """`token = []` is a file that knows no token, as when all were withdrawn; an empty file is
    one that is just being written."""


class TokenFile:
    """Knows callers by the tokens that a file lists."""

    def __init__(self, file: Path) -> None:
        """SettingsError if the file cannot be used."""
        self._tokens = Reloaded(f"tokens of {file}", [file], lambda: _read(file))

    async def identify(self, token: str) -> Identity | None:
        """See Authenticator. UNAUTHENTICATED for a token that has expired."""
        found = _find(self._tokens.get(), token)
        if found is None:
            return None
        if found.expires is not None and found.expires <= datetime.now(UTC):
            raise unauthenticated(
                "expired", f"the token {found.name} expired at {found.expires.isoformat()}"
            )
        return Identity(owner=found.owner, name=found.name, scopes=found.scopes)

    async def close(self) -> None:
        """Nothing to free."""


def _find(tokens: Sequence[_Token], token: str) -> _Token | None:
    """The entry of `token`. Takes the same time for every token that is not there."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    found = None
    for entry in tokens:  # to the end, wherever it is found
        if hmac.compare_digest(entry.sha256.lower(), digest):
            found = entry
    return found


def _read(file: Path) -> tuple[_Token, ...]:
    try:
        tokens = _File.model_validate(tomllib.loads(file.read_text("utf-8"))).token
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        problems = (
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_input=False)
        )
        raise SettingsError(f"{file} cannot be used: {'; '.join(problems)}") from None
    except ValueError as error:  # no TOML, or no UTF-8; the message quotes nothing of the file
        raise SettingsError(f"{file} is no TOML: {error}") from None
    for what in ("name", "sha256"):
        values = [getattr(token, what).lower() for token in tokens]
        if len(set(values)) < len(values):
            raise SettingsError(f"{file} has the same {what} in two tokens")
    return tokens
