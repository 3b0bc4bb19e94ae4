"""For all tests: nothing is kept where a user's programs keep theirs, or painted as for one."""

import os
import signal

import hypothesis
import pytest

# By these a machine that builds claims a terminal. They are read when typer is imported.
for _name in ("CLICOLOR_FORCE", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE"):
    os.environ.pop(_name, None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a shell. What tests start, and stop by Ctrl-C, would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Hypothesis' own for machines that test: no limits on time, the same examples at each run.
hypothesis.settings.load_profile("ci")


@pytest.fixture(scope="session", autouse=True)
def _no_state_of_the_users(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
