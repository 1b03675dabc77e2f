"""A landed batch becomes answers and failures, idempotently: applying the same lines again changes nothing.

Every ordinal is expected once. A line proves by its custom_id whose it is; foreign and repeated lines are counted and
left out. Lines that are missing are asked for again by downloading again, before they count as failed.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import orjson
import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros
from offpeak.errors import CouldNotRead, DownloadIncomplete
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import custom_ids, tables
from offpeak.ledger.database import ROWS_PER_TRANSACTION, slices
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.policy import INVALID_OUTPUT, MISSING, PAID_TWICE
from offpeak.ledger.spool import publish
from offpeak.ledger.states import ChunkState, SubmissionState, must, transition
from offpeak.ledger.submissions import CLOCK_SKEW, Submission
from offpeak.providers.base import BatchView, Finish, Kind, Outcome, Provider, ResultLine, Usage

DOWNLOADS = 3
"""How often a result file that is torn or lacks lines is downloaded before that is an error, or they count as failed.
"""

_NOTHING_USED = Usage()
_FREE = (0, 0, 0)

Validate = Callable[[str], str]
"""The text of an answer to the JSON that is stored. Raises ValueError when it is not what was asked for."""


Charge = tuple[int, int, int]
"""Pico-dollars of one answer: as it was bought; at a realtime endpoint; and what caching saved of the former."""

Charging = Callable[[Usage], Charge]


@dataclass(frozen=True, slots=True)
class Price:
    """What an answer costs, and the words in which that is written down, so that it can be reckoned again."""

    of: Charging
    prices: str
    """JSON: pico-dollars a token of each kind, the day, and who says so."""


@dataclass(slots=True)
class Applied:
    """What one batch brought."""

    answered: int = 0
    failed: int = 0
    foreign: int = 0
    repeated: int = 0
    missing: int = 0


def validator(output: type[BaseModel] | None) -> Validate | None:
    """The check for answers of an asset; None for plain text, which is stored as it is."""
    if output is None:
        return None
    check, dump = output.__pydantic_validator__.validate_json, output.__pydantic_serializer__.to_json

    def validate(text: str) -> str:
        return dump(check(text)).decode()

    return validate


def land(ledger: Ledger, provider: Provider, chunk: Submission, batch: BatchView) -> Submission:
    """Download a terminal batch and write down that its lines are on this disk."""
    name = f"{ledger.identity}-{chunk.token}.results"
    try:
        fetch(ledger, provider, batch, name)
    except DownloadIncomplete:
        # another process may have stored them in the meantime, and deleted them at the provider
        if not _landed(ledger, chunk):
            raise
    now = ledger.clock.now()
    ended = to_micros(batch.ended_at or now)
    with ledger.database.write(durable=True) as connection:
        # False where another process landed it in the same moment: the file has the same content
        transition(
            connection,
            chunk.stamp,
            SubmissionState.LANDED,
            at=now,
            who=str(ledger.claimant),
            why=f"{batch.state.value} at the provider",
            ended_at=ended,
            outcome=batch.state.value,
            results=name,
        )
    reach(FaultPoint.LANDED)
    return replace(chunk, state=SubmissionState.LANDED, results=name, outcome=batch.state.value)


def fetch(ledger: Ledger, provider: Provider, batch: BatchView, name: str) -> None:
    """Have the lines of a terminal batch on this disk, durable, in the spool folder's file `name`.

    Raises DownloadIncomplete when they could not be had whole.
    """
    for again in range(DOWNLOADS):
        try:
            _download(ledger, provider, batch, name)
        except DownloadIncomplete:
            if again + 1 == DOWNLOADS:
                raise
        else:
            return


def _landed(ledger: Ledger, chunk: Submission) -> bool:
    """Whether the lines of its batch are on this disk by now."""
    state = sa.select(tables.submission.c.state).where(tables.submission.c.id == chunk.stamp)
    with ledger.database.read() as connection:
        found = connection.execute(state).scalar()
    return found in {SubmissionState.LANDED, SubmissionState.APPLIED}


def _download(ledger: Ledger, provider: Provider, batch: BatchView, name: str) -> None:
    temporary = ledger.spool / f"{name}.{os.getpid()}.writing"
    try:
        provider.download(batch, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        reach(FaultPoint.DOWNLOADED)
        publish(temporary, ledger.spool / name)
        reach(FaultPoint.RESULTS_PUBLISHED)
    finally:
        temporary.unlink(missing_ok=True)


def apply(
    ledger: Ledger,
    provider: Provider,
    chunk: Submission,
    batch: BatchView | None,
    *,
    validate: Validate | None,
    price: Price,
) -> Applied:
    """Store every line of a landed chunk, then close it. Downloads again while lines are missing and a try is left."""
    if chunk.results is None:
        raise CouldNotRead(f"Submission {chunk.stamp} is said to have landed, but names no result file.")
    for again in range(DOWNLOADS):
        try:
            applied, lost = _read_lines(ledger, provider, chunk, validate=validate, price=price)
        except DownloadIncomplete:
            if batch is None or again + 1 == DOWNLOADS:
                raise
        else:
            if not applied.missing or batch is None:
                break
        if again + 1 < DOWNLOADS and batch is not None:
            _download(ledger, provider, batch, chunk.results)
    if applied.foreign and not applied.answered and not applied.failed:
        raise CouldNotRead(
            f"None of the {applied.foreign:,} lines of batch {chunk.batch_id} belongs to it. Nothing was stored. The "
            "batch stays landed; look at its result file at the provider."
        )
    _close(ledger, chunk, applied, lost, prices=price.prices)
    return applied


def apply_late(
    ledger: Ledger, provider: Provider, late: Submission, *, validate: Validate | None, price: Price
) -> Applied:
    """Store the answers of a batch that was given up, and that another submission of its chunk replaced.

    Only answers: what it failed is not held against its requests, which are on their way again. A dead letter that is
    answered now is none any more.
    """
    applied, _ = _read_lines(ledger, provider, late, validate=validate, price=price, answers_only=True)
    reach(FaultPoint.LINES_STORED)
    now, who = ledger.clock.now(), str(ledger.claimant)
    with ledger.database.write() as connection:
        forget_answered_letters(connection)
        why = f"answered {applied.answered:,} after it was given up"
        transition(connection, late.stamp, SubmissionState.APPLIED, at=now, who=who, why=why, prices=price.prices)
    reach(FaultPoint.APPLIED)
    return applied


def _read_lines(
    ledger: Ledger,
    provider: Provider,
    chunk: Submission,
    *,
    validate: Validate | None,
    price: Price,
    answers_only: bool = False,
) -> tuple[Applied, list[int]]:
    """Store what the file holds; returns the counts, and the ids of requests that no line answers.

    With `answers_only` a line that was not answered, and so not billed, is passed over.
    """
    awaited = _awaited(ledger, chunk)
    store = Store(ledger, chunk, validate, price, began=_began(chunk), ended=_ended(ledger, chunk))
    applied, add, take = store.applied, store.add, awaited.pop
    prefix = ledger.identity + chunk.token
    for line in provider.results(ledger.spool / (chunk.results or ""), kind=chunk.kind):
        request_id = take(line.custom_id, 0)
        if request_id:
            if not answers_only or line.outcome is Outcome.SUCCEEDED:
                add(request_id, line)
                if store.full:
                    store.flush()
        elif line.custom_id.startswith(prefix) and len(line.custom_id) == custom_ids.WIDTH:
            applied.repeated += 1
        else:
            applied.foreign += 1
    store.flush()
    applied.missing = len(awaited)
    return applied, list(awaited.values())


def _ended(ledger: Ledger, chunk: Submission) -> int:
    """When its batch ended, by what is written down."""
    query = sa.select(tables.submission.c.ended_at).where(tables.submission.c.id == chunk.stamp)
    with ledger.database.read() as connection:
        ended = connection.execute(query).scalar()
    return int(ended or to_micros(ledger.clock.now()))


def _began(chunk: Submission) -> int | None:
    """When its batch can have begun, by a clock that may differ from ours."""
    return None if chunk.create_at is None else to_micros(chunk.create_at - CLOCK_SKEW)


def _awaited(ledger: Ledger, chunk: Submission) -> dict[str, int]:
    """Each custom_id that the chunk was sent with, and its request."""
    ids, letters = members(ledger, chunk)
    prefix, attempt = ledger.identity + chunk.token, f"{chunk.attempt:02d}"
    return {
        f"{prefix}{letters[32 * ordinal : 32 * ordinal + 32]}{ordinal:06d}{attempt}": request_id
        for ordinal, request_id in enumerate(ids)
    }


def members(ledger: Ledger, chunk: Submission) -> tuple["range | list[int]", str]:
    """Request ids by ordinal, and all their fingerprints in base32, joined."""
    request, member = tables.request, tables.chunk_member
    with ledger.database.read() as connection:
        if chunk.first_request is not None:
            ids: range | list[int] = range(chunk.first_request, chunk.first_request + chunk.requests)
            query = (
                sa.select(request.c.fingerprint)
                .where(request.c.id >= ids.start, request.c.id < ids.stop)  # type: ignore[union-attr]
                .order_by(request.c.id)
            )
            prints = [print_ for (print_,) in ledger.database.tuples(connection, query)]
        else:
            rows = connection.execute(
                sa.select(member.c.request_id, request.c.fingerprint)
                .join(request, request.c.id == member.c.request_id)
                .where(member.c.chunk_id == chunk.chunk_id)
                .order_by(member.c.ordinal)
            ).all()
            ids, prints = [row.request_id for row in rows], [bytes(row.fingerprint) for row in rows]
    if len(prints) != chunk.requests:
        raise CouldNotRead(
            f"Chunk {chunk.chunk_id} holds {chunk.requests:,} requests, but the ledger knows {len(prints):,} of them. "
            "Nothing was stored. The ledger was edited, or restored from a backup older than the batch."
        )
    return ids, custom_ids.base32(b"".join(prints))


class Store:
    """Rows of answers and failures of one submission on their way into the ledger, a short transaction at a time.

    `began` and `ended` are when its answers can have been produced.
    """

    def __init__(
        self,
        ledger: Ledger,
        chunk: Submission,
        validate: Validate | None,
        price: Price,
        *,
        began: int | None = None,
        ended: int,
    ) -> None:
        self.applied = Applied()
        self.ended = ended
        self._ledger, self._chunk, self._validate, self._price = ledger, chunk, validate, price
        self._answers: list[tuple[object, ...]] = []
        self._failures: list[tuple[object, ...]] = []
        self._costs: dict[tuple[Charging, Usage], Charge] = {}
        self._began = 0 if began is None else began

    def add(self, request_id: int, line: ResultLine, *, charging: Charging | None = None) -> None:
        """Take one line; `charging` is for one that was bought on another tier than the rest."""
        if line.outcome is not Outcome.SUCCEEDED:
            code = line.error_code if line.outcome is Outcome.ERRORED else None  # providers differ in the others' codes
            self.fail(request_id, code or line.outcome.value, line.error_message, usage=line.usage)
            return
        cost = self._cost(line.usage, charging or self._price.of)
        if line.finish is not Finish.STOP:
            message = f"the model stopped with {line.finish.value!r}"
            self.fail(request_id, line.finish.value, message, raw=line.text, usage=line.usage, cost=cost)
            return
        output = _storable(line.text)
        if self._chunk.kind is Kind.MODERATION:
            output = _json(line.output)
        elif self._validate is not None:
            try:
                output = self._validate(line.text or "")
            except ValidationError as error:
                problem = _first_problem(error)
                self.fail(request_id, INVALID_OUTPUT, problem, raw=line.text, usage=line.usage, cost=cost)
                return
        produced = self._produced(line.created_at)
        usage = line.usage
        self._answers.append(
            (
                request_id, self._chunk.stamp, produced, line.model or "", output, line.vector, usage.input_tokens,
                usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens,
                *cost,
            )
        )  # fmt: skip
        self.applied.answered += 1

    def fail(
        self,
        request_id: int,
        reason: str,
        message: str | None,
        *,
        raw: str | None = None,
        usage: Usage = _NOTHING_USED,
        cost: Charge = _FREE,
    ) -> None:
        """Take an attempt that brought no usable answer, and what it cost all the same."""
        self._failures.append(
            (
                request_id, self._chunk.stamp, reason, _storable(message), _storable(raw), self.ended,
                usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens,
                usage.cache_write_1h_tokens, *cost,
            )
        )  # fmt: skip
        self.applied.failed += 1

    def _cost(self, usage: Usage, charging: Charging) -> Charge:
        found = self._costs.get((charging, usage))
        if found is None:
            found = self._costs[charging, usage] = charging(usage)
            if len(self._costs) > 10_000:
                self._costs.clear()
        return found

    def _produced(self, created_at: int | None) -> int:
        """The answer's own time where it is one it could have been produced at, else the end."""
        micros = (created_at or 0) * 1_000_000
        return micros if self._began <= micros <= self.ended else self.ended

    @property
    def empty(self) -> bool:
        """Whether all that it was given is written."""
        return not (self._answers or self._failures)

    @property
    def full(self) -> bool:
        """Whether it holds as much as one transaction may write."""
        return max(len(self._answers), len(self._failures)) >= ROWS_PER_TRANSACTION

    def flush(self) -> None:
        """Write what it holds, and be empty."""
        if not self.empty:
            with self._ledger.database.write() as connection:
                self.write(connection)
            reach(FaultPoint.ROWS_STORED)
        self.clear()

    def write(self, connection: Connection) -> None:
        """Write what it holds, within a transaction of the caller's, who has it cleared once that is committed."""
        for table, columns, rows in (
            (tables.answer, ANSWER_COLUMNS, self._answers),
            (tables.failure, FAILURE_COLUMNS, self._failures),
        ):
            if rows:
                rows.sort(key=_request_id)  # neighbours on disk, whatever order the provider chose
                inserted = self._ledger.database.bulk_insert(connection, table, columns, rows, ignore_existing=True)
                if table is tables.answer and inserted < len(rows):
                    self._note_paid_twice(connection, rows)

    def clear(self) -> None:
        """Let go of what was written."""
        self._answers, self._failures = [], []

    def _note_paid_twice(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Write down the cost of answers to requests that another submission's answers had been stored for."""
        answer, database = tables.answer, self._ledger.database
        ids = [_request_id(row) for row in rows]
        others = sa.select(answer.c.request_id).where(answer.c.submission_id != self._chunk.stamp)
        twice = {
            request_id
            for part in slices(ids, 500)
            for request_id in connection.execute(others.where(answer.c.request_id.in_(part))).scalars()
        }
        by_name = [dict(zip(ANSWER_COLUMNS, row, strict=True)) for row in rows if _request_id(row) in twice]
        said = {"reason": PAID_TWICE, "message": "another batch had brought its answer", "raw": None, "at": self.ended}
        failures = [tuple({**row, **said}[name] for name in FAILURE_COLUMNS) for row in by_name]
        database.bulk_insert(connection, tables.failure, FAILURE_COLUMNS, failures, ignore_existing=True)


ANSWER_COLUMNS = (
    "request_id", "submission_id", "produced_at", "model", "output", "vector", "input_tokens", "output_tokens",
    "cached_tokens", "cache_write_tokens", "cache_write_long_tokens", "cost_pico", "realtime_pico", "cache_saved_pico",
)  # fmt: skip
FAILURE_COLUMNS = (
    "request_id", "submission_id", "reason", "message", "raw", "at", "input_tokens", "output_tokens", "cached_tokens",
    "cache_write_tokens", "cache_write_long_tokens", "cost_pico", "realtime_pico", "cache_saved_pico",
)  # fmt: skip


def unbilled(request_id: int, submission_id: int, reason: str, message: str | None, at: int) -> tuple[object, ...]:
    """A row of failures, for an attempt that took no tokens and cost nothing, as far as is known."""
    return (request_id, submission_id, reason, message, None, at, *_NOTHING_USED, *_FREE)


def _close(ledger: Ledger, chunk: Submission, applied: Applied, lost: Sequence[int], *, prices: str) -> None:
    now, who, database = ledger.clock.now(), str(ledger.claimant), ledger.database
    for part in slices(lost):
        said = (MISSING, "the result file holds no line for it", to_micros(now))
        rows = [unbilled(request_id, chunk.stamp, *said) for request_id in part]
        with database.write() as connection:
            database.bulk_insert(connection, tables.failure, FAILURE_COLUMNS, rows, ignore_existing=True)
    reach(FaultPoint.LINES_STORED)
    why = ", ".join(f"{name} {getattr(applied, name):,}" for name in Applied.__slots__ if getattr(applied, name))
    with database.write() as connection:
        # False where another process applied the same lines in the same moment: the rows are the same
        if transition(connection, chunk.stamp, SubmissionState.APPLIED, at=now, who=who, why=why, prices=prices):
            must(connection, chunk.chunk_id, ChunkState.APPLIED, at=now, who=who, why=why)
        forget_answered_letters(connection)
    reach(FaultPoint.APPLIED)


def forget_answered_letters(connection: Connection) -> None:
    """A dead letter that is answered now is none any more.

    Another asset that wants the same request may have sent it round again when this one gave it up.
    """
    dead, answer = tables.dead_letter, tables.answer
    connection.execute(dead.delete().where(sa.exists().where(answer.c.request_id == dead.c.request_id)))


def _request_id(row: tuple[object, ...]) -> int:
    return row[0]  # type: ignore[return-value]


def _storable(text: str | None) -> str | None:
    """The text without NUL characters: a model may write one, and Postgres takes none."""
    return text if text is None or "\x00" not in text else text.replace("\x00", "\ufffd")


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])
