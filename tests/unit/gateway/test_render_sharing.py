from gateway.jobs.store.sharing import Waiting, shares


def waiting(owner, count, *, priority=2, oldest=0, lost=False):
    return Waiting(priority, owner, lost, count, oldest)


def taken(groups, running, limit):
    """How many of each owner."""
    given = {}
    for group, count in shares(groups, running, limit):
        given[group.owner] = given.get(group.owner, 0) + count
    return given


def test_owners_take_turns_however_many_one_has_waiting():
    groups = [waiting("many", 1000, oldest=1), waiting("few", 2, oldest=2)]
    assert taken(groups, {}, 4) == {"many": 2, "few": 2}


def test_what_runs_already_counts():
    groups = [waiting("busy", 5, oldest=1), waiting("idle", 5, oldest=2)]
    assert taken(groups, {"busy": 3}, 3) == {"idle": 3}
    assert taken(groups, {"busy": 3}, 5) == {"idle": 4, "busy": 1}


def test_interactive_renders_come_before_batch_ones_of_anybody():
    groups = [
        waiting("idle", 5, priority=2),
        waiting("busy", 2, priority=1),
    ]
    assert taken(groups, {"busy": 9}, 3) == {"busy": 2, "idle": 1}


def test_between_equals_the_one_that_waits_longest_is_first():
    groups = [waiting("late", 1, oldest=9), waiting("early", 1, oldest=3)]
    assert shares(groups, {}, 1) == [(groups[1], 1)]


def test_lost_renders_of_an_owner_stand_in_its_line():
    lost = waiting("ada", 1, lost=True, oldest=1)
    groups = [waiting("ada", 3, oldest=5), lost]
    assert shares(groups, {}, 1) == [(lost, 1)]
    assert sum(count for _, count in shares(groups, {}, 9)) == 4


def test_no_more_than_there_are():
    assert shares([], {"ada": 1}, 5) == []
    assert taken([waiting("ada", 2)], {}, 10) == {"ada": 2}
    assert taken([waiting("ada", 2)], {}, 0) == {}
