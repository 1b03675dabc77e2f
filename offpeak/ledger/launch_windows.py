"""When launches keep scheduled work from a provider, as the last process that read their list wrote it down.

They stand in the ledger so that every process goes by the same ones, also a command that loads no definitions. While a
window holds, what is queued for its provider waits: batches are not created, and calls of the background lane not made.
A rescue that has begun goes on. A job that somebody has sent all the same is as on any other day.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from offpeak.clock import from_micros, moment, to_micros
from offpeak.errors import ConfigurationError
from offpeak.launches.launch import Launch, OpenBatches
from offpeak.ledger import tables
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import OPEN_JOBS, ChunkState, JobState, record


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchWindow:
    """A launch, as one provider's queue sees it."""

    name: str
    provider: str
    holds_from: datetime
    """Nothing is submitted from then on: when it starts, or earlier by the time that cancelling takes."""
    starts: datetime
    ends: datetime
    cancels: bool
    """Batches that are open then are cancelled."""

    def holds(self, at: datetime) -> bool:
        return self.holds_from <= at < self.ends

    def __str__(self) -> str:
        return f"waits for the end of the launch {self.name} at {moment(self.ends)}"


def windows_of(launches: Iterable[Launch], *, cancel_bound: timedelta) -> list[LaunchWindow]:
    """The windows of launches, one for each provider. `cancel_bound` is how long a batch may take to be cancelled."""
    return [
        LaunchWindow(
            name=each.name,
            provider=provider,
            holds_from=each.starts - (cancel_bound if each.open_batches is OpenBatches.CANCEL else timedelta(0)),
            starts=each.starts,
            ends=each.ends,
            cancels=each.open_batches is OpenBatches.CANCEL,
        )
        for each in launches
        for provider in sorted(each.providers)
    ]


def declare(ledger: Ledger, windows: Collection[LaunchWindow]) -> None:
    """Have the ledger know these windows, and no others."""
    if sorted(windows, key=_key) == known(ledger):
        return
    with ledger.database.write() as connection:
        connection.execute(tables.launch_window.delete())
        for each in windows:
            connection.execute(
                tables.launch_window.insert().values(
                    name=each.name,
                    provider=each.provider,
                    holds_from=to_micros(each.holds_from),
                    starts_at=to_micros(each.starts),
                    ends_at=to_micros(each.ends),
                    cancels=each.cancels,
                )
            )


def known(ledger: Ledger) -> list[LaunchWindow]:
    """Every window, in order."""
    with ledger.database.read() as connection:
        rows = connection.execute(sa.select(tables.launch_window)).all()
    found = [
        LaunchWindow(
            name=row.name,
            provider=row.provider,
            holds_from=from_micros(row.holds_from),
            starts=from_micros(row.starts_at),
            ends=from_micros(row.ends_at),
            cancels=bool(row.cancels),
        )
        for row in rows
    ]
    return sorted(found, key=_key)


def holding(windows: Iterable[LaunchWindow], provider: str, at: datetime) -> LaunchWindow | None:
    """The window that keeps work from a provider at a moment; of several, the one that ends last."""
    found = [each for each in windows if each.provider == provider and each.holds(at)]
    return max(found, key=lambda each: each.ends, default=None)


def waits(ledger: Ledger, *, now: datetime) -> dict[int, str]:
    """Why chunks are not sent, by chunk: those that a launch keeps from their provider."""
    windows = [each for each in known(ledger) if each.holds(now)]
    if not windows:
        return {}
    chunk, link, job = tables.chunk, tables.job_chunk, tables.job
    sent_anyway = sa.exists().where(
        link.c.chunk_id == chunk.c.id,
        job.c.id == link.c.job_id,
        job.c.sent_anyway_at.is_not(None),
        job.c.state.in_([state.value for state in OPEN_JOBS]),
    )
    called = sa.and_(chunk.c.state == ChunkState.OPEN.value, chunk.c.lane == Lane.BACKGROUND.value)
    query = sa.select(chunk.c.id, chunk.c.realm).where(
        sa.or_(chunk.c.state == ChunkState.QUEUED.value, called),
        chunk.c.rescue_at.is_(None),
        chunk.c.rescues.is_(None),
        ~sent_anyway,
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
    found: dict[int, str] = {}
    for row in rows:
        window = holding(windows, row.realm.partition(":")[0], now)
        if window is not None:
            found[row.id] = str(window)
    return found


def send_anyway(ledger: Ledger, job_id: int, *, who: str) -> None:
    """Have a job sent although a launch keeps work from its provider, from now on.

    Raises ConfigurationError for a job that there is not, or that has ended.
    """
    job, now = tables.job, ledger.clock.now()
    with ledger.database.write(durable=True) as connection:
        row = connection.execute(sa.select(job.c.state, job.c.sent_anyway_at).where(job.c.id == job_id)).one_or_none()
        if row is None:
            raise ConfigurationError(f"There is no job {job_id} in this ledger. `offpeak jobs` lists them.")
        state = JobState(row.state)
        if state not in OPEN_JOBS:
            raise ConfigurationError(f"Job {job_id} has ended: it is {state.value}. Nothing of it waits.")
        if row.sent_anyway_at is not None:
            return
        connection.execute(job.update().where(job.c.id == job_id).values(sent_anyway_at=to_micros(now)))
        record(connection, job, job_id, state, at=now, who=who, why="sent although a launch is under way")


def sent_anyway(ledger: Ledger, job_id: int) -> bool:
    """Whether somebody has had the job sent although a launch is under way."""
    query = sa.select(tables.job.c.sent_anyway_at).where(tables.job.c.id == job_id)
    with ledger.database.read() as connection:
        return connection.execute(query).scalar_one_or_none() is not None


def _key(each: LaunchWindow) -> tuple[datetime, str, str]:
    return each.starts, each.name, each.provider
