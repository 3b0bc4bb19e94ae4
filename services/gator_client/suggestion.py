"""The nearest known word to one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest of `known`, if one is near."""
    near = difflib.get_close_matches(word, [str(name) for name in known], n=1)
    return f"; did you mean {near[0]}?" if near else ""
