"""For all tests: nothing is kept where a user's programs keep theirs."""

import hypothesis
import pytest

# Hypothesis' own for machines that test: no limits on time, the same examples at each run.
hypothesis.settings.load_profile("ci")


@pytest.fixture(scope="session", autouse=True)
def _no_state_of_the_users(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
