"""The database's clock in SQL: microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

SQLITE_CLOCK = "gator_now"
"""Name of the SQL function that connections to SQLite are given: the machine's clock."""


class DatabaseNow(FunctionElement[int]):
    """The time by the database's clock, once for each statement."""

    type = BigInteger()
    inherit_cache = True


@compiles(DatabaseNow, "sqlite")
def _sqlite(_element: DatabaseNow, _compiler: SQLCompiler, **_: Any) -> str:
    return f"(SELECT {SQLITE_CLOCK}())"


@compiles(DatabaseNow, "postgresql")
def _postgresql(_element: DatabaseNow, _compiler: SQLCompiler, **_: Any) -> str:
    # Not now(): that stands still at the begin of the transaction. A subquery is asked
    # once and can be looked up in an index; the bare function would be asked for each row.
    return "(SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)"


NOW = DatabaseNow()


def microseconds(duration: timedelta) -> int:
    """A duration as it is added to times of the database."""
    return duration // timedelta(microseconds=1)


def to_time(value: int) -> datetime:
    """A time of the database as an aware datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)


def to_optional_time(value: int | None) -> datetime | None:
    """As `to_time`; None for NULL."""
    return None if value is None else to_time(value)
