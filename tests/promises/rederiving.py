"""The ledger's jobs told anew from its events, answers and failures alone, and compared with what its tables say."""

from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from offpeak.clock import EPOCH
from offpeak.ledger import billing, jobs, tables
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import TRANSITIONS, ChunkState, JobState, ParkedState, SampleState, SubmissionState

KINDS = {
    "job": JobState,
    "chunk": ChunkState,
    "submission": SubmissionState,
    "parked_run": ParkedState,
    "sample": SampleState,
}
TABLES = {name: tables.metadata.tables[name] for name in KINDS}
COUNTS = ("rows", "new", "joined", "reused", "removed")


def check(ledger: Ledger) -> None:
    """Fails where history, counts, links or costs of a job, or the bill, are not what events and attempts say."""
    events = _events(ledger)
    told = _Told(events)
    with ledger.database.read() as connection:
        for name, table in TABLES.items():
            stored = {row.id: row.state for row in connection.execute(sa.select(table.c.id, table.c.state))}
            assert stored == {each: states[-1] for (kind, each), states in told.states.items() if kind == name}, name
        links: dict[int, set[int]] = defaultdict(set)
        for row in connection.execute(sa.select(tables.job_chunk)):
            links[row.job_id].add(row.chunk_id)
        rows = {row.id: row for row in connection.execute(tables.job.select())}
        billed = {
            row.id: row.billed_job_id
            for row in connection.execute(tables.chunk.select().where(tables.chunk.c.billed_job_id.is_not(None)))
        }
        costs = _costs(connection)
    for job_id, row in rows.items():
        if job_id in told.counts:
            assert {name: getattr(row, name) for name in COUNTS} == told.counts[job_id]
            assert links[job_id] <= told.chunks[job_id], f"job {job_id} waits for chunks that no event tells of"
    assert billed == told.billed
    bills = jobs.bills(ledger, list(rows))
    for job_id, bill in bills.items():
        mine = {chunk for chunk, payer in told.billed.items() if payer == job_id}
        assert bill.cost_pico == sum(cost for number, cost in costs.items() if told.chunk_of.get(number) in mine), (
            f"the bill of job {job_id}"
        )
    lines: dict[int, int] = defaultdict(int)
    for line in billing.lines(ledger, since=EPOCH, until=EPOCH + timedelta(days=365 * 200)):
        lines[line.submission_id] += line.cost_pico
    assert +Counter(lines) == +Counter(costs), "the lines of the bill are not what the attempts cost"


class _Told:
    """What the events say."""

    def __init__(self, events: list[Any]) -> None:
        self.states: dict[tuple[str, int], list[str]] = defaultdict(list)
        self.counts: dict[int, dict[str, int]] = {}
        self.chunks: dict[int, set[int]] = defaultdict(set)
        self.chunk_of: dict[int, int] = {}
        self.billed: dict[int, int] = {}
        for event in events:
            if event.subject not in KINDS:
                continue
            detail = orjson.loads(event.detail) if event.detail else {}
            self._follow(event, detail)
            if event.subject == "job":
                self.chunks[event.subject_id] |= set(detail.get("chunks", ()))
                if COUNTS[0] in detail:
                    self.counts[event.subject_id] = {name: detail[name] for name in COUNTS}
                self.billed |= dict.fromkeys(detail.get("billed", ()), event.subject_id)
            elif event.subject == "chunk" and "job" in detail:
                self.chunks[detail["job"]].add(event.subject_id)
            elif event.subject == "submission" and "chunk" in detail:
                self.chunk_of[event.subject_id] = detail["chunk"]

    def _follow(self, event: Any, detail: dict[str, Any]) -> None:
        states = self.states[event.subject, event.subject_id]
        kind = KINDS[event.subject]
        state = kind(event.state)
        if states and states[-1] != event.state:
            allowed = TRANSITIONS[kind][state]
            assert kind(states[-1]) in allowed, f"{event.subject} {event.subject_id}: {states[-1]} to {event.state}"
        elif states:
            assert detail, f"{event.subject} {event.subject_id} entered {event.state} twice"
        states.append(event.state)


def _events(ledger: Ledger) -> list[Any]:
    with ledger.database.read() as connection:
        return list(connection.execute(tables.event.select().order_by(tables.event.c.id)))


def _costs(connection: Any) -> dict[int, int]:
    """Pico-dollars by submission."""
    costs: dict[int, int] = defaultdict(int)
    for table in (tables.answer, tables.failure):
        query = sa.select(table.c.submission_id, sa.func.sum(table.c.cost_pico)).group_by(table.c.submission_id)
        for number, cost in connection.execute(query):
            costs[number] += int(cost)
    return costs
