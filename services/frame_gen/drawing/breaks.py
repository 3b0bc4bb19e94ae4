"""Where a line may end: the part of Unicode line breaking (UAX #14) that prompts need."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import regex

SPACE = "SP"
_WORD = "AL"
_END = "end"
_CLASSES = {
    SPACE: r"[\p{LB=SP}\p{LB=ZW}\t]",
    "OP": r"\p{LB=OP}",
    "CL": r"[\p{LB=CL}\p{LB=CP}\p{LB=EX}\p{LB=IS}\p{LB=NS}\p{LB=CJ}]",
    "QU": r"\p{LB=QU}",
    "GL": r"[\p{LB=GL}\p{LB=WJ}]",
    "HY": r"[\p{LB=HY}\p{LB=BA}\p{LB=SY}]",
    "B2": r"\p{LB=B2}",
    "ID": r"[\p{LB=ID}\p{LB=EB}\p{LB=EM}\p{LB=RI}]",
    "NU": r"\p{LB=NU}",
    "SA": r"\p{LB=SA}",
}
_PATTERN = regex.compile("|".join(f"(?P<{name}>{chars})" for name, chars in _CLASSES.items()))


def break_after(clusters: Sequence[str]) -> list[bool]:
    """Whether a line may end after each grapheme cluster.

    Korean breaks between words, as modern Korean does. Thai, Lao, Khmer and
    Burmese, which write no spaces, break between any two clusters: finding
    their words needs a dictionary.
    """
    kinds = [line_class(cluster[0]) for cluster in clusters]
    found = []
    last = _WORD  # what was before the spaces
    for one, other in pairwise([*kinds, _END]):
        found.append(other == _END or _breaks(last, one, other))
        last = last if one == SPACE else one
    return found


@cache
def line_class(character: str) -> str:
    """The class of a character: SPACE, or one of UAX #14's, some of them joined."""
    match = _PATTERN.match(character)
    return match.lastgroup or _WORD if match else _WORD


def _breaks(last: str, one: str, other: str) -> bool:
    if one == SPACE:
        return other != SPACE and last != "OP"
    if other in (SPACE, "CL", "QU", "HY") or "GL" in (one, other) or one in ("OP", "QU"):
        return False
    if one == "HY":  # after a letter a hyphen, after a space a minus sign
        return last in (_WORD, "NU") and other in (_WORD, "OP")
    if "B2" in (one, other):
        return one != other
    both = (one, other)
    return "ID" in both or (one == "CL" and other in ("OP", "SA")) or both == ("SA", "SA")
