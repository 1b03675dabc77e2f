"""Up to where each target's plan has read an input, so that the next plan reads what changed since."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reading",
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="the input's asset key"),
        sa.Column("position", sa.Text(), comment="where its changed rows go on"),
        sa.Column("version", sa.Text(), comment="the data version of an input that is read whole"),
        sa.Column("asked", sa.Text(), nullable=False, comment="digest of what was asked of each row"),
        sa.Column("complete_at", sa.BigInteger(), nullable=False, comment="when every row was last read"),
        sa.PrimaryKeyConstraint("target_id", "source"),
    )
