"""The planning model: what is added up, and what is simulated."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy/planning/capacity.py"
_spec = importlib.util.spec_from_file_location("capacity", SCRIPT)
capacity = importlib.util.module_from_spec(_spec)
sys.modules["capacity"] = capacity
_spec.loader.exec_module(capacity)
COST = capacity.Cost()


def test_work_grows_with_renders_and_scenes():
    one = capacity.demand(capacity.Load(1_000), COST)
    ten = capacity.demand(capacity.Load(10_000), COST)
    assert ten.gpus_busy == pytest.approx(10 * one.gpus_busy)
    assert one.gpus_busy == pytest.approx(1_000 * 4 / 3_600 * COST.gpu_seconds_per_frame)
    eight = capacity.demand(capacity.Load(1_000, scenes=8), COST)
    assert eight.compositor_cores == pytest.approx(2 * one.compositor_cores)


def test_reuse_saves_gpus_and_not_coding():
    fresh = capacity.demand(capacity.Load(1_000), COST)
    edited = capacity.demand(capacity.Load(1_000, reused=0.95), COST)
    assert edited.gpus_busy == pytest.approx(fresh.gpus_busy / 20)
    assert edited.compositor_cores == fresh.compositor_cores


def test_gpus_are_at_least_those_that_are_busy_in_a_burst():
    for size in (10, 1_000, 20_000):
        load = capacity.Load(size)
        busy = capacity.demand(load, COST).gpus_busy * load.burst
        found = capacity.gpus_for(load, COST)
        assert busy * 0.9 <= found <= busy * 2 + 4


def test_one_more_gpu_never_makes_anyone_wait_longer():
    arrivals = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.5, 9.0]
    waits = [capacity._wait_of_95(arrivals, gpus, 2.0) for gpus in range(1, 9)]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] == 9.5
    assert waits[-1] == 0.0


def test_the_script_tells_what_is_scarce():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.count("renders an hour") == 3
    assert "database transactions" in done.stdout
    assert "scarcest first" in done.stdout
