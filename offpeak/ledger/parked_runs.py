"""Which run of the orchestrator holds the place of which jobs while no process waits for them.

One parked run holds the place of one original run, for all of its jobs that are not through. It is written down before
the orchestrator is asked for it, and becomes the holder only once it is there. A job that joins later brings a new
parked run for all of them, which replaces the former one in a single transaction; so at any moment one is there.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from offpeak.clock import from_micros, to_micros
from offpeak.ledger import tables
from offpeak.ledger.database import slices
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.sightings import OVERDUE, OpenChunk
from offpeak.ledger.states import OPEN_JOBS, PARKED, ParkedState, SampleState, must, record, transition


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedRun:
    """A run that is held, and the jobs it will collect."""

    id: int
    run_id: str
    origin_run_id: str
    """The run that ended and whose place it holds."""
    location: str
    state: ParkedState
    created_at: datetime
    origin_ended: bool
    release_at: datetime | None
    """When it goes on although not everything has landed: something could not be submitted."""
    progress: str | None
    jobs: Mapping[int, str]
    """Open jobs and their assets."""

    def why_now(
        self,
        chunks: Sequence[OpenChunk],
        now: datetime,
        waits: Collection[int] = frozenset(),
        launches: Collection[int] = frozenset(),
    ) -> str | None:
        """Why it has waited long enough, `chunks` being those of its jobs; None while it goes on waiting.

        `waits` are the ids of chunks that wait for room at their provider, `launches` of those that wait for the end of
        a launch.
        """
        if all(chunk.landed for chunk in chunks):
            return "everything has landed" if self.jobs else "its jobs have ended"
        if any(chunk.overdue(now) for chunk in chunks):
            return f"a batch has not ended {OVERDUE} after its submission"
        if (decided := _sample_landed(chunks)) is not None:
            return decided
        if self.release_at is not None:
            return "what could not be submitted is tried again" if self.release_at <= now else None
        unsent = [chunk for chunk in chunks if not (chunk.landed or chunk.at_provider or chunk.held)]
        ready = [
            chunk
            for chunk in unsent
            if chunk.chunk_id not in launches and (chunk.ready_at is None or chunk.ready_at <= now)
        ]
        if any(chunk.lane is Lane.BACKGROUND for chunk in ready):
            return "requests of it are to be called"
        if any(chunk.chunk_id not in waits for chunk in ready):
            return "a batch is sent again that came to nothing, or one for which there is room, or a released sample's"
        if any(chunk.give_up_at is not None and chunk.give_up_at <= now for chunk in ready):
            return "a batch has waited for room for as long as its asset lets it"
        return None


def _sample_landed(chunks: Sequence[OpenChunk]) -> str | None:
    """Why a sample of these chunks is the run's to look at; None while it is on its way, or waits for a person."""
    for sample_id in {chunk.held_by for chunk in chunks if chunk.held and chunk.sample_of_own}:
        held = next(chunk for chunk in chunks if chunk.held_by == sample_id)
        drawn = [chunk for chunk in chunks if chunk.drawn_for == sample_id]
        if held.sample_state is SampleState.BUYING and all(chunk.landed for chunk in drawn):
            return f"the sample of job {sample_id} has landed"
    ended = (SampleState.REJECTED, SampleState.WITHDRAWN)
    if any(chunk.sample_state in ended and chunk.sample_of_own for chunk in chunks):
        return "its sample was rejected or withdrawn"
    return None


def members(ledger: Ledger, origin_run_id: str) -> dict[int, str]:
    """The open jobs, with their assets, whose place the present parked run of `origin_run_id` holds."""
    with ledger.database.read() as connection:
        return _members(connection, origin_run_id)


def _members(connection: Connection, origin_run_id: str) -> dict[int, str]:
    job, parked = tables.job, tables.parked_run
    query = (
        sa.select(job.c.id, job.c.asset)
        .join(parked, parked.c.id == job.c.parked_id)
        .where(
            parked.c.origin_run_id == origin_run_id,
            parked.c.state == ParkedState.WAITING.value,
            job.c.state.in_([state.value for state in OPEN_JOBS]),
        )
    )
    return {row.id: row.asset for row in connection.execute(query)}


