"""How a command fails: what it prints, and its exit status.

0 done; 1 failed; 2 the command line, a storyboard or the request is wrong;
128 + n ended by signal n, so 130 after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.text import Text

from gator_client.cli.running import InterruptionError
from gator_client.cli.wording import say
from gator_client.errors import InvalidRequestError, RenderError, StoryboardError


@contextlib.contextmanager
def failing(*, as_json: bool = False) -> Iterator[None]:
    """Turns errors into a message on stderr and an exit status.

    With `as_json` the error is also one JSON document on stdout.
    """
    try:
        yield
    except (KeyboardInterrupt, InterruptionError) as error:
        status = error.exit_status if isinstance(error, InterruptionError) else 130
        _fail("Cancelled. Nothing was written.", "", status=status, as_json=as_json)
    except StoryboardError as error:
        lines = "\n".join(f"  {line}" for line in str(error).splitlines())
        _fail(f"The storyboard cannot be used:\n{lines}", "", status=2, as_json=as_json)
    except RenderError as error:
        _fail_render(error, as_json=as_json)
    except BrokenPipeError:
        # Who read the video went away: not worth a message. Python would complain
        # once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except OSError as error:
        _fail(_os_message(error), "", status=1, as_json=as_json)


def _fail_render(error: RenderError, *, as_json: bool) -> None:
    message = error.message
    if len(error.violations) > 1:
        message = "\n".join(f"  {v.field}: {v.description}" for v in error.violations)
        message = f"The request has {len(error.violations)} bad values:\n{message}"
    status = 2 if isinstance(error, InvalidRequestError) else 1
    details: dict[str, object] = {
        "code": error.code,
        "reason": error.reason,
        "message": error.message,
        "advice": error.advice,
        "violations": [{"field": v.field, "description": v.description} for v in error.violations],
        "retry_after": error.retry_after,
        "metadata": error.metadata,
    }
    _fail(message, error.advice, status=status, as_json=as_json, details=details)


def _fail(
    message: str,
    advice: str,
    *,
    status: int,
    as_json: bool,
    details: dict[str, object] | None = None,
) -> None:
    if as_json:
        typer.echo(json.dumps({"error": details or {"message": message}}, ensure_ascii=False))
    console = Console(stderr=True, highlight=False)
    say(console, Text.assemble(("Error: ", "bold red"), message))
    if advice:
        say(console, Text.assemble(("What to do: ", "bold"), advice))
    raise typer.Exit(status) from None


def _os_message(error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"There is no {error.filename}: does its folder exist?"
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else str(what)
