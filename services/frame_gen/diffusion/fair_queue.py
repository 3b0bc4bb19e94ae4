"""Which items take the next denoising step together: fair between renders, then by deadline.

Pure: no clock, no threads, no torch. Items whose latents can be packed share a
key. For each key a limited number of rows are held by items, the *places*:

- An item keeps its place until it leaves, so that items finish one after the
  other instead of all at the end.
- A free place goes to the render that holds the fewest, then to the item that
  is due first. An item is due at its deadline, or `patience` after it came if
  that is earlier: so whatever comes later than that stands behind it, and
  nothing waits forever behind a stream of urgent newcomers.
- A render without a place takes one at once from a render with two or more:
  there the item that came to its place last waits again. What it has done is
  kept by its owner.

Keys take turns by the work they had per render (virtual time as in weighted
fair queueing: Demers, Keshav and Shenker, 1989).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Entry:
    id: int
    render: Hashable
    rows: int
    work: float
    due: float
    order: int


class _Lane:
    """The items of one key."""

    def __init__(self, charge: float) -> None:
        self.charge = charge
        self.waiting: dict[int, _Entry] = {}
        self.placed: dict[int, _Entry] = {}
        """In the order in which they came to their places."""

    def __len__(self) -> int:
        return len(self.waiting) + len(self.placed)

    def fill(self, capacity: int) -> None:
        """Gives out free places, and takes some from renders that hold several."""
        while self.waiting:
            held = Counter(entry.render for entry in self.placed.values())
            first = min(self.waiting.values(), key=lambda e: (held[e.render], e.due, e.order))
            free = capacity - sum(entry.rows for entry in self.placed.values())
            if first.rows > free and not held[first.render] and self.placed:
                free += self._make_room(first.rows - free)
            if first.rows > free and self.placed:
                return
            self.placed[first.id] = self.waiting.pop(first.id)

    def _make_room(self, rows: int) -> int:
        """Takes places from renders with two or more until `rows` are free, or none at all."""
        held = Counter(entry.render for entry in self.placed.values())
        freed: list[_Entry] = []
        while sum(entry.rows for entry in freed) < rows:
            most = max(held.values())
            if most < 2:
                return 0
            latest = reversed(self.placed.values())
            victim = next(e for e in latest if held[e.render] == most and e not in freed)
            held[victim.render] -= 1
            freed.append(victim)
        for victim in freed:
            self.waiting[victim.id] = self.placed.pop(victim.id)
        return sum(entry.rows for entry in freed)

    def work_per_render(self) -> float:
        """Work of one step of the placed items, over the renders that share it."""
        renders = {e.render for e in (*self.placed.values(), *self.waiting.values())}
        return sum(e.rows * e.work for e in self.placed.values()) / len(renders)


class FairQueue:
    """The items that are waiting for steps or taking them."""

    def __init__(self, capacity: int, *, patience: float = 30.0) -> None:
        """At most `capacity` rows of a key step together; `patience` is in seconds.

        An item with more rows than `capacity` steps alone.
        """
        self._capacity = capacity
        self._patience = patience
        self._lanes: dict[Hashable, _Lane] = {}
        self._keys: dict[int, Hashable] = {}
        self._arrivals = 0
        self._current: Hashable = None
        self._lingered = 0

    def __len__(self) -> int:
        """Number of items."""
        return len(self._keys)

    def __contains__(self, item: object) -> bool:
        return item in self._keys

    def add(
        self,
        item: int,
        *,
        key: Hashable,
        render: Hashable,
        rows: int,
        now: float,
        deadline: float | None = None,
        work: float = 1.0,
    ) -> None:
        """Puts an item in; `work` is that of one row's step, in any unit.

        Raises:
            ValueError: the item is already in.
        """
        if item in self._keys:
            raise ValueError(f"item {item} is already in the queue")
        due = now + self._patience if deadline is None else min(deadline, now + self._patience)
        if key not in self._lanes:
            # A key that comes back has no credit from the time when it had nothing to do.
            charge = min((lane.charge for lane in self._lanes.values()), default=0.0)
            self._lanes[key] = _Lane(charge)
        self._lanes[key].waiting[item] = _Entry(item, render, rows, work, due, self._arrivals)
        self._keys[item] = key
        self._arrivals += 1

    def remove(self, item: int) -> bool:
        """Takes an item out, wherever it is; whether it was in."""
        if item not in self._keys:
            return False
        key = self._keys.pop(item)
        lane = self._lanes[key]
        lane.waiting.pop(item, None)
        lane.placed.pop(item, None)
        if not lane:
            del self._lanes[key]
        return True

    def turn(self, *, linger: int = 1) -> list[int]:
        """The items that step together now; empty only if there are none.

        A key keeps its turn for `linger` calls, for devices on which a change
        of model is dear.
        """
        if not self._lanes:
            return []
        self._lingered += 1
        if self._current not in self._lanes or self._lingered >= linger:
            self._lingered = 0
            self._current = min(self._lanes, key=lambda key: self._lanes[key].charge)
        lane = self._lanes[self._current]
        lane.fill(self._capacity)
        lane.charge += lane.work_per_render()
        return list(lane.placed)

    def positions(self) -> dict[int, int]:
        """For each item that holds no place, how many of its key are to get one before it.

        An estimate: what comes and what leaves changes it.
        """
        result: dict[int, int] = {}
        for lane in self._lanes.values():
            line = sorted(lane.waiting.values(), key=lambda e: (e.due, e.order))
            result.update({entry.id: place for place, entry in enumerate(line)})
        return result
