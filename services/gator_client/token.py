"""The token by which a gateway knows its caller."""

from __future__ import annotations

import re
from pathlib import Path

from gator_client.target import on_loopback

Token = str | Path
"""The token itself, or a file that holds it; the file is read at each call."""

_TOKEN = re.compile(r"[\x21-\x7e]+")


def read_token(token: Token) -> str:
    """The token itself. OSError if its file cannot be read, ValueError if it can be none."""
    if isinstance(token, Path):
        text, place = token.read_text("utf-8").strip(), str(token)
    else:
        text, place = token.strip(), "the token"
    if not _TOKEN.fullmatch(text):  # what it is instead is not shown
        raise ValueError(f"{place} must be one word of ASCII characters")
    return text


def check_token(token: Token, target: str, *, tls: bool, in_clear: bool = False) -> None:
    """ValueError for a token that cannot be used with `target`."""
    if isinstance(token, str):
        read_token(token)
    if not (tls or in_clear or on_loopback(target)):
        raise ValueError(
            f"a token would travel to {target} in clear text, for others to read and use; "
            "connect by TLS"
        )
