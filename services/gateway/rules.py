"""How one value of a request is judged: kept, replaced with a warning, or refused."""

from __future__ import annotations

import math
from enum import Enum
from fractions import Fraction
from typing import TypeVar

from gateway.prompts import BIDI_CONTROLS, control_character, normalized
from gateway.request import RenderWarning
from rpckit.errors import FieldViolation

E = TypeVar("E", bound=Enum)
N = TypeVar("N", int, float, Fraction)


class Rules:
    """Judges the values of one request and collects what there is to say about them."""

    def __init__(self, *, strict: bool) -> None:
        """`strict` refuses what would otherwise be replaced."""
        self._strict = strict
        self.warnings: list[RenderWarning] = []
        """Values that were replaced."""
        self.violations: list[FieldViolation] = []
        """Values that cannot be used."""

    def refuse(self, field: str, description: str) -> None:
        """Notes that `field` cannot be used."""
        self.violations.append(FieldViolation(field, description))

    def number(self, field: str, asked: N | None, bounds: tuple[N, N], default: N) -> N:
        """`asked` moved into `bounds`; `default` where it is unset or not finite."""
        low, high = bounds
        if asked is None:
            return default
        if not math.isfinite(asked):
            self._replace(field, str(asked), _text(default), "it is not a finite number")
            return default
        if low <= asked <= high:
            return asked
        applied = max(low, min(high, asked))
        reason = f"it must be from {_text(low)} to {_text(high)}"
        self._replace(field, _text(asked), _text(applied), reason)
        return applied

    def enum(self, field: str, asked: int, kind: type[E], default: E) -> E:
        """The member of `kind` with the number `asked`; `default` for 0 and unknown numbers."""
        if asked == 0:
            return default
        known = {member.value: member for member in kind}
        if asked in known:
            return known[asked]
        names = ", ".join(f"{member.value} {member.name}" for member in kind)
        self._replace(field, str(asked), default.name, f"it must be one of {names}")
        return default

    def text(self, field: str, asked: str, max_characters: int) -> str:
        """`asked` in normal form; too long a text and control characters are refused."""
        if control := control_character(asked):
            self.refuse(field, f"has the control character {control}; remove it")
        text = normalized(asked)
        if len(text) > max_characters:
            self.refuse(field, f"has {len(text)} characters; at most {max_characters} are allowed")
        if removed := len(BIDI_CONTROLS.findall(asked)):
            reason = "characters that change the direction of text are removed"
            self._replace(field, f"{removed} of them", "0 of them", reason)
        return text

    def _replace(self, field: str, asked: str, applied: str, reason: str) -> None:
        if self._strict:
            self.refuse(field, f"is {asked}: {reason}")
        else:
            self.warnings.append(RenderWarning(field, asked, applied, reason))


def _text(number: float | Fraction) -> str:
    """A number as people write it; fractions are seconds, to the millisecond."""
    return f"{float(number):.6g}"