def intend(ledger: Ledger, *, run_id: str, origin_run_id: str, location: str) -> int:
    """Write down that `run_id` is about to be created. Returns its number here."""
    with ledger.database.write(durable=True) as connection:
        return _intend(ledger, connection, run_id=run_id, origin_run_id=origin_run_id, location=location)


def _intend(ledger: Ledger, connection: Connection, *, run_id: str, origin_run_id: str, location: str) -> int:
    now, who = ledger.clock.now(), str(ledger.claimant)
    values = {
        "run_id": run_id,
        "origin_run_id": origin_run_id,
        "location": location,
        "state": ParkedState.INTENDED.value,
        "created_at": to_micros(now),
        "origin_ended": False,
    }
    (number,) = connection.execute(tables.parked_run.insert().values(values)).inserted_primary_key or (0,)
    why = f"for run {origin_run_id}"
    record(connection, tables.parked_run, number, ParkedState.INTENDED, at=now, who=who, why=why)
    return int(number)


def hold(
    ledger: Ledger,
    number: int,
    *,
    origin_run_id: str,
    jobs: Mapping[int, str],
    joining: int | None,
    progress: str,
    release_at: datetime | None = None,
    origin_ended: bool = False,
) -> Sequence[str] | None:
    """Make parked run `number` the holder for `jobs`; returns the runs it replaces, which are to be deleted.

    `joining` is the one job among them that no other parked run of the origin holds yet. None, and parked run `number`
    is the one to be deleted, when another step of the same run parked in the meantime: begin again with its jobs too.
    """
    now, who = ledger.clock.now(), str(ledger.claimant)
    parked, job = tables.parked_run, tables.job
    with ledger.database.write(durable=True) as connection:
        # Steps that park in the same moment go one after the other, on Postgres too: each has its row since `intend`.
        connection.execute(
            sa.select(parked.c.id)
            .where(parked.c.origin_run_id == origin_run_id)
            .order_by(parked.c.id)
            .with_for_update()
        )
        if set(_members(connection, origin_run_id)) | ({joining} if joining is not None else set()) != set(jobs):
            why = "another step of the run parked in the same moment"
            must(connection, number, ParkedState.REPLACED, at=now, who=who, why=why)
            return None
        older = connection.execute(
            sa.select(parked.c.id, parked.c.run_id, parked.c.release_at).where(
                parked.c.origin_run_id == origin_run_id, parked.c.state == ParkedState.WAITING.value
            )
        ).all()
        for row in older:
            must(connection, row.id, ParkedState.REPLACED, at=now, who=who, why=f"by parked run {number}")
        connection.execute(job.update().where(job.c.id.in_(list(jobs))).values(parked_id=number))
        asked = [row.release_at for row in older if row.release_at is not None]
        asked += [to_micros(release_at)] if release_at is not None else []
        must(
            connection,
            number,
            ParkedState.WAITING,
            at=now,
            who=who,
            why=f"holds the place of jobs {', '.join(map(str, sorted(jobs)))}",
            release_at=min(asked, default=None),
            progress=progress,
            origin_ended=origin_ended,
        )
        return [row.run_id for row in older]


def job_of(ledger: Ledger, *, run_id: str, asset: str) -> int | None:
    """The open job of `asset` that the run `run_id` is to collect; None for a run that plans anew."""
    job, parked = tables.job, tables.parked_run
    query = (
        sa.select(job.c.id)
        .join(parked, parked.c.id == job.c.parked_id)
        .where(
            parked.c.run_id == run_id,
            parked.c.state.in_([state.value for state in PARKED]),
            job.c.asset == asset,
            job.c.state.in_([state.value for state in OPEN_JOBS]),
        )
    )
    with ledger.database.read() as connection:
        found = connection.execute(query).scalar()
    return None if found is None else int(found)


