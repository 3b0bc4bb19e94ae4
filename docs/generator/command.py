"""The reference of the `gator` command, as typer writes it from its options and help texts."""

from __future__ import annotations

import html
import re
import subprocess
import sys

import typer
from typer.core import TyperGroup

from docs.generator.markdown import anchor, cell, first_sentence
from gator_client.cli.app import app


def page() -> str:
    """The page: typer's, with examples as code and with links to the commands."""
    program = [sys.executable, "-m", "typer", "gator_client.cli.app", "utils", "docs"]
    made = subprocess.run(  # noqa: S603 - ours
        [*program, "--name", "gator"], check=True, capture_output=True, text=True
    )
    lines = html.unescape(made.stdout).splitlines()
    out: list[str] = []
    path: list[str] = []
    fenced = False
    for line in lines:
        fenced ^= line.startswith("```")
        if heading := re.fullmatch(r"#+ `(.+)`", line):
            path = heading[1].split()
        if fenced:
            out.append(line)
        elif re.match(r" *(GATOR_\w+=\S+ )?gator ", line):
            out.append(f"```console\n$ {line.strip()}\n```")
        elif listed := re.match(r"\* `([a-z][a-z-]*)`: ", line):
            out.append(_listed([*path, listed[1]]))
        else:
            out.append(line)
    text = "\n".join(out)
    return re.sub(r"\n```\n\n```console\n(?=\$ )", "\n", text).strip() + "\n"


def _listed(path: list[str]) -> str:
    """A line of the list of commands."""
    command = typer.main.get_command(app)
    for name in path[1:]:
        assert isinstance(command, TyperGroup)  # noqa: S101 - it has commands
        command = command.commands[name]
    name = " ".join(path)
    return f"* [`{name}`](#{anchor(name)}): {cell(first_sentence(command.help or ''))}"
