"""The database's tables: brought up to date, or checked."""

from __future__ import annotations


class SchemaError(Exception):
    """The database's tables are not those of this version; the message says what to do."""
