"""When launches keep scheduled work from the providers, and which jobs are sent all the same."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "launch_window",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("provider", sa.Text(), primary_key=True, comment="whose endpoints the launch needs"),
        sa.Column("holds_from", sa.BigInteger(), nullable=False, comment="nothing is submitted from then on"),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("cancels", sa.Boolean(), nullable=False, comment="open batches are cancelled when it holds"),
    )
    op.add_column("job", sa.Column("sent_anyway_at", sa.BigInteger(), comment="when somebody had it sent in a launch"))
