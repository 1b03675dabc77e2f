"""What touched a cache and what that saved, the prices charged, for whom it was bought, and when it was read."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

WRITTEN = "of its input, written to a cache"
LONG = "of these, with the long time to live"
SAVED = "what caching saved; below nought, what it cost"


def upgrade() -> None:
    for table in ("answer", "failure"):
        for name, comment in (
            ("cached_tokens", "of its input, read from a cache"),
            ("cache_write_tokens", WRITTEN),
            ("cache_write_long_tokens", LONG),
            ("cache_saved_pico", SAVED),
        ):
            if (table, name) != ("answer", "cached_tokens"):
                column = sa.Column(name, sa.BigInteger(), nullable=False, server_default="0", comment=comment)
                op.add_column(table, column)
    op.add_column("submission", sa.Column("prices", sa.Text(), comment="JSON: what was charged for a token, and when"))
    op.add_column("wanted", sa.Column("task", sa.Text(), comment="what it is a part of, whose cost is told as one"))
    op.add_column("target", sa.Column("read_at", sa.BigInteger(), comment="when its rows were last read by a consumer"))
    big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "bought",
        sa.Column("first_request", big, primary_key=True, autoincrement=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "share",
        sa.Column("request_id", sa.BigInteger(), primary_key=True),
        sa.Column("target_id", sa.BigInteger(), primary_key=True),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
    )
