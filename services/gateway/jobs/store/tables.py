"""The tables. Times are microseconds since 1970 in UTC: the same arithmetic in every database."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    or_,
    text,
)

from gateway.jobs.states import RenderState

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

renders = Table(
    "renders",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    # NULL where the client gave none: NULLs do not collide.
    Column("request_id", Text),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("retry_of", Text, nullable=False),
    # The span in which it was created.
    Column("origin", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("phase", SmallInteger, nullable=False),
    # Whether the attempt that runs has got further than those before.
    Column("progressed", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("scene_count", Integer, nullable=False),
    Column("scenes_finished", Integer, nullable=False),
    Column("frame_count", Integer, nullable=False),
    Column("frames_encoded", Integer, nullable=False),
    Column("fraction", Double, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("due_time", BigInteger, nullable=False),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("expire_time", BigInteger),
    Column("attached_to", Text, nullable=False),
    Column("attached_until", BigInteger),
    Column("worker", Text, nullable=False),
    Column("lease_until", BigInteger),
    Column("error", LargeBinary, nullable=False),
    Column("video_location", Text),
    Column("video_size", BigInteger),
    Column("video_sha256", LargeBinary),
    Column("video_epoch", Integer),
    # Bytes of request and warnings together: what a page of renders comes to.
    Column("content_size", Integer, nullable=False),
    UniqueConstraint("owner", "request_id"),
)
"""One row a render: what changes often. What is large stands in `contents`."""


def in_state(*states: RenderState) -> ColumnElement[bool]:
    """Whether a render is in one of the states.

    Written out, not as a parameter: a database must see that a partial index fits.
    """
    return or_(*(renders.c.state == literal_column(f"'{state.value}'") for state in states))


_QUEUED = text("state = 'queued'")
_RUNNING = text("state = 'running'")
_ATTACHED = text("attached_until IS NOT NULL AND end_time IS NULL")
_ENDED = text("end_time IS NOT NULL")

Index("ix_renders_owner_newest", renders.c.owner, renders.c.create_time, renders.c.id)
# Its last two columns are for claims, which then need not look at each row.
Index(
    "ix_renders_queue",
    renders.c.owner,
    renders.c.priority,
    renders.c.due_time,
    renders.c.attached_to,
    renders.c.state,
    sqlite_where=_QUEUED,
    postgresql_where=_QUEUED,
)
Index("ix_renders_running", renders.c.owner, sqlite_where=_RUNNING, postgresql_where=_RUNNING)
Index("ix_renders_attached", renders.c.id, sqlite_where=_ATTACHED, postgresql_where=_ATTACHED)
Index("ix_renders_ended", renders.c.end_time, sqlite_where=_ENDED, postgresql_where=_ENDED)

contents = Table(
    "contents",
    metadata,
    Column("render_id", Text, ForeignKey("renders.id", ondelete="CASCADE"), primary_key=True),
    Column("request", LargeBinary, nullable=False),
    Column("warnings", LargeBinary, nullable=False),
    Column("result", LargeBinary, nullable=False),
)
"""What is large and hardly changes: every change of a row writes all of it again."""

labels = Table(
    "labels",
    metadata,
    Column("render_id", Text, ForeignKey("renders.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

scenes = Table(
    "scenes",
    metadata,
    Column("render_id", Text, ForeignKey("renders.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("frame", Text, nullable=False),
    Column("progress", LargeBinary, nullable=False),
    Column("warnings", LargeBinary, nullable=False),
)
Index("ix_scenes_frame", scenes.c.frame)

events = Table(
    "events",
    metadata,
    Column("render_id", Text, ForeignKey("renders.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)
