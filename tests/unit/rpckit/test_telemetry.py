"""Logs: one JSON object a line, with the render's id, and no local variables."""

import json
import subprocess
import sys

PROGRAM = """
import structlog
from rpckit.settings import LogSettings
from rpckit.telemetry import configure_logging, logger

configure_logging(LogSettings(format="json"))

def fail(prompt):
    raise RuntimeError("broken")

with structlog.contextvars.bound_contextvars(render_id="r-1"):
    try:
        fail("a secret harbour")
    except RuntimeError:
        logger("test").exception("it failed", scene=3)
"""


def test_a_traceback_is_logged_without_local_variables():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    (line,) = done.stderr.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["render_id"], entry["scene"]) == ("it failed", "r-1", 3)
    assert entry["exception"][0]["exc_value"] == "broken"
    assert entry["exception"][0]["frames"][-1]["name"] == "fail"
    assert "a secret harbour" not in line.replace('fail(\\"a secret harbour\\")', "")
    assert done.stdout == ""
