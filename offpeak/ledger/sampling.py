"""A sample of a plan: which of its new requests are bought first, while the others are held.

Drawn are the requests with the smallest fingerprints. A fingerprint is a hash, so they are spread over the whole plan,
and the same plan always draws the same ones. While the plan streams by, the smallest ones so far are kept in memory,
and nothing else; whatever leaves that small set goes to the chunks of the rest.

Only a new question is sampled: one that this asset has not asked before, or whose last sample was not released. Whether
it is new is known when the plan has been read to its end, so until then the chunks of the rest are held by the plan
itself.
"""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros
from offpeak.errors import DefinitionError, PlanError
from offpeak.ledger import tables
from offpeak.ledger.chunking import ChunkWriter
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import UNDECIDED, JobState, SampleState, record
from offpeak.providers.base import Kind

MOST_ROWS = 1_000
"""Of a sample: they are kept in memory while a plan is read, and somebody is to look at them."""

SAMPLE_TAG = "offpeak/sample"
"""A run tag: so many rows are bought first, whatever the asset declares, and whether its question is new or not."""

_Row = tuple[bytes, bytes, int]
"""Fingerprint, body, and the id of its row where it has one, else 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is bought first when an asset asks a new question. Give it as `sample=`; a number is `Sample(rows=...)`.

    Where a plan asks a new question (another model, schema, system text or parameters, or other words in more than
    20% of the rows that were there before) of more than `rows` new rows, `rows` of them (1,000 at most) are bought, and
    the others are held. They are shown in the UI with their answers, failures and cost.

    `max_failures` is the share of the sample, 0 to 1, that may lack a usable answer for the rest to be bought without
    anybody being asked; None: a person decides, with `offpeak jobs approve` or `offpeak jobs reject`.
    """

    rows: int
    max_failures: float | None = None


def declared_sample(asset: str, given: object) -> Sample | None:
    """`sample=` as a Sample: one as it is, or a number of rows. Raises DefinitionError, naming asset and field."""
    if given is None:
        return None
    if isinstance(given, int) and not isinstance(given, bool):
        given = Sample(rows=given)
    if not isinstance(given, Sample):
        raise DefinitionError(
            f"{asset}: sample={given!r} says nothing that Offpeak knows. Give the number of rows to buy first, such as "
            "sample=20, or sample=Sample(rows=20, max_failures=0.05)."
        )
    rows, share = given.rows, given.max_failures
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST_ROWS:
        raise DefinitionError(
            f"{asset}: sample: rows={rows!r} is not a whole number from 1 to {MOST_ROWS:,}. Somebody is to look at "
            "them: 20 are usually enough. Leave sample= out to buy everything at once."
        )
    if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1):
        raise DefinitionError(
            f"{asset}: sample: max_failures={share!r} is not a share of the sample, from 0 up to but not including 1 "
            "(0.05: one row in twenty may fail). Leave it out to have a person decide."
        )
    return given


def sample_of_run(asset: str, declared: Sample | None, tag: str | None) -> tuple[Sample | None, bool]:
    """The sample of one run, and whether it is drawn although the question may be known: its tag says so.

    Raises PlanError for a tag that is no number of rows.
    """
    if tag is None:
        return declared, False
    rows = int(tag) if tag.isdecimal() and tag.isascii() else 0
    if not 1 <= rows <= MOST_ROWS:
        raise PlanError(
            f"{asset}: the run tag {SAMPLE_TAG}={tag!r} is not a number of rows from 1 to {MOST_ROWS:,}. Nothing was "
            "submitted. Launch with one, such as 20, or without the tag."
        )
    return Sample(rows=rows, max_failures=None if declared is None else declared.max_failures), True


class Rule(Enum):
    """What becomes of a plan's new requests."""

    SEND = auto()
    """All are sent."""
    DRAW = auto()
    """A sample is sent, and the rest is held."""
    FOLLOW = auto()
    """All are held: the same question has a sample that nobody has decided about."""


@dataclass(frozen=True, slots=True)
class Ruling:
    rule: Rule
    sample_id: int | None = None
    """The sample that is followed."""


SEND = Ruling(Rule.SEND)


def ruling(
    ledger: Ledger, *, asset: str, realm: str, components: str, forced: bool, anew: Callable[[], bool]
) -> Ruling:
    """Whether a plan is sampled whose question has these components.

    `anew` tells whether it asks other words of the rows that were there before, which the components do not show.
    """
    job, sample = tables.job, tables.sample
    same = (job.c.asset == asset, job.c.realm == realm, job.c.components == components)
    completed = [JobState.COMPLETED.value, JobState.COMPLETED_WITH_PARTIAL_FAILURES.value]
    query = (
        sa.select(job.c.id, sample.c.state)
        .outerjoin(sample, sample.c.id == job.c.id)
        .where(*same, sa.or_(sample.c.id.is_not(None), job.c.state.in_(completed)))
        .order_by(job.c.id.desc())
        .limit(1)
    )
    with ledger.database.read() as connection:
        last = connection.execute(query).one_or_none()
    if last is None:
        return Ruling(Rule.DRAW)
    undecided = last.state in [state.value for state in UNDECIDED]
    if anew():
        return Ruling(Rule.DRAW)
    if undecided:
        return Ruling(Rule.FOLLOW, int(last.id))
    known = last.state in (None, SampleState.RELEASED.value)
    return SEND if known and not forced else Ruling(Rule.DRAW)


