"""Tokens of clients: a file that lists some, and an issuer of JWTs with an address for its keys."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://login.example"
AUDIENCE = "gator"


def entry(token: str, name: str, owner: str, **more: object) -> str:
    """The lines of one token in a token file."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    lines = [f'name = "{name}"', f'owner = "{owner}"', f'sha256 = "{digest}"']
    lines += [f"{key} = {value}" for key, value in more.items()]
    return "\n".join(["[[token]]", *lines, ""])


def token_file(file: Path, **tokens: str) -> Path:
    """A file that knows `owner=token` pairs."""
    text = "\n".join(entry(token, owner, owner) for owner, token in tokens.items())
    return replaced(file, text)


def replaced(file: Path, text: str) -> Path:
    """Another file of that name. One written anew at once may be as long and no later."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    return new.replace(file)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that shows `token`."""
    return (("authorization", f"Bearer {token}"),)


class Issuer:
    """Makes JWTs. Keys are ES256 unless said."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, object]] = {}
        self.add("k1")

    def add(self, key_id: str, algorithm: str = "ES256") -> None:
        """A new key, which is used from now on."""
        make = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "PS256": lambda: rsa.generate_private_key(65537, 2048),
        }
        self._keys[key_id] = (algorithm, make[algorithm]())
        self.newest = key_id

    def remove(self, key_id: str) -> None:
        """Shows the key no more."""
        del self._keys[key_id]

    def key_set(self, **more: object) -> str:
        """The public keys as a JWK set; `more` goes into each key."""
        keys = []
        for key_id, (algorithm, key) in self._keys.items():
            kind = {"E": ECAlgorithm, "R": RSAAlgorithm, "P": RSAAlgorithm}[algorithm[0]]
            kind = OKPAlgorithm if algorithm == "EdDSA" else kind
            keys.append({**kind.to_jwk(key.public_key(), as_dict=True), "kid": key_id, **more})
        return json.dumps({"keys": keys})

    def token(self, owner: str = "ada", headers: dict | None = None, **claims: object) -> str:
        """A token that is good for a minute but for `claims`.

        None leaves a claim out; a timedelta is counted from now.
        """
        algorithm, key = self._keys[self.newest]
        now = int(time.time())
        whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": owner, "iat": now, "exp": now + 60}
        for name, value in claims.items():
            since = isinstance(value, timedelta)
            whole[name] = now + int(value.total_seconds()) if since else value
        whole = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(whole, key, algorithm, headers={"kid": self.newest} | (headers or {}))


class KeyServer:
    """Answers with `content`, and counts how often."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        self.url = ""


@contextmanager
def serving_keys(content: str, tls: ssl.SSLContext | None = None) -> Iterator[KeyServer]:
    """A KeyServer on loopback, in a thread."""
    state = KeyServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            body = state.content.encode()
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        scheme = "http" if tls is None else "https"
        state.url = f"{scheme}://127.0.0.1:{server.server_port}/keys"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
