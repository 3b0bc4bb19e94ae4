"""How a command fails: what it prints, and its exit status.

0 done; 1 failed; 2 the command line, a storyboard or the request is wrong;
128 + n ended by signal n, so 130 after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

from gator_client.cli.documents import print_document
from gator_client.cli.running import InterruptionError
from gator_client.cli.wording import for_command, say
from gator_client.errors import FieldViolation, InvalidRequestError, RenderError, StoryboardError


@contextlib.contextmanager
def failing(
    *, as_json: bool = False, interrupted: Callable[[], str] = lambda: "Cancelled."
) -> Iterator[None]:
    """Turns errors into a message on stderr and an exit status.

    With `as_json` the error is also one JSON document on stdout, always with the
    same keys. `interrupted` says how things stand after a command that a signal ended.
    """
    try:
        yield
    except (KeyboardInterrupt, InterruptionError) as error:
        status = error.exit_status if isinstance(error, InterruptionError) else 130
        _fail(_error(interrupted(), "CANCELLED"), status, as_json=as_json)
    except StoryboardError as error:
        _fail(_of_storyboard(error), 2, as_json=as_json)
    except RenderError as error:
        status = 2 if isinstance(error, InvalidRequestError) else 1
        _fail(error, status, as_json=as_json)
    except BrokenPipeError:
        # Who read the video went away: not worth a message. Python would complain
        # once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except OSError as error:
        _fail(_error(os_message(error), "FILE"), 1, as_json=as_json)


def _fail(error: RenderError, status: int, *, as_json: bool) -> NoReturn:
    if as_json:
        print_document({"error": _document(error)})
    console = Console(stderr=True, highlight=False)
    if error.reason == "CANCELLED" and not error.advice:
        say(console, Text(error.message))
        raise typer.Exit(status) from None
    say(console, Text.assemble(("Error: ", "bold red"), for_command(_message(error))))
    if error.advice and not _attempts(error):  # each attempt says what to do about it
        say(console, Text.assemble(("What to do: ", "bold"), error.advice))
    raise typer.Exit(status) from None


def _message(error: RenderError) -> str:
    """What happened, one line for each thing."""
    message = error.message
    if error.reason == "INVALID_STORYBOARD":
        return "the storyboard cannot be used:\n" + textwrap.indent(message, "  ")
    if len(error.violations) > 1:
        lines = "\n".join(f"  {v.field}: {v.description}" for v in error.violations)
        left_out = int(error.metadata.get("violations_left_out", 0))
        more = f"\n  and {left_out} more" if left_out else ""
        return f"{len(error.violations) + left_out} values cannot be used:\n{lines}{more}"
    for name in _attempts(error):
        message = re.sub(rf"[.;] {re.escape(name)}: ", f"\n  {name.lower()}: ", message, count=1)
    return message


def _attempts(error: RenderError) -> list[str]:
    """The backends that were tried for a frame and failed."""
    return [name for name in error.metadata.get("backends", "").split(",") if name]


def _document(error: RenderError) -> dict[str, object]:
    return {
        "code": error.code,
        "reason": error.reason,
        "message": error.message,
        "advice": error.advice,
        "violations": [{"field": v.field, "description": v.description} for v in error.violations],
        "retry_after": error.retry_after,
        "metadata": error.metadata,
    }


def _error(message: str, reason: str) -> RenderError:
    return RenderError(message, code="CANCELLED" if reason == "CANCELLED" else "", reason=reason)


def _of_storyboard(error: StoryboardError) -> RenderError:
    # Each line says where it is, which a field's path alone does not.
    return RenderError(
        str(error),
        code="INVALID_ARGUMENT",
        reason="INVALID_STORYBOARD",
        violations=[FieldViolation(p.key, p.message) for p in error.problems],
    )


def os_message(error: OSError) -> str:
    """What went wrong with which file, and what to do."""
    if isinstance(error, FileNotFoundError) and error.filename:
        folder = Path(error.filename).parent
        if not folder.is_dir():
            return f"there is no folder {folder}; make it, or name another file"
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
