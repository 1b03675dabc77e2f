"""What is done at a deadline, what was rescued or bought again for it, and what a job was estimated to cost."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("on_deadline", sa.Text(), comment="rescue, serve_last_good or fail; NULL: it goes on, late"),
        sa.Column("estimate_input_tokens", sa.BigInteger(), comment="of what its plan had to buy"),
        sa.Column("estimate_output_tokens", sa.BigInteger(), comment="of what its plan had to buy"),
        sa.Column("estimate_pico", sa.BigInteger(), comment="of what its plan had to buy, at the price of its lane"),
    ):
        op.add_column("job", column)
    for column in (
        sa.Column(
            "rescue_at",
            sa.BigInteger(),
            comment="when it was decided to buy at realtime price what its batch leaves",
        ),
        sa.Column("rescues", sa.BigInteger(), comment="the chunk whose rest it buys at realtime price, in time"),
        sa.Column("twice_at", sa.BigInteger(), comment="when it was bought again although its outcome was not known"),
        sa.Column("twice_pico", sa.BigInteger(), comment="what that may cost for nothing, by estimate"),
    ):
        op.add_column("chunk", column)
