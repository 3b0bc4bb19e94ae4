from datetime import timedelta
from itertools import product

import pytest

from gateway.jobs.states import (
    ENDED,
    LONGEST_BACKOFF,
    LONGEST_RETRY_AFTER,
    MAX_FAILURES,
    TRANSITIONS,
    Change,
    IllegalChange,
    RenderState,
    Verdict,
    after,
    backoff,
    before,
    judge,
)


def test_nothing_follows_an_end():
    assert {RenderState.SUCCEEDED, RenderState.FAILED, RenderState.CANCELLED} == ENDED
    for state, change in product(ENDED, Change):
        assert state.ended
        with pytest.raises(IllegalChange):
            after(state, change)


def test_every_state_but_the_first_is_reached_and_every_change_happens():
    assert set(TRANSITIONS.values()) == set(RenderState)
    assert {change for _, change in TRANSITIONS} == set(Change)


def test_only_a_running_render_can_succeed_fail_or_be_handed_back():
    for change in (Change.SUCCEED, Change.FAIL, Change.RETRY, Change.RELEASE):
        assert before(change) == {RenderState.RUNNING}
    for change in (Change.CANCEL, Change.CLAIM):
        assert before(change) == {RenderState.QUEUED, RenderState.RUNNING}


def test_an_error_that_cannot_pass_fails_a_render_at_once():
    for progressed in (True, False):
        assert judge(0, progressed=progressed, transient=False).change is Change.FAIL


def test_five_attempts_that_get_no_further_are_all():
    failures = 0
    changes = []
    for _ in range(MAX_FAILURES):
        verdict = judge(failures, progressed=False, transient=True)
        failures = verdict.failures
        changes.append(verdict.change)
    assert changes == [Change.RETRY] * 4 + [Change.FAIL]


def test_an_attempt_that_got_further_does_not_count():
    for failures in range(MAX_FAILURES):
        verdict = judge(failures, progressed=True, transient=True)
        assert verdict.change is Change.RETRY
        assert verdict.failures == failures


def test_what_others_say_of_themselves_never_counts():
    for failures in range(MAX_FAILURES):
        verdict = judge(failures, progressed=False, transient=True, counts=False)
        assert verdict == Verdict(Change.RETRY, failures, backoff(failures))


def test_the_wait_grows_up_to_a_bound():
    waits = [backoff(failures).total_seconds() for failures in range(6)]
    assert waits == [2, 2, 10, 50, 250, 300]
    assert backoff(10_000) == LONGEST_BACKOFF


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (timedelta(seconds=90), timedelta(seconds=90)),
        (timedelta(0), timedelta(0)),
        (timedelta(seconds=-5), timedelta(0)),
        (timedelta(days=30), LONGEST_RETRY_AFTER),
    ],
)
def test_the_wait_that_a_service_asks_for_wins(asked, given):
    verdict = judge(1, progressed=False, transient=True, retry_after=asked)
    assert verdict == Verdict(Change.RETRY, 2, given)
