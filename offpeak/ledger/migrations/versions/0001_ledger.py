"""The ledger's first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "answer",
        sa.Column("request_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("submission_id", sa.BigInteger(), nullable=False),
        sa.Column("produced_at", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=True, comment="JSON of the output, or plain text"),
        sa.Column("vector", sa.LargeBinary(), nullable=True, comment="float32, little-endian"),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_pico", sa.BigInteger(), nullable=False),
        sa.Column("realtime_pico", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_table(
        "chunk",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("realm", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False, comment="the submission id that its custom_ids carry"),
        sa.Column(
            "first_request",
            sa.BigInteger(),
            nullable=True,
            comment="ids run on from here by ordinal; NULL: see chunk_member",
        ),
        sa.Column("spool", sa.Text(), nullable=True, comment="file name; NULL once pruned"),
        sa.Column("spool_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("billed_job_id", sa.BigInteger(), nullable=True, comment="the one job that its cost is counted for"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "chunk_member",
        sa.Column("chunk_id", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chunk_id", "ordinal"),
    )
    op.create_table(
        "chunk_offsets",
        sa.Column("chunk_id", sa.BigInteger(), nullable=False),
        sa.Column("offsets", sa.LargeBinary(), nullable=False, comment="u64 little-endian: where each line begins"),
        sa.PrimaryKeyConstraint("chunk_id"),
    )
    op.create_table(
        "dead_letter",
        sa.Column("request_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_table(
        "event",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False, comment="job, chunk or submission"),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("event_subject", "event", ["subject", "subject_id"], unique=False)
    op.create_table(
        "failure",
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("submission_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("raw", sa.Text(), nullable=True, comment="the unusable answer, as it came"),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_pico", sa.BigInteger(), nullable=False),
        sa.Column("realtime_pico", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "submission_id"),
    )
    op.create_table(
        "identity",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ledger", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("next_request", sa.BigInteger(), nullable=False),
        sa.Column("next_submission", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "job",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("realm", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=True),
        sa.Column("components", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deadline_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("new", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("joined", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reused", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("removed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lane", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it has its lane, is held, or failed"),
        sa.Column("owner", sa.Text(), nullable=True, comment="the process that works on it"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_job_asset"), "job", ["asset"], unique=False)
    op.create_table(
        "job_chunk",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("chunk_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "chunk_id"),
    )
    op.create_index(op.f("ix_job_chunk_chunk_id"), "job_chunk", ["chunk_id"], unique=False)
    op.create_table(
        "job_target",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("removed", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("job_id", "target_id"),
    )
    op.create_table(
        "request",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("chunk_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("request_fingerprint", "request", ["fingerprint"], unique=True)
    op.create_table(
        "submission",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("chunk_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False, comment="the process that holds the claim"),
        sa.Column("intended_at", sa.BigInteger(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=True),
        sa.Column("create_at", sa.BigInteger(), nullable=True, comment="when the paid call was about to be sent"),
        sa.Column("batch_id", sa.Text(), nullable=True),
        sa.Column("submitted_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True, comment="the provider's terminal state"),
        sa.Column("results", sa.Text(), nullable=True, comment="file name of the downloaded lines; NULL once pruned"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("batch_id"),
    )
    op.create_index(op.f("ix_submission_chunk_id"), "submission", ["chunk_id"], unique=False)
    op.create_table(
        "target",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("partition_key", sa.Text(), nullable=False),
        sa.Column(
            "planned_by", sa.BigInteger(), nullable=True, comment="the newest job that began to write its plan here"
        ),
        sa.Column("job_id", sa.BigInteger(), nullable=True, comment="the job whose plan is valid now"),
        sa.Column(
            "as_of", sa.BigInteger(), nullable=True, comment="watermark: rows served as wanted are at least this fresh"
        ),
        sa.Column("valid_for", sa.BigInteger(), nullable=True, comment="microseconds"),
        sa.Column("realm", sa.Text(), nullable=True),
        sa.Column("code_version", sa.Text(), nullable=True, comment="the user's own"),
        sa.Column("components", sa.Text(), nullable=True, comment="JSON: digests that the surge guard compares"),
        sa.Column(
            "fields", sa.Text(), nullable=True, comment="JSON: names of the output's fields; NULL where it has none"
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("asset", "partition_key"),
    )
    op.create_table(
        "wanted",
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column(
            "previous_id", sa.BigInteger(), nullable=True, comment="the answer it served before the request changed"
        ),
        sa.Column("previous_as_of", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("target_id", "key"),
        sqlite_with_rowid=False,
    )
