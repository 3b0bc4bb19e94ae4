"""How a render is queued and found again: what a client says of it beside what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.jobs.records import Priority
from gateway.prompts import control_character
from gateway.request import RenderAsked
from gateway.rules import Rules

MAX_REQUEST_ID = 128
"""Characters."""
MAX_LABELS = 32
MAX_LABEL_KEY = 63
"""Characters."""
MAX_LABEL_VALUE = 255
"""Characters."""


@dataclass(frozen=True)
class Handling:
    """How a render is queued and found again."""

    priority: Priority
    request_id: str = ""
    """Makes creating it safe to repeat; empty where the client gave none."""
    labels: Mapping[str, str] = field(default_factory=dict)


def judged(rules: Rules, asked: RenderAsked, default_priority: Priority) -> Handling:
    """How `asked` is queued; what cannot be used is noted in `rules`."""
    check_request_id(rules, asked.request_id)
    check_labels(rules, asked.labels)
    priority = rules.enum("priority", asked.priority, Priority, default_priority)
    return Handling(priority, asked.request_id, dict(asked.labels))


def check_request_id(rules: Rules, request_id: str) -> None:
    """Refuses one that cannot be used."""
    _check_text(rules, "request_id", request_id, MAX_REQUEST_ID)


def check_labels(rules: Rules, labels: Mapping[str, str]) -> None:
    """Refuses those that cannot be used."""
    if len(labels) > MAX_LABELS:
        rules.refuse("labels", f"has {len(labels)} pairs; at most {MAX_LABELS} are allowed")
        return
    for key, value in labels.items():
        if not key:
            rules.refuse("labels", "has an empty key")
        _check_text(rules, f"labels[{key[:MAX_LABEL_KEY]}]", key, MAX_LABEL_KEY)
        _check_text(rules, f"labels[{key[:MAX_LABEL_KEY]}]", value, MAX_LABEL_VALUE)


def _check_text(rules: Rules, field_name: str, text: str, max_characters: int) -> None:
    if len(text) > max_characters:
        rules.refuse(
            field_name, f"has {len(text)} characters; at most {max_characters} are allowed"
        )
    if control := control_character(text):
        rules.refuse(field_name, f"has the control character {control}; remove it")
