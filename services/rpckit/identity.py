"""Who makes a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum


class Scope(Enum):
    """What a caller may do. The values stand in token files and in JWTs."""

    READ = "gator.read"
    """Look: methods whose names begin with Get, List, Watch or Download."""
    WRITE = "gator.write"
    """Everything else: make, stop and delete renders."""

    @classmethod
    def of_method(cls, method: str) -> Scope:
        """What a call of `method` ("/package.Service/Method") needs.

        A name that does not say that it only looks needs WRITE.
        """
        name = method.rpartition("/")[2]
        return cls.READ if name.startswith(("Get", "List", "Watch", "Download")) else cls.WRITE


EVERYTHING = frozenset(Scope)


@dataclass(frozen=True)
class Identity:
    """Who makes a call, as its credentials show."""

    owner: str
    """To whom belongs what the call makes, and whose things it sees. Empty where the server
    asks nobody for credentials: everything then belongs to one owner, everyone."""
    name: str
    """Which credentials were shown, for logs: the name of a token or of a certificate."""
    scopes: frozenset[Scope] = EVERYTHING
    """What the caller may do."""


ANYONE = Identity(owner="", name="")
"""The caller of a server that asks for no credentials."""

_caller: ContextVar[Identity] = ContextVar("caller", default=ANYONE)


def caller() -> Identity:
    """Who makes the call that runs here. ANYONE outside of a call."""
    return _caller.get()


@contextmanager
def calling(identity: Identity) -> Iterator[None]:
    """Makes `identity` the caller until the end of the block."""
    token = _caller.set(identity)
    try:
        yield
    finally:
        _caller.reset(token)
