"""Runs that wait without a process, and what the provider's list last showed of each batch."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "parked_run",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False, comment="of the run that is held"),
        sa.Column("origin_run_id", sa.Text(), nullable=False, comment="of the run whose place it holds"),
        sa.Column("location", sa.Text(), nullable=False, comment="the code location whose sensor looks after it"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("origin_ended", sa.Boolean(), nullable=False, comment="the submitting run is over"),
        sa.Column("release_at", sa.BigInteger(), comment="when it goes on although not everything has landed"),
        sa.Column("progress", sa.Text(), comment="as last written on the run"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id"),
    )
    op.create_index("ix_parked_run_origin_run_id", "parked_run", ["origin_run_id"])
    op.create_index("ix_parked_run_state", "parked_run", ["state"])
    op.add_column("job", sa.Column("parked_id", sa.BigInteger(), comment="the parked run that will collect it"))
    op.create_index("ix_job_parked_id", "job", ["parked_id"])
    op.create_index("ix_job_state", "job", ["state"])
    for column in (
        sa.Column("seen_state", sa.Text(), comment="the batch's state when the provider's list last showed it"),
        sa.Column("finished", sa.BigInteger(), comment="requests answered or failed by then, by the provider's count"),
        sa.Column("progress_at", sa.BigInteger(), comment="when that count or state last changed"),
        sa.Column("cancel_at", sa.BigInteger(), comment="when the provider was asked to cancel it"),
    ):
        op.add_column("submission", column)
