"""Whether there is room for one more render."""

from __future__ import annotations

import time

from sqlalchemy import BigInteger, ColumnElement, ScalarSelect, bindparam, func, literal, select

from gateway.jobs.records import Admission
from gateway.jobs.states import RenderState
from gateway.jobs.store.tables import in_state, renders
from gateway.jobs.store.work import Work
from gateway.quotas import RETRY_AFTER, quota_exceeded
from rpckit.errors import GatorError, Reason

QUOTA = "renders_per_owner"
"""Name of the bound on one owner's renders, in errors."""

_FRESH = 1.0
"""Seconds for which a count is good enough while a bound is far away."""
_NEAR = 256
"""From so many renders below a bound on, creations wait for each other: the bound is exact as
long as fewer of them are under way in all gateways together."""
_LOCK = select(func.pg_advisory_xact_lock(literal(0x6761746F72, BigInteger)))


def _counting(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(renders).where(*conditions).scalar_subquery()


_IS_OWNED = renders.c.owner == bindparam("the_owner")
# Two searches in two small indexes; `state IN (...)` would find neither.
_OWNED = _counting(in_state(RenderState.QUEUED), _IS_OWNED) + _counting(
    in_state(RenderState.RUNNING), _IS_OWNED
)
_COUNT_OWNED = select(_OWNED)
_COUNT = select(_counting(in_state(RenderState.QUEUED)), _OWNED)


class Gate:
    """Refuses renders above the bounds.

    Counting thousands of rows takes longer than adding one: it is done where a bound may be
    near, and once a second.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._counted = 0.0
        """When what follows was counted, by the monotonic clock."""
        self._seen: dict[str | None, int] = {}
        """As `Work.counts`, and what was added since."""

    def admit(self, work: Work, owner: str) -> None:
        """Raises GatorError OVERLOADED or QUOTA_EXCEEDED unless `owner` may create a render."""
        if self._is_far(owner):
            return
        queued, owned = _counts(work, owner)
        admission = self._admission
        near = queued + _NEAR >= admission.max_queued or owned + _NEAR >= admission.max_per_owner
        if near and work.dialect == "postgresql" and not work.alone:
            work.connection.execute(_LOCK)
            work.alone = True
            # What this transaction added itself is in the tables or was not counted yet.
            work.counts.clear()
            queued, owned = _counts(work, owner)
        if owned >= admission.max_per_owner:
            used = f"{owned} renders of this owner wait or run, as many as may be"
            advice = "wait for some to end"
            raise quota_exceeded(QUOTA, admission.max_per_owner, owner, used, advice)
        if queued >= admission.max_queued:
            raise GatorError(
                Reason.OVERLOADED,
                f"{queued} renders wait, as many as may be; try later",
                retry_after=RETRY_AFTER,
            )
        self._seen |= {None: queued, owner: owned}

    def admitted(self, work: Work, owner: str, renders: int = 1) -> None:
        """So many renders are created; fewer than none if some were not after all."""
        for counts in (work.counts, self._seen):
            for key in (None, owner):
                if key in counts:
                    counts[key] += renders

    def _is_far(self, owner: str) -> bool:
        """Whether both bounds are so far away that nobody can have come near in a second."""
        now = time.monotonic()
        if now > self._counted + _FRESH:
            self._counted = now
            self._seen.clear()
        bounds = {None: self._admission.max_queued, owner: self._admission.max_per_owner}
        return all(
            key in self._seen and self._seen[key] < min(bound // 2, bound - _NEAR)
            for key, bound in bounds.items()
        )


def _counts(work: Work, owner: str) -> tuple[int, int]:
    """How many renders wait, and how many of `owner` wait or run."""
    counts = work.counts
    if None not in counts:
        row = work.connection.execute(_COUNT, {"the_owner": owner}).one()
        counts[None], counts[owner] = row
    elif owner not in counts:
        counts[owner] = work.connection.execute(_COUNT_OWNED, {"the_owner": owner}).scalar_one()
    return counts[None], counts[owner]
