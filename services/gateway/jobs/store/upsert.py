"""INSERT ... ON CONFLICT, which each database's dialect has a construct of its own for."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table


def insert(dialect: str, table: Table) -> Any:
    """An insert into `table` that takes `on_conflict_do_nothing` and `on_conflict_do_update`."""
    # Late: a process needs one of them, and they take their time.
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    return postgresql.insert(table)
