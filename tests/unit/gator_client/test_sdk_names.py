"""What the package exports, and what importing it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import gator_client


def test_every_name_can_be_imported():
    assert all(getattr(gator_client, name) is not None for name in gator_client.__all__)
    assert dir(gator_client) == sorted(gator_client.__all__)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(gator_client.__file__).read_text())
    imported = {
        f"{node.module}.{alias.name}"
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        for alias in node.names
    }
    modules = gator_client._MODULES.items()
    assert imported == {f"gator_client.{m}.{name}" for m, names in modules for name in names}
    assert {name.rpartition(".")[2] for name in imported} == set(gator_client.__all__)


def test_the_sdk_needs_nothing_of_the_services():
    code = (
        "import sys, gator_client\n"
        "assert 'grpc' not in sys.modules\n"
        "gator_client.Client, gator_client.AsyncClient, gator_client.PRESETS\n"
        "found = {'numpy', 'yaml', 'pydantic', 'typer', 'rich', 'rpckit', 'standalone'}\n"
        "found &= set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
