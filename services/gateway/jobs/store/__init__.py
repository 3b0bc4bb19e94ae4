"""Renders, leases and events in SQL: SQLite or PostgreSQL. The only importer of SQLAlchemy."""

from gateway.jobs.store.schema import SchemaError
from gateway.jobs.store.store import Store

__all__ = ["SchemaError", "Store"]
