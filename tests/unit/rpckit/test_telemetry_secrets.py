"""What a traceback or a library knows of a prompt stays out of the log, in each format."""

import subprocess
import sys

import pytest

CANARY = "zebrafish-quilt-7391"
PROGRAM = """
import logging, sys
from rpckit.settings import LogSettings
from rpckit.telemetry import configure_logging, logger

configure_logging(LogSettings(format=sys.argv[1], level="debug"))

def fail(prompt):
    raise RuntimeError("broken")

try:
    fail("-".join(["zebrafish", "quilt", "7391"]))
except RuntimeError:
    logger("gateway.test").exception("it failed")
    logging.getLogger("a_library").exception("theirs failed")
logger("gateway.test").debug("our own detail")
logging.getLogger("a_library").debug("sends zebrafish-quilt-7391")
logging.getLogger("a_library").info("sent something")
"""


@pytest.mark.parametrize("style", ["json", "console"])
def test_local_variables_and_the_debug_lines_of_libraries_are_not_logged(style):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, style], capture_output=True, text=True, check=True
    )
    assert CANARY not in done.stdout + done.stderr
    for shown in ("it failed", "theirs failed", "our own detail", "sent something", "broken"):
        assert shown in done.stderr
