"""Rounds that wait, dead letters that go round again or are let go, erasure, and a ledger that knows where it lives."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "requeued",
        sa.Column("request_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("submission_id", sa.BigInteger(), nullable=False, comment="attempts up to this one count no more"),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_table(
        "erasure",
        sa.Column("request_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), comment="when no file held it any more; NULL while it is on its way"),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.add_column(
        "identity", sa.Column("home", sa.Text(), comment="the database this ledger lives in; a copy lives in another")
    )
    op.add_column("chunk", sa.Column("ready_at", sa.BigInteger(), comment="not sent before; NULL: at once"))
    op.add_column(
        "submission",
        sa.Column("cleaned_at", sa.BigInteger(), comment="when the provider's files of it were deleted"),
    )
    op.add_column(
        "submission",
        sa.Column("unknown_at", sa.BigInteger(), comment="since when the outcome of its create is unknown"),
    )
    op.add_column(
        "dead_letter",
        sa.Column("fate", sa.Text(), nullable=False, server_default="dead", comment="dead, dropped or discarded"),
    )
    op.add_column(
        "event",
        sa.Column("detail", sa.Text(), comment="JSON: what the row became with it, where the state does not say"),
    )
