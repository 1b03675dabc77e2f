"""The ledger's tables, for SQLite and Postgres.

State is kept per chunk; a request has a row of its own only as its identity (fingerprint) and where it differs from its
chunk (a failed attempt, a dead letter). Times are microseconds since the epoch, money is whole pico-dollars (1e-12).

    target      one asset, or one partition of it, as last planned
    wanted      which request each key of a target wants, and the answer it served before
    request     a fingerprint, and the chunk that carries it
    chunk       requests that are uploaded together; its bodies are one spool file
    submission  one attempt to have a provider answer a chunk
    bought      which partition requests were new to, where a job plans several
    share       who else wanted a request before it was answered, and pays a part of it
    answer      what was bought
    failure     an attempt of one request that brought no usable answer
    job         one materialization, and the chunks it waits for
    dead_letter a request that is not tried again, and why
    requeued    a dead letter that somebody sent round again
    erasure     a request whose bytes are to go from every file, and whether they have
    parked_run  a queued run of the orchestrator that holds the place of jobs while they wait
    sla         one occurrence of a deadline by which an asset has to be fresh
    reading     up to where the plan of a target has read an input whose changes are known
    sample      what is bought first of a job's plan, and whether the rest may follow
    call        a request that was sent to a realtime endpoint, as long as its chunk is open
    queue       the limits for a model, as configured and as the provider said
    launch_window  when a launch keeps scheduled work from a provider
    notice      what somebody is to be told, and whether that was delivered
    event       what changed state, when, by whom and why
"""

import sqlalchemy as sa

