"""How old an asset's oldest row was whenever a job closed, and the deadlines by which assets have to be fresh."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column(
        "job_target", sa.Column("landed_as_of", sa.BigInteger(), comment="of its oldest row when the job closed")
    )
    op.create_table(
        "sla",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="due, endangered, missed or met"),
        sa.Column("entered_at", sa.BigInteger(), nullable=False, comment="when it entered that state"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("asset", "due_at"),
    )
