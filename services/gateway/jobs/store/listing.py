"""Pages of renders, newest first: each begins where the one before ended, whatever came since."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Row, Select, select, tuple_

from gateway.jobs.records import Page
from gateway.jobs.states import RenderState
from gateway.jobs.store.rows import RENDER, with_contents
from gateway.jobs.store.tables import in_state, labels, renders
from gateway.jobs.store.work import Work
from rpckit.errors import FieldViolation, invalid


def list_renders(
    work: Work,
    owner: str,
    states: Collection[RenderState],
    having: Mapping[str, str],
    page_size: int,
    page_token: str,
    max_bytes: int | None,
) -> Page:
    """As `Store.list_renders`."""
    asked = _fingerprint(owner, states, having)
    query = _query(owner, states, having).limit(page_size + 1)
    if page_token:
        query = query.where(
            tuple_(renders.c.create_time, renders.c.id) < _position(page_token, asked)
        )
    rows = work.connection.execute(query).all()
    fitting = _fitting(rows[:page_size], max_bytes)
    more = len(fitting) < len(rows)
    token = _token(fitting[-1], asked) if more else ""
    return Page(tuple(with_contents(work.connection, fitting, results=False)), token)


def _query(owner: str, states: Collection[RenderState], having: Mapping[str, str]) -> Select[Any]:
    query = (
        select(*RENDER)
        .where(renders.c.owner == owner)
        .order_by(renders.c.create_time.desc(), renders.c.id.desc())
    )
    if states:
        query = query.where(in_state(*sorted(states, key=lambda state: state.value)))
    for name, value in sorted(having.items()):
        of_render = select(labels.c.render_id).where(
            labels.c.render_id == renders.c.id, labels.c.name == name, labels.c.value == value
        )
        query = query.where(of_render.exists())
    return query


def _fitting(rows: Collection[Row[Any]], max_bytes: int | None) -> list[Row[Any]]:
    """The first of `rows`, as many as have room, and at least one."""
    if max_bytes is None:
        return list(rows)
    fitting: list[Row[Any]] = []
    size = 0
    for row in rows:
        size += row.content_size + len(row.error)
        if fitting and size > max_bytes:
            break
        fitting.append(row)
    return fitting


def _fingerprint(owner: str, states: Collection[RenderState], having: Mapping[str, str]) -> str:
    """What a token is good for: pages of this very list."""
    text = repr((owner, sorted(state.value for state in states), sorted(having.items())))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _token(row: Row[Any], asked: str) -> str:
    return base64.urlsafe_b64encode(f"{asked}/{row.create_time}/{row.id}".encode()).decode()


def _position(token: str, asked: str) -> tuple[int, str]:
    """Where the page before ended."""
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
        given, time, render_id = text.split("/", 2)
        if given == asked:
            return int(time), render_id
    except ValueError:
        pass
    why = "is no next_page_token of a page with these filters; begin without one"
    raise invalid(FieldViolation("page_token", why))
