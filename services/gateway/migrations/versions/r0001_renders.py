"""Renders, their contents, labels, scenes and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the tables."""
    _create_renders()
    _create_indexes()
    _create_parts()


def _create_renders() -> None:
    op.create_table(
        "renders",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("retry_of", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("progressed", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("scene_count", sa.Integer(), nullable=False),
        sa.Column("scenes_finished", sa.Integer(), nullable=False),
        sa.Column("frame_count", sa.Integer(), nullable=False),
        sa.Column("frames_encoded", sa.Integer(), nullable=False),
        sa.Column("fraction", sa.Double(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("due_time", sa.BigInteger(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("expire_time", sa.BigInteger(), nullable=True),
        sa.Column("attached_to", sa.Text(), nullable=False),
        sa.Column("attached_until", sa.BigInteger(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=False),
        sa.Column("video_location", sa.Text(), nullable=True),
        sa.Column("video_size", sa.BigInteger(), nullable=True),
        sa.Column("video_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("video_epoch", sa.Integer(), nullable=True),
        sa.Column("content_size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_renders"),
        sa.UniqueConstraint("owner", "request_id", name="uq_renders_owner_request_id"),
    )


def _create_indexes() -> None:
    op.create_index("ix_renders_owner_newest", "renders", ["owner", "create_time", "id"])
    for name, columns, condition in (
        (
            "ix_renders_queue",
            ["owner", "priority", "due_time", "attached_to", "state"],
            "state = 'queued'",
        ),
        ("ix_renders_running", ["owner"], "state = 'running'"),
        ("ix_renders_attached", ["id"], "attached_until IS NOT NULL AND end_time IS NULL"),
        ("ix_renders_ended", ["end_time"], "end_time IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, "renders", columns, sqlite_where=where, postgresql_where=where)


def _create_parts() -> None:
    op.create_table(
        "contents",
        sa.Column("render_id", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("warnings", sa.LargeBinary(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("render_id", name="pk_contents"),
        _of_render("contents"),
    )
    op.create_table(
        "labels",
        sa.Column("render_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("render_id", "name", name="pk_labels"),
        _of_render("labels"),
    )
    op.create_table(
        "scenes",
        sa.Column("render_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Text(), nullable=False),
        sa.Column("progress", sa.LargeBinary(), nullable=False),
        sa.Column("warnings", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("render_id", "position", name="pk_scenes"),
        _of_render("scenes"),
    )
    op.create_index("ix_scenes_frame", "scenes", ["frame"])
    op.create_table(
        "events",
        sa.Column("render_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("render_id", "sequence", name="pk_events"),
        _of_render("events"),
    )


def _of_render(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["render_id"], ["renders.id"], name=f"fk_{table}_renders", ondelete="CASCADE"
    )


def downgrade() -> None:
    """Drops the tables, with every render."""
    for table in ("events", "scenes", "labels", "contents", "renders"):
        op.drop_table(table)
