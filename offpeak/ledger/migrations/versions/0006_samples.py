"""Rows of a plan that are bought before the rest of it, and the chunks that wait for them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("chunk", sa.Column("drawn_for", sa.BigInteger(), comment="the sample whose requests it carries"))
    op.add_column(
        "chunk",
        sa.Column("held_by", sa.BigInteger(), comment="the sample that has to be released before it is sent"),
    )
    op.create_table(
        "sample",
        sa.Column("id", BIG_ID, autoincrement=False, nullable=False, comment="of the job whose plan it was drawn from"),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("entered_at", sa.BigInteger(), nullable=False, comment="when it entered that state"),
        sa.Column("max_failures", sa.Float(), comment="share up to which it releases the rest; NULL: a person does"),
        sa.Column("requests", sa.BigInteger(), nullable=False, comment="drawn"),
        sa.Column("failed", sa.BigInteger(), comment="of them, without a usable answer"),
        sa.Column("cost_pico", sa.BigInteger(), comment="what they cost"),
        sa.Column("rest", sa.BigInteger(), comment="requests held when it was judged"),
        sa.Column("rest_pico", sa.BigInteger(), comment="what those would cost by the sample's tokens"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_sample_asset", "sample", ["asset"])
