"""Garbage in cycles is looked for seldom, and still found."""

import subprocess
import sys

PROGRAM = """
import gc, weakref
from gateway.garbage import YOUNG, collect_less_often

class Node:
    pass

kept = [Node() for _ in range(1000)]
collect_less_often()
assert gc.get_freeze_count() > 1000
assert not any(isinstance(thing, Node) for thing in gc.get_objects())
looks = sum(generation["collections"] for generation in gc.get_stats())
node = Node()
node.itself = node
left = weakref.ref(node)
del node
made = []
while left() is not None:
    made.append([])
print(len(made) <= YOUNG + 100, sum(g["collections"] for g in gc.get_stats()) - looks)
"""


def test_cycles_are_found_after_so_many_new_objects():
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    assert found.stdout.split() == ["True", "1"]
