"""The state machines are whole, and every copy of their lists agrees."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import pytest
import sqlalchemy as sa

import offpeak
from offpeak.errors import LedgerUnreadable
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import (
    LIVE_CHUNKS,
    LIVE_SUBMISSIONS,
    OPEN_JOBS,
    TRANSITIONS,
    UNDECIDED,
    ChunkState,
    JobState,
    NoticeState,
    SampleState,
    SlaState,
    SubmissionState,
    must,
    transition,
)

MACHINES: dict[type[StrEnum], StrEnum] = {
    JobState: JobState.PLANNING,
    ChunkState: ChunkState.QUEUED,
    SubmissionState: SubmissionState.INTENDED,
    SlaState: SlaState.DUE,
    SampleState: SampleState.BUYING,
    NoticeState: NoticeState.PENDING,
}
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def leads_on(machine: type[StrEnum]) -> set[StrEnum]:
    """States that another one may be entered from."""
    return {source for sources in TRANSITIONS[machine].values() for source in sources}


@pytest.mark.parametrize("machine", MACHINES)
def test_every_state_can_be_reached_from_the_first(machine: type[StrEnum]) -> None:
    reached = {MACHINES[machine]}
    while more := {to for to, sources in TRANSITIONS[machine].items() if sources & reached} - reached:
        reached |= more

    assert reached == set(machine)


@pytest.mark.parametrize("machine", MACHINES)
def test_transitions_stay_within_their_machine(machine: type[StrEnum]) -> None:
    for to, sources in TRANSITIONS[machine].items():
        assert {type(to), *map(type, sources)} == {machine}
        assert to not in sources


def test_live_submissions_are_those_that_can_still_change_and_hold_their_chunk() -> None:
    assert leads_on(SubmissionState) - {SubmissionState.ABSENT, SubmissionState.LATE} == LIVE_SUBMISSIONS
    assert leads_on(ChunkState) == LIVE_CHUNKS


def test_open_jobs_are_those_that_can_still_change_by_themselves() -> None:
    assert leads_on(JobState) - {JobState.HELD, JobState.APPROVED} == OPEN_JOBS


def test_samples_that_can_still_change_are_undecided() -> None:
    assert leads_on(SampleState) == UNDECIDED


def test_a_chunk_that_was_applied_or_refused_stays_so() -> None:
    assert leads_on(ChunkState) == {ChunkState.QUEUED, ChunkState.OPEN}


def test_every_state_spelt_as_text_in_the_ledger_is_one() -> None:
    known = {state.value for machine in MACHINES for state in machine}
    spelt = set()
    for path in (Path(offpeak.__file__).parent / "ledger").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        spelt |= set(re.findall(r"\.(?:state|submission) (?:==|!=) \"(\w+)\"", text))

    assert spelt <= known


def new_job(ledger: Ledger) -> int:
    values = {"asset": "a", "state": "planning", "model": "m", "realm": "r", "run_id": "1"}
    with ledger.database.write() as connection:
        done = connection.execute(tables.job.insert().values(**values, created_at=1, deadline_at=2))
        return int((done.inserted_primary_key or (0,))[0])


def test_a_transition_writes_its_event_with_who_and_why(any_ledger: Ledger) -> None:
    job_id = new_job(any_ledger)
    with any_ledger.database.write() as connection:
        assert transition(connection, job_id, JobState.QUEUED, at=NOW, who="host#1@2", why="ready", lane="batch")

    with any_ledger.database.read() as connection:
        job = connection.execute(sa.select(tables.job)).one()
        event = connection.execute(sa.select(tables.event)).one()
    assert (job.state, job.lane) == ("queued", "batch")
    assert (event.subject, event.subject_id, event.state, event.who, event.why) == (
        "job", job_id, "queued", "host#1@2", "ready",
    )  # fmt: skip


def test_a_transition_from_another_state_changes_nothing(any_ledger: Ledger) -> None:
    job_id = new_job(any_ledger)
    with any_ledger.database.write() as connection:
        assert not transition(connection, job_id, JobState.COMPLETED, at=NOW, who="me")
        assert not transition(connection, job_id + 1, JobState.QUEUED, at=NOW, who="me")

    with any_ledger.database.read() as connection:
        assert connection.execute(sa.select(tables.job.c.state)).scalars().all() == ["planning"]
        assert connection.execute(sa.select(tables.event)).all() == []


def test_a_transition_that_must_happen_says_where_the_row_is_instead(ledger: Ledger) -> None:
    job_id = new_job(ledger)
    with (
        pytest.raises(LedgerUnreadable, match=f"job {job_id} is 'planning' and cannot become 'completed'"),
        ledger.database.write() as connection,
    ):
        must(connection, job_id, JobState.COMPLETED, at=NOW, who="me")
