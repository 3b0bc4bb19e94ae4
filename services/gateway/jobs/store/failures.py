"""What databases raise, as errors that a caller can do something about."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from rpckit.errors import GatorError, Reason

AWAY_RETRY_AFTER = 2.0
"""Seconds after which a call may be tried again while the database is away."""
FULL_RETRY_AFTER = 30.0
"""Seconds after which a call may be tried again while the database's disk is full."""

_METADATA = {"storage": "database"}

# https://sqlite.org/rescode.html
_SQLITE_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_AWAY = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_PG_DISK_FULL = "53100"
_PG_RETRY = {"40001", "40P01"}
"""Serialization failure, deadlock: the transaction was undone and may simply be run again."""
_PG_PASSING = {"08", "53", "57", "58"}
"""Classes: connection, resources (such as too many connections), operator intervention (such
as a shutdown, or a statement that took too long), system error."""
_PG_REFUSED = {"28", "3D"}
"""Classes: wrong password, no such database."""
_PG_AWAY = _PG_RETRY | {"25006", "55P03"}
"""A standby, which can only be read; a lock that another holds for too long."""
_AWAY = (
    OSError,
    TimeoutError,
    PoolTimeoutError,
    InterfaceError,
    OperationalError,
)
"""What drivers raise when there is no server to say what is wrong."""


def translated(error: Exception) -> GatorError | None:
    """The error that a caller is told; None for what is a bug."""
    said = _said(error)
    if isinstance(said, sqlite3.Error):
        return _sqlite(said)
    sqlstate = _sqlstate(error)
    if sqlstate == _PG_DISK_FULL:
        return _full()
    if sqlstate is not None:
        away = sqlstate[:2] in _PG_PASSING | _PG_REFUSED or sqlstate in _PG_AWAY
    else:
        away = isinstance(error, _AWAY) or (
            isinstance(error, DBAPIError) and error.connection_invalidated
        )
    return _away("cannot be reached") if away else None


def cause(error: Exception) -> str:
    """What the driver said, without the statement and what went into it."""
    said = _said(error)
    return f"{type(said).__name__}: {said}"


def may_pass(error: BaseException) -> bool:
    """Whether a database that cannot be used may soon be, with nobody doing anything."""
    said = _said(error)
    if isinstance(said, sqlite3.Error):
        return _sqlite_code(said) in _SQLITE_LOCKED
    sqlstate = _sqlstate(error)
    return isinstance(error, _AWAY) if sqlstate is None else sqlstate[:2] in _PG_PASSING


def is_undone(error: BaseException) -> bool:
    """Whether PostgreSQL undid the transaction for others' sake, so that it may be run again."""
    return _sqlstate(error) in _PG_RETRY


def _said(error: BaseException) -> BaseException:
    """What the driver raised, within what SQLAlchemy made of it."""
    return error.orig or error if isinstance(error, DBAPIError) else error


def _sqlstate(error: BaseException) -> str | None:
    said = _said(error)
    state = getattr(said, "sqlstate", None)
    return state if isinstance(state, str) else None


def _sqlite_code(error: sqlite3.Error) -> int:
    """The primary code, without what extends it. Errors of the driver itself have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _sqlite(error: sqlite3.Error) -> GatorError | None:
    code = _sqlite_code(error)
    if code == sqlite3.SQLITE_FULL:
        return _full()
    if code in _SQLITE_LOCKED:
        return _away("is locked by another process")
    return _away(f"cannot be used ({error})") if code in _SQLITE_AWAY else None


def _away(what: str) -> GatorError:
    return GatorError(
        Reason.STORAGE_UNAVAILABLE,
        f"the database of renders {what}; try again",
        retry_after=AWAY_RETRY_AFTER,
        metadata=_METADATA,
    )


def _full() -> GatorError:
    return GatorError(
        Reason.STORAGE_FULL,
        "the disk of the database of renders is full; nothing was changed. Free some space",
        retry_after=FULL_RETRY_AFTER,
        metadata=_METADATA,
    )