metadata = sa.MetaData()

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite only lets INTEGER PRIMARY KEY stand for the row id."""

identity = sa.Table(
    "identity",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("ledger", sa.String(8), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("next_request", sa.BigInteger, nullable=False),
    sa.Column("next_submission", sa.BigInteger, nullable=False),
    sa.Column("home", sa.Text, comment="the database this ledger lives in; a copy lives in another"),
)

target = sa.Table(
    "target",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("partition_key", sa.Text, nullable=False),
    sa.Column("planned_by", sa.BigInteger, comment="the newest job that began to write its plan here"),
    sa.Column("job_id", sa.BigInteger, comment="the job whose plan is valid now"),
    sa.Column("as_of", sa.BigInteger, comment="watermark: rows served as wanted are at least this fresh"),
    sa.Column("valid_for", sa.BigInteger, comment="microseconds"),
    sa.Column("realm", sa.Text),
    sa.Column("code_version", sa.Text, comment="the user's own"),
    sa.Column("components", sa.Text, comment="JSON: digests that the surge guard compares"),
    sa.Column("fields", sa.Text, comment="JSON: names of the output's fields; NULL where it has none"),
    sa.Column("read_at", sa.BigInteger, comment="when its rows were last read by a consumer"),
    sa.UniqueConstraint("asset", "partition_key"),
)

job = sa.Table(
    "job",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("asset", sa.Text, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("kind", sa.Text),
    sa.Column("realm", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("code_version", sa.Text),
    sa.Column("components", sa.Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("deadline_at", sa.BigInteger, nullable=False),
    sa.Column("closed_at", sa.BigInteger),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("new", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("joined", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("reused", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("removed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lane", sa.Text),
    sa.Column("reason", sa.Text, comment="why it has its lane, is held, or failed"),
    sa.Column("owner", sa.Text, comment="the process that works on it"),
    sa.Column("parked_id", sa.BigInteger, index=True, comment="the parked run that will collect it"),
    sa.Column("on_deadline", sa.Text, comment="rescue, serve_last_good or fail; NULL: it goes on, late"),
    sa.Column("estimate_input_tokens", sa.BigInteger, comment="of what its plan had to buy"),
    sa.Column("estimate_output_tokens", sa.BigInteger, comment="of what its plan had to buy"),
    sa.Column("estimate_pico", sa.BigInteger, comment="of what its plan had to buy, at the price of its lane"),
    sa.Column("sent_anyway_at", sa.BigInteger, comment="when somebody had it sent in a launch"),
)

parked_run = sa.Table(
    "parked_run",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False, unique=True, comment="of the run that is held"),
    sa.Column("origin_run_id", sa.Text, nullable=False, index=True, comment="of the run whose place it holds"),
    sa.Column("location", sa.Text, nullable=False, comment="the code location whose sensor looks after it"),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("origin_ended", sa.Boolean, nullable=False, comment="the submitting run is over"),
    sa.Column("release_at", sa.BigInteger, comment="when it goes on although not everything has landed"),
    sa.Column("progress", sa.Text, comment="as last written on the run"),
)

job_target = sa.Table(
    "job_target",
    metadata,
    sa.Column("job_id", sa.BigInteger, primary_key=True),
    sa.Column("target_id", sa.BigInteger, primary_key=True),
    sa.Column("as_of", sa.BigInteger, nullable=False),
    sa.Column("removed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("landed_as_of", sa.BigInteger, comment="of its oldest row when the job closed"),
)

chunk = sa.Table(
    "chunk",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("realm", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("stamp", sa.BigInteger, nullable=False, comment="the submission id that its custom_ids carry"),
    sa.Column("first_request", sa.BigInteger, comment="ids run on from here by ordinal; NULL: see chunk_member"),
    sa.Column("spool", sa.Text, comment="file name; NULL once pruned"),
    sa.Column("spool_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("billed_job_id", sa.BigInteger, comment="the one job that its cost is counted for"),
    sa.Column("ready_at", sa.BigInteger, comment="not sent before; NULL: at once"),
    sa.Column("drawn_for", sa.BigInteger, comment="the sample whose requests it carries"),
    sa.Column("held_by", sa.BigInteger, comment="the sample that has to be released before it is sent"),
    sa.Column("lane", sa.Text, nullable=False, server_default="batch", comment="batch or background"),
    sa.Column("due_at", sa.BigInteger, comment="the tightest deadline of the jobs that wait for it"),
    sa.Column(
        "priority", sa.Integer, nullable=False, server_default="0", comment="of several, higher ones are sent first"
    ),
    sa.Column("degraded_from", sa.Text, comment="the model that was asked for, where a full queue chose another"),
    sa.Column("give_up_at", sa.BigInteger, comment="when it has waited for room for as long as its asset lets it"),
    sa.Column("rescue_at", sa.BigInteger, comment="when it was decided to buy at realtime price what its batch leaves"),
    sa.Column("rescues", sa.BigInteger, comment="the chunk whose rest it buys at realtime price, in time"),
    sa.Column("twice_at", sa.BigInteger, comment="when it was bought again although its outcome was not known"),
    sa.Column("twice_pico", sa.BigInteger, comment="what that may cost for nothing, by estimate"),
)

_LIVE = chunk.c.state.in_(["queued", "open"])
chunk_live = sa.Index(
    "chunk_live", chunk.c.realm, chunk.c.model, chunk.c.state, sqlite_where=_LIVE, postgresql_where=_LIVE
)
"""What the queue of a model is read by: nearly all chunks are through."""

chunk_offsets = sa.Table(
    "chunk_offsets",
    metadata,
    sa.Column("chunk_id", sa.BigInteger, primary_key=True),
    sa.Column("offsets", sa.LargeBinary, nullable=False, comment="u64 little-endian: where each line begins"),
)

chunk_member = sa.Table(
    "chunk_member",
    metadata,
    sa.Column("chunk_id", sa.BigInteger, primary_key=True),
    sa.Column("ordinal", sa.BigInteger, primary_key=True),
    sa.Column("request_id", sa.BigInteger, nullable=False),
)

job_chunk = sa.Table(
    "job_chunk",
    metadata,
    sa.Column("job_id", sa.BigInteger, primary_key=True),
    sa.Column("chunk_id", sa.BigInteger, primary_key=True, index=True),
)

submission = sa.Table(
    "submission",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("chunk_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False, comment="the process that holds the claim"),
    sa.Column("intended_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("file_id", sa.Text),
    sa.Column("create_at", sa.BigInteger, comment="when the paid call was about to be sent"),
    sa.Column("batch_id", sa.Text, unique=True),
    sa.Column("submitted_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("outcome", sa.Text, comment="the provider's terminal state"),
    sa.Column("results", sa.Text, comment="file name of the downloaded lines; NULL once pruned"),
    sa.Column("seen_state", sa.Text, comment="the batch's state when the provider's list last showed it"),
    sa.Column("finished", sa.BigInteger, comment="requests answered or failed by then, by the provider's count"),
    sa.Column("progress_at", sa.BigInteger, comment="when that count or state last changed"),
    sa.Column("cancel_at", sa.BigInteger, comment="when the provider was asked to cancel it"),
    sa.Column("cleaned_at", sa.BigInteger, comment="when the provider's files of it were deleted"),
    sa.Column("unknown_at", sa.BigInteger, comment="since when the outcome of its create is unknown"),
    sa.Column("error", sa.Text),
    sa.Column("prices", sa.Text, comment="JSON: what was charged for a token, and when"),
)

request = sa.Table(
    "request",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("chunk_id", sa.BigInteger, nullable=False),
    sa.Index("request_fingerprint", "fingerprint", unique=True),
)

bought = sa.Table(
    "bought",
    metadata,
    sa.Column("first_request", BigId, primary_key=True, autoincrement=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("target_id", sa.BigInteger, nullable=False),
)

share = sa.Table(
    "share",
    metadata,
    sa.Column("request_id", sa.BigInteger, primary_key=True),
    sa.Column("target_id", sa.BigInteger, primary_key=True),
    sa.Column("job_id", sa.BigInteger, nullable=False),
)

wanted = sa.Table(
    "wanted",
    metadata,
    sa.Column("target_id", sa.BigInteger, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("request_id", sa.BigInteger, nullable=False),
    sa.Column("scope", sa.Text),
    sa.Column("previous_id", sa.BigInteger, comment="the answer it served before the request changed"),
    sa.Column("previous_as_of", sa.BigInteger),
    sa.Column("task", sa.Text, comment="what it is a part of, whose cost is told as one"),
    sqlite_with_rowid=False,
)


def _tokens(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0", comment=comment)


answer = sa.Table(
    "answer",
    metadata,
    sa.Column("request_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("submission_id", sa.BigInteger, nullable=False),
    sa.Column("produced_at", sa.BigInteger, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("output", sa.Text, comment="JSON of the output, or plain text"),
    sa.Column("vector", sa.LargeBinary, comment="float32, little-endian"),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost_pico", sa.BigInteger, nullable=False),
    sa.Column("realtime_pico", sa.BigInteger, nullable=False),
    _tokens("cache_write_tokens", "of its input, written to a cache"),
    _tokens("cache_write_long_tokens", "of these, with the long time to live"),
    _tokens("cache_saved_pico", "what caching saved; below nought, what it cost"),
)

failure = sa.Table(
    "failure",
    metadata,
    sa.Column("request_id", sa.BigInteger, primary_key=True),
    sa.Column("submission_id", sa.BigInteger, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("raw", sa.Text, comment="the unusable answer, as it came"),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost_pico", sa.BigInteger, nullable=False),
    sa.Column("realtime_pico", sa.BigInteger, nullable=False),
    _tokens("cached_tokens", "of its input, read from a cache"),
    _tokens("cache_write_tokens", "of its input, written to a cache"),
    _tokens("cache_write_long_tokens", "of these, with the long time to live"),
    _tokens("cache_saved_pico", "what caching saved; below nought, what it cost"),
)

dead_letter = sa.Table(
    "dead_letter",
    metadata,
    sa.Column("request_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("fate", sa.Text, nullable=False, server_default="dead", comment="dead, dropped or discarded"),
)

requeued = sa.Table(
    "requeued",
    metadata,
    sa.Column("request_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("submission_id", sa.BigInteger, nullable=False, comment="attempts up to this one count no more"),
)

erasure = sa.Table(
    "erasure",
    metadata,
    sa.Column("request_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("done_at", sa.BigInteger, comment="when no file held it any more; NULL while it is on its way"),
)

sla = sa.Table(
    "sla",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("due_at", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False, comment="due, endangered, missed or met"),
    sa.Column("entered_at", sa.BigInteger, nullable=False, comment="when it entered that state"),
    sa.UniqueConstraint("asset", "due_at"),
)

reading = sa.Table(
    "reading",
    metadata,
    sa.Column("target_id", sa.BigInteger, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True, comment="the input's asset key"),
    sa.Column("position", sa.Text, comment="where its changed rows go on"),
    sa.Column("version", sa.Text, comment="the data version of an input that is read whole"),
    sa.Column("asked", sa.Text, nullable=False, comment="digest of what was asked of each row"),
    sa.Column("complete_at", sa.BigInteger, nullable=False, comment="when every row was last read"),
)

sample = sa.Table(
    "sample",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=False, comment="of the job whose plan it was drawn from"),
    sa.Column("asset", sa.Text, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("entered_at", sa.BigInteger, nullable=False, comment="when it entered that state"),
    sa.Column("max_failures", sa.Float, comment="share up to which it releases the rest; NULL: a person does"),
    sa.Column("requests", sa.BigInteger, nullable=False, comment="drawn"),
    sa.Column("failed", sa.BigInteger, comment="of them, without a usable answer"),
    sa.Column("cost_pico", sa.BigInteger, comment="what they cost"),
    sa.Column("rest", sa.BigInteger, comment="requests held when it was judged"),
    sa.Column("rest_pico", sa.BigInteger, comment="what those would cost by the sample's tokens"),
)

call = sa.Table(
    "call",
    metadata,
    sa.Column("submission_id", sa.BigInteger, primary_key=True),
    sa.Column("request_id", sa.BigInteger, primary_key=True),
    sa.Column("sent_at", sa.BigInteger, nullable=False, comment="when it was about to be sent"),
)

queue = sa.Table(
    "queue",
    metadata,
    sa.Column("realm", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("enqueued_tokens", sa.BigInteger, comment="of all open batches, at most; NULL: never said"),
    sa.Column("enqueued_seen_at", sa.BigInteger, comment="when it said so"),
    sa.Column("requests_per_minute", sa.BigInteger, comment="at realtime endpoints; NULL: never said"),
    sa.Column("tokens_per_minute", sa.BigInteger, comment="at realtime endpoints; NULL: never said"),
    sa.Column("rates_seen_at", sa.BigInteger, comment="when it said so"),
    sa.Column("limit_tokens", sa.BigInteger, comment="enqueued at most, as configured; NULL: no limit"),
    sa.Column("limit_batches", sa.BigInteger, comment="open at most, as configured; NULL: no limit"),
    sa.Column("limit_creates", sa.BigInteger, comment="within an hour at most, as configured; NULL: no limit"),
    sa.Column("full_at", sa.BigInteger, comment="when it last said that the account is full"),
    sa.Column("full_until", sa.BigInteger, comment="nothing is sent before"),
    sa.Column("full_times", sa.Integer, nullable=False, server_default="0", comment="refused in a row for that"),
)

launch_window = sa.Table(
    "launch_window",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("provider", sa.Text, primary_key=True, comment="whose endpoints the launch needs"),
    sa.Column("holds_from", sa.BigInteger, nullable=False, comment="nothing is submitted from then on"),
    sa.Column("starts_at", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("cancels", sa.Boolean, nullable=False, comment="open batches are cancelled when it holds"),
)

notice = sa.Table(
    "notice",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True, comment="what makes two notices the same one"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("asset", sa.Text, nullable=False, index=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("destinations", sa.Text, nullable=False, comment="JSON: names of destinations that have not got it yet"),
    sa.Column("state", sa.Text, nullable=False, comment="pending, delivered or given_up"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, comment="the process that is delivering it"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_at", sa.BigInteger, nullable=False, comment="not tried before"),
    sa.Column("error", sa.Text, comment="why the last attempt did not reach everybody"),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("subject", sa.Text, nullable=False, comment="job, chunk or submission"),
    sa.Column("subject_id", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text),
    sa.Column("detail", sa.Text, comment="JSON: what the row became with it, where the state does not say"),
    sa.Index("event_subject", "subject", "subject_id"),
)
