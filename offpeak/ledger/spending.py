"""What is spent on a day, and the place that a plan takes in it before anything of it may be submitted.

Spent is what the jobs that ended on the day were billed, and what those are estimated at that are still open: they will
be billed too. A plan that is still being written counts from the moment it took its place. Taking it is one transaction
that locks the ledger's own row, so of two plans at the same moment the second one sees the first.

What has ended does not change any more, so it is summed up before; in the transaction only what is open is looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import to_micros, utc_day
from offpeak.ledger import attempts, tables
from offpeak.ledger.jobs import attendance
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import JobState, transition

OVER_BUDGET = "Over budget: "
"""How the reason of a job begins that is held, or was refused, for its price."""

PAST_REQUESTS = "estimated_from"
"""In the event by which a plan becomes valid: how many former requests its estimate was learned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Pico-dollars of one UTC day, open jobs by their estimates."""

    asset_pico: int = 0
    total_pico: int = 0
    """Of all assets."""


Judge = Callable[[Spent], str | None]
"""What is to be said against a plan, where so much is spent without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The jobs that had ended on a day when it was looked at, and what they were billed."""

    day: datetime
    """When it began, in UTC."""
    jobs: frozenset[int] = frozenset()
    asset_pico: int = 0
    total_pico: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What a plan has to buy, by estimate: tokens, and pico-dollars at the price of its lane."""

    input_tokens: int
    output_tokens: int
    pico: int
    past_requests: int | None = None
    """Former requests of the asset that it was learned from; 0: it was made from the length of the requests; None:
    nobody wrote that down."""

    @property
    def basis(self) -> str | None:
        return None if self.past_requests is None else basis(self.past_requests)


def basis(past_requests: int) -> str:
    """What an estimate stands on, in words."""
    return f"past usage of {past_requests:,} requests" if past_requests else "length, as nothing was bought before"


def error(estimated_pico: int | None, billed_pico: int) -> float | None:
    """By which share of the bill an estimate was too high, or too low where it is negative; None without both."""
    return estimated_pico / billed_pico - 1 if estimated_pico and billed_pico else None


def for_its_price(reason: str | None) -> bool:
    """Whether a job that is held is so for its price, and not by the surge guard."""
    return (reason or "").startswith(OVER_BUDGET)


def spent(ledger: Ledger, asset: str) -> Spent:
    """What is spent today."""
    done = settled(ledger, asset)
    with ledger.database.read() as connection:
        return _add_open(connection, ledger, asset, done)


def settled(ledger: Ledger, asset: str) -> Settled:
    """What the jobs that ended today were billed; `asset` is the one whose share is told apart."""
    job, day = tables.job, utc_day(ledger.clock.now())
    with ledger.database.read() as connection:
        ended = connection.execute(sa.select(job.c.id, job.c.asset).where(job.c.closed_at >= to_micros(day))).all()
        mine = [row.id for row in ended if row.asset == asset]
        others = [row.id for row in ended if row.asset != asset]
        own = _billed(connection, mine)
        return Settled(
            day=day,
            jobs=frozenset([*mine, *others]),
            asset_pico=own,
            total_pico=own + _billed(connection, others),
        )


def take_place(
    ledger: Ledger, job_id: int, *, asset: str, estimated: Estimated, done: Settled, judge: Judge
) -> str | None:
    """Write down what a plan is estimated at, so that every later one counts it; or what `judge` has against it.

    `judge` hears what is spent without it, within the transaction: it computes, and asks nobody.
    """
    with ledger.database.write() as connection:
        connection.execute(sa.select(tables.identity.c.id).with_for_update())
        against = judge(_add_open(connection, ledger, asset, done, without=job_id))
        if against is None:
            job = tables.job
            connection.execute(job.update().where(job.c.id == job_id).values(columns(estimated)))
    return against


def columns(estimated: Estimated) -> dict[str, int]:
    """An estimate as the columns of a job."""
    return {
        "estimate_input_tokens": estimated.input_tokens,
        "estimate_output_tokens": estimated.output_tokens,
        "estimate_pico": estimated.pico,
    }


def estimated_for(ledger: Ledger, job_id: int) -> Estimated | None:
    """What a job was estimated at when its plan became valid, or was held; None for one that nobody estimated."""
    job, event = tables.job, tables.event
    detail = sa.select(event.c.detail).where(
        event.c.subject == job.name, event.c.subject_id == job_id, event.c.state == JobState.QUEUED.value
    )
    with ledger.database.read() as connection:
        row = connection.execute(sa.select(job).where(job.c.id == job_id)).one_or_none()
        found = connection.execute(detail.order_by(event.c.id.desc()).limit(1)).scalar()
    if row is None or row.estimate_pico is None:
        return None
    return Estimated(
        input_tokens=row.estimate_input_tokens,
        output_tokens=row.estimate_output_tokens,
        pico=row.estimate_pico,
        past_requests=orjson.loads(found or "{}").get(PAST_REQUESTS),
    )


def let_go_of_held(connection: Connection, ledger: Ledger, job_id: int, *, asset: str, realm: str) -> None:
    """A later plan of the asset went through: what was held for its price waits for nobody any more.

    Which partitions a held plan was for is not known, so where there are any, it stays.
    """
    job, target, now, who = tables.job, tables.target, ledger.clock.now(), str(ledger.claimant)
    query = sa.select(job.c.id).where(
        job.c.asset == asset,
        job.c.realm == realm,
        job.c.id < job_id,
        job.c.state == JobState.HELD.value,
        job.c.reason.startswith(OVER_BUDGET),
        ~sa.exists().where(target.c.asset == asset, target.c.partition_key != ""),
    )
    for older in connection.execute(query).scalars().all():
        transition(connection, older, JobState.ABANDONED, at=now, who=who, why=f"goes on as job {job_id}")


def _add_open(
    connection: Connection, ledger: Ledger, asset: str, done: Settled, *, without: int | None = None
) -> Spent:
    """With the estimates of jobs that are open, and of those that have ended since `done` was made."""
    job = tables.job
    planning = sa.and_(job.c.state == JobState.PLANNING.value, job.c.estimate_pico.is_not(None))
    attended = attendance(connection, planning, now=ledger.clock.now())
    dead = [each for each, attends in attended.items() if not attends]
    submitted = [JobState.QUEUED.value, JobState.IN_PROGRESS.value]
    query = sa.select(job.c.asset, sa.func.sum(job.c.estimate_pico)).where(
        sa.or_(job.c.state.in_(submitted), planning, job.c.closed_at >= to_micros(done.day)),
        job.c.estimate_pico > 0,
        job.c.id.not_in([*done.jobs, *dead, *([] if without is None else [without])]),
    )
    found = {name: int(pico) for name, pico in connection.execute(query.group_by(job.c.asset))}
    return Spent(asset_pico=done.asset_pico + found.get(asset, 0), total_pico=done.total_pico + sum(found.values()))


def _billed(connection: Connection, jobs: list[int]) -> int:
    """What these jobs were billed."""
    return sum(pico for (pico,) in attempts.billed(connection, jobs, ["cost_pico"]).values())
