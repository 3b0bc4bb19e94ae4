"""Run by Alembic, on the connection and in the transaction of its caller."""

from alembic import context

from gateway.jobs.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes hardly anything of a table in place
)
context.run_migrations()
