"""The queue of the step engine: nothing lost, nothing starved, nothing answered twice."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_gen.diffusion.fair_queue import FairQueue

CAPACITY = 6


def add(queue, item, *, render="a", key="k", rows=2, now=0.0, deadline=None, work=1.0):
    queue.add(item, key=key, render=render, rows=rows, now=now, deadline=deadline, work=work)


def test_a_late_item_joins_the_next_step():
    queue = FairQueue(CAPACITY)
    add(queue, 1)
    assert queue.turn() == [1]
    add(queue, 2, render="b", rows=1)
    assert queue.turn() == [1, 2]


def test_a_single_scene_takes_a_place_from_a_long_render_at_once():
    queue = FairQueue(CAPACITY)
    for item in range(60):
        add(queue, item, render="long")
    assert queue.turn() == [0, 1, 2]
    add(queue, 100, render="short", now=5.0)
    assert queue.turn() == [0, 1, 100]
    queue.remove(100)
    assert queue.turn() == [0, 1, 2], "the displaced item comes back first"


def test_renders_that_keep_coming_do_not_displace_each_other():
    queue = FairQueue(CAPACITY)
    for item in range(10):
        add(queue, item, render=f"r{item}", now=float(item))
    for _ in range(20):
        assert queue.turn() == [0, 1, 2]


def test_the_earliest_deadline_goes_first():
    queue = FairQueue(2)
    add(queue, 1, render="a", now=0.0, deadline=20.0)
    add(queue, 2, render="b", now=1.0, deadline=10.0)
    add(queue, 3, render="c", now=2.0)
    assert queue.turn() == [2]
    queue.remove(2)
    assert queue.turn() == [1]


def test_a_stream_of_urgent_newcomers_starves_nobody():
    queue = FairQueue(2, patience=30.0)
    add(queue, 0, render="patient", now=0.0, deadline=1000.0)
    now, urgent = 0.0, 1
    add(queue, urgent, render="u1", now=now, deadline=now + 1)
    while 0 not in queue.turn():
        queue.remove(urgent)
        now, urgent = now + 1, urgent + 1
        add(queue, urgent, render=f"u{urgent}", now=now, deadline=now + 1)
        assert now <= 31


def test_keys_take_turns_by_the_work_of_their_renders():
    queue = FairQueue(CAPACITY)
    for item in range(3):
        add(queue, item, key="small", render=f"r{item}", work=1.0)
    add(queue, 10, key="large", render="s", work=4.0)
    turns = Counter(tuple(queue.turn()) for _ in range(100))
    # A step of the three costs 2 a render, one of the large image costs 8.
    assert turns[(0, 1, 2)] == pytest.approx(80, abs=2)
    assert turns[(10,)] == pytest.approx(20, abs=2)


def test_a_key_lingers_where_a_change_of_model_is_dear():
    queue = FairQueue(CAPACITY)
    add(queue, 1, key="a")
    add(queue, 2, key="b")
    turns = [queue.turn(linger=4)[0] for _ in range(16)]
    assert turns == [1] * 4 + [2] * 4 + [1] * 4 + [2] * 4


def test_an_item_larger_than_the_capacity_steps_alone():
    queue = FairQueue(1)
    add(queue, 1, rows=2)
    add(queue, 2, rows=2, render="b")
    assert queue.turn() == [1]


def test_a_large_item_takes_no_place_that_does_not_suffice():
    queue = FairQueue(2)
    add(queue, 1, rows=1)
    add(queue, 2, rows=1)
    assert queue.turn() == [1, 2]
    add(queue, 3, rows=2, render="b")
    assert queue.turn() == [1, 2]
    queue.remove(1)
    assert queue.turn() == [2], "what is freed now is kept for the first in the line"
    queue.remove(2)
    assert queue.turn() == [3]


def test_positions_count_those_before():
    queue = FairQueue(2)
    for item in range(4):
        add(queue, item, render=f"r{item}", now=float(item))
    queue.turn()
    assert queue.positions() == {1: 0, 2: 1, 3: 2}


def test_an_item_is_in_once():
    queue = FairQueue(2)
    add(queue, 1)
    with pytest.raises(ValueError, match="already"):
        add(queue, 1)
    assert queue.remove(1)
    assert not queue.remove(1)
    assert queue.turn() == []


arrivals = st.tuples(
    st.just("arrive"),
    st.integers(0, 4),  # render
    st.sampled_from(["x", "y"]),
    st.integers(1, 2),  # rows
    st.integers(1, 5),  # steps
    st.one_of(st.none(), st.floats(0, 50)),
)
events = st.lists(
    st.one_of(
        arrivals,
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("fail"), st.integers(0, 30)),
        st.tuples(st.just("step")),
        st.tuples(st.just("wait"), st.floats(0, 20)),
    ),
    max_size=60,
)


@dataclass
class World:
    """Steps what the queue says, and keeps account of every item."""

    queue: FairQueue = field(default_factory=lambda: FairQueue(CAPACITY, patience=10.0))
    now: float = 0.0
    left: dict = field(default_factory=dict)
    about: dict = field(default_factory=dict)
    answers: Counter = field(default_factory=Counter)
    passed: Counter = field(default_factory=Counter)

    def arrive(self, render, key, rows, steps, deadline):
        item = len(self.about)
        self.left[item] = steps
        self.about[item] = (f"r{render}", key, rows)
        until = None if deadline is None else self.now + deadline
        add(self.queue, item, render=f"r{render}", key=key, rows=rows, now=self.now, deadline=until)

    def leave(self, item):
        if self.queue.remove(item):
            self.answers[item] += 1
            del self.left[item]

    def wait(self, seconds):
        self.now += seconds

    def step(self):
        self.now += 1
        turn = self.queue.turn()
        assert bool(turn) == bool(self.left), "work is done whenever there is any"
        assert len(turn) == len(set(turn))
        assert set(turn) <= set(self.left)
        self.check_packing(turn)
        for item in self.left:
            self.passed[item] += 1
        for item in turn:
            self.passed[item] = 0
            self.left[item] -= 1
            if not self.left[item]:
                self.leave(item)

    def check_packing(self, turn):
        keys = {self.about[item][1] for item in turn}
        assert len(keys) <= 1
        assert sum(self.about[item][2] for item in turn) <= CAPACITY
        held = Counter(self.about[item][0] for item in turn)
        without = [
            item
            for item in self.left
            if self.about[item][1] in keys and not held[self.about[item][0]]
        ]
        if without:
            assert max(held.values()) <= 2, "a render holds many places while another has none"


@settings(max_examples=150, deadline=None)
@given(events)
def test_every_item_is_answered_exactly_once(script):
    world = World()
    for name, *values in script:
        if name in ("cancel", "fail"):
            world.leave(values[0])
        else:
            getattr(world, name)(*values)
    bound = sum(world.left.values()) * 4 + 10
    while world.left:
        world.step()
        assert max(world.passed.values(), default=0) <= bound, "an item starves"
    assert world.answers == Counter(range(len(world.about)))
    assert len(world.queue) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=200, max_size=200))
def test_nothing_starves_while_urgent_items_never_stop_coming(newcomers):
    world = World()
    world.arrive(0, "x", 2, 3, None)
    for number, (deadline, other) in enumerate(newcomers):
        world.arrive(100 + number, "y" if other else "x", 2, 1, deadline)
        world.step()
        if 0 not in world.left:
            break
    assert 0 not in world.left
