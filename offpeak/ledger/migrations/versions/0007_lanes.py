"""The lane, deadline and place in the queue of each chunk; calls of the background lane; limits; notices."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for column in (
        sa.Column("lane", sa.Text(), nullable=False, server_default="batch", comment="batch or background"),
        sa.Column("due_at", sa.BigInteger(), comment="the tightest deadline of the jobs that wait for it"),
        sa.Column(
            "priority",
            sa.Integer(),
            nullable=False,
            server_default="0",
            comment="of several, higher ones are sent first",
        ),
        sa.Column("degraded_from", sa.Text(), comment="the model that was asked for, where a full queue chose another"),
        sa.Column(
            "give_up_at", sa.BigInteger(), comment="when it has waited for room for as long as its asset lets it"
        ),
    ):
        op.add_column("chunk", column)
    live = sa.column("state").in_(["queued", "open"])
    op.create_index("chunk_live", "chunk", ["realm", "model", "state"], sqlite_where=live, postgresql_where=live)
    op.create_index("ix_submission_intended_at", "submission", ["intended_at"])
    op.create_table(
        "call",
        sa.Column("submission_id", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False, comment="when it was about to be sent"),
        sa.PrimaryKeyConstraint("submission_id", "request_id"),
    )
    op.create_table(
        "queue",
        sa.Column("realm", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("enqueued_tokens", sa.BigInteger(), comment="of all open batches, at most; NULL: never said"),
        sa.Column("enqueued_seen_at", sa.BigInteger(), comment="when it said so"),
        sa.Column("requests_per_minute", sa.BigInteger(), comment="at realtime endpoints; NULL: never said"),
        sa.Column("tokens_per_minute", sa.BigInteger(), comment="at realtime endpoints; NULL: never said"),
        sa.Column("rates_seen_at", sa.BigInteger(), comment="when it said so"),
        sa.Column("limit_tokens", sa.BigInteger(), comment="enqueued at most, as configured; NULL: no limit"),
        sa.Column("limit_batches", sa.BigInteger(), comment="open at most, as configured; NULL: no limit"),
        sa.Column("limit_creates", sa.BigInteger(), comment="within an hour at most, as configured; NULL: no limit"),
        sa.Column("full_at", sa.BigInteger(), comment="when it last said that the account is full"),
        sa.Column("full_until", sa.BigInteger(), comment="nothing is sent before"),
        sa.Column("full_times", sa.Integer(), nullable=False, server_default="0", comment="refused in a row for that"),
        sa.PrimaryKeyConstraint("realm", "model"),
    )
    op.create_table(
        "notice",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="what makes two notices the same one"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column(
            "destinations", sa.Text(), nullable=False, comment="JSON: names of destinations that have not got it yet"
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="pending, delivered or given_up"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), comment="the process that is delivering it"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_at", sa.BigInteger(), nullable=False, comment="not tried before"),
        sa.Column("error", sa.Text(), comment="why the last attempt did not reach everybody"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_index("ix_notice_asset", "notice", ["asset"])