def of_job(ledger: Ledger, job_id: int) -> ParkedRun | None:
    """The parked run that held the job's place last, over or not; None for a job that never had one."""
    parked, job = tables.parked_run, tables.job
    with ledger.database.read() as connection:
        number = sa.select(job.c.parked_id).where(job.c.id == job_id).scalar_subquery()
        row = connection.execute(sa.select(parked).where(parked.c.id == number)).one_or_none()
        if row is None:
            return None
        together = sa.select(job.c.id, job.c.asset).where(
            job.c.parked_id == row.id, job.c.state.in_([state.value for state in OPEN_JOBS])
        )
        jobs = {each.id: each.asset for each in connection.execute(together)}
    return _read(row, jobs)


def open_ones(ledger: Ledger, *, location: str | None = None) -> list[ParkedRun]:
    """Parked runs that are not over, oldest first, with their open jobs."""
    parked, job = tables.parked_run, tables.job
    states = [state.value for state in (*PARKED, ParkedState.STOPPING)]
    query = sa.select(parked).where(parked.c.state.in_(states)).order_by(parked.c.id)
    if location is not None:
        query = query.where(parked.c.location == location)
    jobs = (
        sa.select(job.c.id, job.c.asset, job.c.parked_id)
        .join(parked, parked.c.id == job.c.parked_id)
        .where(parked.c.state.in_(states), job.c.state.in_([state.value for state in OPEN_JOBS]))
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
        found: dict[int, dict[int, str]] = {}
        for each in connection.execute(jobs):
            found.setdefault(each.parked_id, {})[each.id] = each.asset
    return [_read(row, found.get(row.id, {})) for row in rows]


def _read(row: Row[Any], jobs: Mapping[int, str]) -> ParkedRun:
    return ParkedRun(
        id=row.id,
        run_id=row.run_id,
        origin_run_id=row.origin_run_id,
        location=row.location,
        state=ParkedState(row.state),
        created_at=from_micros(row.created_at),
        origin_ended=bool(row.origin_ended),
        release_at=None if row.release_at is None else from_micros(row.release_at),
        progress=row.progress,
        jobs=jobs,
    )


def known(ledger: Ledger, run_ids: Sequence[str]) -> dict[str, ParkedState]:
    """Which of these runs this ledger ever wrote down as parked, and their state."""
    parked = tables.parked_run
    states: dict[str, ParkedState] = {}
    with ledger.database.read() as connection:
        for part in slices(run_ids, 500):
            query = sa.select(parked.c.run_id, parked.c.state).where(parked.c.run_id.in_(part))
            states |= {row.run_id: ParkedState(row.state) for row in connection.execute(query)}
    return states


def stop_unparked(ledger: Ledger, job_ids: Sequence[int], *, run_id: str, location: str) -> None:
    """Have open jobs stopped whose run was terminated before another one held its place."""
    now, who = ledger.clock.now(), str(ledger.claimant)
    with ledger.database.write(durable=True) as connection:
        number = _intend(ledger, connection, run_id=run_id, origin_run_id=run_id, location=location)
        connection.execute(tables.job.update().where(tables.job.c.id.in_(job_ids)).values(parked_id=number))
        must(connection, number, ParkedState.STOPPING, at=now, who=who, why="its run was terminated", origin_ended=True)


def enter(ledger: Ledger, number: int, state: ParkedState, *, why: str) -> bool:
    """Change a parked run's state; False when it is in none that leads there."""
    now, who = ledger.clock.now(), str(ledger.claimant)
    with ledger.database.write(durable=True) as connection:
        return transition(connection, number, state, at=now, who=who, why=why)


def note(ledger: Ledger, numbers: Sequence[int], **values: Any) -> None:
    """Set columns that are no state: `origin_ended`, `release_at` (a time or None), `progress`."""
    if isinstance(moment := values.get("release_at"), datetime):
        values["release_at"] = to_micros(moment)
    for part in slices(numbers, 500):
        with ledger.database.write() as connection:
            connection.execute(tables.parked_run.update().where(tables.parked_run.c.id.in_(part)).values(**values))
