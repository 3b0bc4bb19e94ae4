"""Settings of the environment that the services cannot use, told as an error."""

from __future__ import annotations

import os
import re

from gator_client.errors import FieldViolation, RenderError

_LIBRARIES = ("pydantic_core", "pydantic_settings")


def bad_settings(error: ValueError) -> RenderError | None:
    """The error for settings that were refused; None for any other error.

    No value is shown: it may be a secret.
    """
    if type(error).__module__.partition(".")[0] not in _LIBRARIES:
        return None
    from pydantic import ValidationError  # noqa: PLC0415 - comes with the services

    if isinstance(error, ValidationError):
        violations = [
            FieldViolation(_variable(".".join(map(str, item["loc"]))), _reason(item["msg"]))
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    else:
        field = re.search(r'field "(\w+)"', str(error))
        name = _variable(field[1]) if field else ""
        violations = [FieldViolation(name, f"is no JSON: {error.__cause__ or 'it cannot be read'}")]
    told = "; ".join(
        f"{v.field}: {v.description}" if v.field else v.description for v in violations
    )
    return RenderError(
        f"a setting of the environment cannot be used: {told}",
        code="INVALID_ARGUMENT",
        reason="SETTINGS",
        violations=violations,
    )


def _variable(path: str) -> str:
    """The variable that set the field; the field where that is not clear."""
    ending = f"_{path.partition('.')[0]}".upper()
    known = [
        name
        for name in os.environ
        if name.upper().startswith("GATOR_") and name.upper().endswith(ending)
    ]
    return known[0] if len(known) == 1 else path


def _reason(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
