"""The public keys of an issuer of JWTs, from a file or an address."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jwt

from rpckit.errors import GatorError, Reason
from rpckit.reloaded import Reloaded
from rpckit.settings import SettingsError
from rpckit.telemetry import logger

log = logger(__name__)

FETCH_AGAIN = 300.0
"""Seconds after which keys are fetched again."""
FETCH_PAUSE = 10.0
"""Least seconds between two fetches: callers can make up ids of keys."""
KEYS_LAST = 86_400.0
"""Seconds for which keys serve while their address is away."""
FETCH_TIMEOUT = 5.0
"""Seconds."""
MAX_BYTES = 1 << 20
"""A set of keys takes a few kilobytes."""

_BY_KIND = {
    ("RSA", ""): {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
    ("EC", "P-256"): {"ES256"},
    ("EC", "P-384"): {"ES384"},
    ("EC", "P-521"): {"ES512"},
    ("OKP", "Ed25519"): {"EdDSA"},
    ("OKP", "Ed448"): {"EdDSA"},
}
"""What a key without `alg` can have signed, by its `kty` and `crv`."""


class JwksError(Exception):
    """No set of public keys; the message says what it is instead."""


@dataclass(frozen=True)
class VerifyingKey:
    """A public key and the signatures that it may check."""

    key: Any
    """As `cryptography` has it."""
    algorithms: frozenset[str]


Keys = Mapping[str, VerifyingKey]
"""Keys by their ids; a key without an id has the empty one."""


class KeySource(Protocol):
    """Where keys come from."""

    async def keys(self, key_id: str) -> Keys:
        """All keys, with that of `key_id` among them if the issuer has it.

        GatorError DOWNSTREAM_UNAVAILABLE if they cannot be had now.
        """
        ...

    async def close(self) -> None:
        """Ends what runs for it."""
        ...


def parse_keys(text: str | bytes) -> Keys:
    """The keys of a JWK set that check signatures. JwksError if there are none."""
    try:
        described = json.loads(text)["keys"]
        found = {key.get("kid", ""): verifying for key in described if (verifying := _key(key))}
    except JwksError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, jwt.PyJWTError) as error:
        raise JwksError(f"it is no JWK set: {error}") from None
    if not found:
        raise JwksError("it has no key that checks signatures")
    return found


def _key(described: dict[str, Any]) -> VerifyingKey | None:
    """The key that is described; None if it is not for checking signatures."""
    if "d" in described:
        raise JwksError("it holds a private key, which belongs to the issuer alone")
    algorithms = _BY_KIND.get((described.get("kty", ""), described.get("crv", "")), set())
    if "alg" in described:
        algorithms = algorithms & {described["alg"]}
    if not algorithms or described.get("use", "sig") != "sig":
        return None
    key = jwt.PyJWK(described, algorithm=min(algorithms)).key
    return VerifyingKey(key, frozenset(algorithms))


class KeyFile:
    """Keys from a file, read again when it changes."""

    def __init__(self, file: Path) -> None:
        """SettingsError if the file cannot be used."""

        def read() -> Keys:
            try:
                return parse_keys(file.read_bytes())
            except OSError as error:
                raise SettingsError(f"{file} cannot be read: {error.strerror or error}") from None
            except JwksError as error:
                raise SettingsError(f"{file}: {error}") from None

        self._keys = Reloaded(f"keys of {file}", [file], read)

    async def keys(self, key_id: str) -> Keys:  # noqa: ARG002 - see KeySource
        """See KeySource."""
        return self._keys.get()

    async def close(self) -> None:
        """Nothing runs."""


class KeyAddress:
    """Keys from an address, kept, and fetched again in the background.

    A call waits for a fetch only where its key is not known yet.
    """

    def __init__(
        self,
        url: str,
        ca_file: Path | None,
        *,
        fetch: Callable[[str, ssl.SSLContext], bytes] | None = None,
        pause: float = FETCH_PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """SettingsError if the file of authorities cannot be used."""
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"{ca_file} cannot be used: {error}") from None
        self._url = url
        self._fetch = fetch or fetch_keys
        self._pause = pause
        self._clock = clock
        self._keys: Keys = {}
        self._fetched = self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def keys(self, key_id: str) -> Keys:
        """See KeySource."""
        now = self._clock()
        known = key_id in self._keys if key_id else bool(self._keys)
        if not known or now - self._fetched >= FETCH_AGAIN:
            fetching = self._start_fetch(now)
            if not known and fetching is not None:
                # Others may wait for it too, or leave without ending it.
                await asyncio.shield(fetching)
        if not self._keys or self._clock() - self._fetched > KEYS_LAST:
            raise GatorError(
                Reason.DOWNSTREAM_UNAVAILABLE,
                "the keys of the tokens' issuer cannot be fetched, so tokens cannot be checked",
                retry_after=self._pause,
                metadata={"downstream": "jwks"},
            )
        return self._keys

    async def close(self) -> None:
        """Ends a fetch that runs."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _start_fetch(self, now: float) -> asyncio.Task[None] | None:
        """The fetch that runs, or a new one; None in the pause after the last one."""
        if self._fetching is None and now - self._tried >= self._pause:
            self._tried = now
            self._fetching = asyncio.create_task(self._fetch_once(), name="fetch JWKS")
        return self._fetching

    async def _fetch_once(self) -> None:
        try:
            self._keys = parse_keys(await asyncio.to_thread(self._fetch, self._url, self._tls))
        except (OSError, http.client.HTTPException, JwksError, ValueError) as error:
            log.warning("the issuer's keys cannot be fetched", url=self._url, why=str(error))
        else:
            self._fetched = self._clock()
            log.info("the issuer's keys", url=self._url, ids=sorted(self._keys))
        finally:
            self._fetching = None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The keys come from the address of the settings and from no other."""

    def redirect_request(self, *_: Any) -> None:
        """Follows nothing; the answer is then an error."""
        return


def fetch_keys(url: str, tls: ssl.SSLContext) -> bytes:
    """What `url` (http or https) answers. OSError if it does not, JwksError if it is too long."""
    handlers = [urllib.request.HTTPSHandler(context=tls), _NoRedirect()]
    if url.startswith("http:"):  # on loopback, which no proxy reaches
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    with opener.open(url, timeout=FETCH_TIMEOUT) as response:
        content: bytes = response.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise JwksError(f"it has more than {MAX_BYTES} bytes")
    return content
