"""Pieces of Markdown, as GitHub reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are Markdown of one line."""
    lines = [_row(head), "|" + "---|" * len(head), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def text(words: str) -> str:
    """Plain text, in which `code` may stand, so that nothing else in it is taken for Markdown."""
    parts = re.split(r"(`[^`]*`)", words)
    parts[::2] = [re.sub(r"([*|\\])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    parts[1::2] = [part.replace("|", r"\|") for part in parts[1::2]]
    return "".join(parts)


def cell(words: str) -> str:
    """Text of any number of lines and paragraphs as that of a table's cell."""
    return text(" ".join(words.split()))


def anchor(heading: str) -> str:
    """The fragment by which GitHub links to a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")


def first_sentence(words: str) -> str:
    """What stands before the first full stop or colon that ends a clause, on one line."""
    line = " ".join(words.split())
    return re.split(r"(?<=[.:]) ", line, maxsplit=1)[0].rstrip(":").rstrip(".") + "."
