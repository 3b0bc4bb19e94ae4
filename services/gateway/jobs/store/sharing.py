"""Whose renders are taken next. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Waiting:
    """Renders of an owner that may be taken, all of one priority."""

    priority: int
    """Lower is first."""
    owner: str
    lost: bool
    """Whether a worker that died had them."""
    count: int
    oldest: int
    """When the first of them was due."""


def shares(
    waiting: Iterable[Waiting], running: Mapping[str, int], limit: int
) -> list[tuple[Waiting, int]]:
    """How many renders to take from each of `waiting`, at most `limit` in all, best first.

    One render after the other goes to the highest priority there is, within that to the
    owner with the fewest running (those just given included), then to the one that waits
    longest.
    """
    running = Counter(running)
    heap = [(w.priority, running[w.owner], w.oldest, w) for w in waiting if w.count]
    heapq.heapify(heap)
    taken: dict[Waiting, int] = {}
    while heap and limit > 0:
        priority, seen, oldest, candidate = heapq.heappop(heap)
        now = running[candidate.owner]
        if now != seen:  # the owner was given some since
            heapq.heappush(heap, (priority, now, oldest, candidate))
            continue
        taken[candidate] = taken.get(candidate, 0) + 1
        running[candidate.owner] += 1
        limit -= 1
        if taken[candidate] < candidate.count:
            heapq.heappush(heap, (priority, now + 1, oldest, candidate))
    return list(taken.items())