class SamplingWriter:
    """Writes the chunks of a plan that may be sampled: those of the sample by themselves, the rest held.

    `decide` is asked once, when the plan has been read to its end.
    """

    def __init__(
        self, writer: Callable[..., ChunkWriter], *, job_id: int, rows: int, decide: Callable[[], Ruling]
    ) -> None:
        self.ruling = SEND
        self.drawn = (0, 0)
        """Once it is closed, the requests that are bought first, and the bytes of their bodies."""
        self._drawn, self._rest = writer(drawn_for=job_id), writer(held_by=job_id)
        self._rows, self._decide = rows, decide
        self._kept: dict[bytes, tuple[bytes, int]] = {}
        self._order: list[bytes] = []
        self._passed = False
        self._closed = False
        self._kind = Kind.CHAT

    @property
    def chunks(self) -> list[int]:
        """Ids of the chunks committed so far."""
        return [*self._drawn.chunks, *self._rest.chunks]

    @property
    def left(self) -> int:
        """Requests that others queued first, and that were left to them."""
        return self._drawn.left + self._rest.left

    def holds(self, fingerprint: bytes) -> bool:
        """Whether this request waits to be committed."""
        return fingerprint in self._kept or self._rest.holds(fingerprint)

    def holds_none(self, fingerprints: Sequence[bytes]) -> bool:
        """Whether not one of these requests waits to be committed."""
        return self._kept.keys().isdisjoint(fingerprints) and self._rest.holds_none(fingerprints)

    def add(self, kind: Kind, requests: Sequence[_Row]) -> None:
        """Append requests, as `ChunkWriter.add` does."""
        self._kind = kind
        if passed := self._draw(requests):
            self._passed = True
            self._rest.add(kind, passed)

    def consider(self, requests: Sequence[_Row]) -> None:
        """Have them take part in the drawing, and write nothing: for a plan that is only looked at."""
        self._passed = bool(self._draw(requests)) or self._passed

    def _draw(self, requests: Sequence[_Row]) -> list[_Row]:
        """Keep those with the smallest fingerprints; returns what falls out of the sample."""
        passed: list[_Row] = []
        for print_, body, request_id in requests:
            if len(self._order) == self._rows and print_ > self._order[-1]:
                passed.append((print_, body, request_id))
                continue
            insort(self._order, print_)
            self._kept[print_] = (body, request_id)
            if len(self._order) > self._rows:
                out = self._order.pop()
                passed.append((out, *self._kept.pop(out)))
        return passed

    def would_draw(self) -> tuple[list[bytes], int]:
        """The fingerprints that are bought first, and the bytes of their bodies; none where all are sent at once."""
        if not self._passed or self._decide().rule is not Rule.DRAW:
            return [], 0
        return list(self._order), sum(len(body) for body, _ in self._kept.values())

    def close(self) -> None:
        """Decide, and commit what is being written."""
        if not self._closed:
            self._closed = True
            self.ruling = self._decide() if self._kept else SEND
            if self.ruling.rule is Rule.DRAW and not self._passed:
                self.ruling = SEND  # it is no more than its sample
            kept = [(print_, *self._kept[print_]) for print_ in self._order]
            if self.ruling.rule is Rule.DRAW:
                self.drawn = (len(kept), sum(len(body) for _, body, _ in kept))
            self._kept.clear()
            (self._drawn if self.ruling.rule is Rule.DRAW else self._rest).add(self._kind, kept)
        self._drawn.close()
        self._rest.close()

    def discard(self) -> None:
        """Drop the chunks being written."""
        self._drawn.discard()
        self._rest.discard()


def settle(ledger: Ledger, connection: Connection, *, job_id: int, asset: str, sample: Sample, ruling: Ruling) -> None:
    """The plan of `job_id` becomes valid in this transaction: so does what it says of its sample.

    Raises PlanError where the sample that it follows was rejected while it was read.
    """
    now, who = ledger.clock.now(), str(ledger.claimant)
    held_by = None
    match ruling.rule:
        case Rule.SEND:
            pass
        case Rule.DRAW:
            chunk, held_by = tables.chunk, job_id
            total = sa.func.coalesce(sa.func.sum(chunk.c.requests), 0)
            requests = int(connection.execute(sa.select(total).where(chunk.c.drawn_for == job_id)).scalar_one())
            held = int(connection.execute(sa.select(total).where(chunk.c.held_by == job_id)).scalar_one())
            if held:  # another plan may have queued all of it in the meantime
                values = {
                    "id": job_id,
                    "asset": asset,
                    "state": SampleState.BUYING.value,
                    "entered_at": to_micros(now),
                    "max_failures": sample.max_failures,
                    "requests": requests,
                }
                connection.execute(tables.sample.insert().values(values))
                why = f"{requests:,} requests are bought before {held:,} others"
                record(connection, tables.sample, job_id, SampleState.BUYING, at=now, who=who, why=why)
        case Rule.FOLLOW:
            held_by = _followed(connection, asset, ruling.sample_id)
    connection.execute(tables.chunk.update().where(tables.chunk.c.held_by == job_id).values(held_by=held_by))


def _followed(connection: Connection, asset: str, sample_id: int | None) -> int | None:
    """What holds the chunks of a plan that follows a sample: nothing, where it was released in the meantime."""
    table = tables.sample
    query = sa.select(table.c.state).where(table.c.id == sample_id).with_for_update()
    state = SampleState(connection.execute(query).scalar_one())
    if state in UNDECIDED:
        return sample_id
    if state is SampleState.RELEASED:
        return None
    raise PlanError(
        f"{asset}: the sample of job {sample_id} was {state.value} while this plan was made. Nothing of this plan was "
        "submitted. Materialise again to draw another one."
    )
