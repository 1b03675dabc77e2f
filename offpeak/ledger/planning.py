"""A plan becomes queued chunks and wanted rows, as a stream: memory holds one block of rows and one chunk's identities.

Order of writes. The requests of all chunks are committed before any row wants them; the target's watermark and the job
that may be submitted come last. Dying in between leaves queued chunks that no submitted job waits for: the next plan of
the asset takes them back, and nothing is bought by planning.

Two plans of one target at once: the newer job's rows stand; the older job only waits for its chunks.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.clock import from_micros, to_micros
from offpeak.errors import AsksAnew, PlanError
from offpeak.faultpoints import FaultPoint, reach
from offpeak.ledger import attribution, dropping, notices, readings, samples, spending, tables
from offpeak.ledger.changed_keys import ChangedKeys
from offpeak.ledger.chunking import ChunkWriter, discard_chunks, left_open, wait_for
from offpeak.ledger.claims import Claimant
from offpeak.ledger.coding import Coding
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane, assign
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.notices import Notice
from offpeak.ledger.policy import SURFACE, FailurePolicy
from offpeak.ledger.prefixes import Prefixes
from offpeak.ledger.readings import Reading
from offpeak.ledger.retrying import bury_hopeless
from offpeak.ledger.room import require_room
from offpeak.ledger.sampling import Ruling, Sample, SamplingWriter, ruling, settle
from offpeak.ledger.spending import Estimated, Judge, Settled
from offpeak.ledger.staging import SURGE_SHARE, Known, Staging, Surge
from offpeak.ledger.states import ChunkState, JobState, must, record, transition
from offpeak.providers.base import Kind, Provider
from offpeak.requests import Request
from offpeak.requests.fingerprint import SEVERAL, differing

BLOCK = 5_000
"""Rows that are fingerprinted, looked up and encoded together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a job is, before its plan is known."""

    asset: str
    model: str
    """"provider/model"."""
    run_id: str
    code_version: str | None
    """The user's own."""
    deadline_at: datetime
    valid_for: timedelta
    due_at: datetime | None = None
    """When its requests have to be answered for what is bought after them; None: at the deadline."""
    fields: Sequence[str] | None = None
    """The fields of a structured output: what a reader without the asset's definition makes columns of."""
    policy: FailurePolicy = SURFACE
    sample: Sample | None = None
    """What is bought before the rest, where the question is new."""
    sample_known: bool = False
    """Draw it although the question is known."""
    priority: int = 0
    """Of several that wait for room at a provider, higher ones are sent first."""


@dataclass(slots=True)
class Counts:
    """What a plan found, in rows; `new` in requests. rows = new + joined + reused + dead."""

    rows: int = 0
    new: int = 0
    joined: int = 0
    """On their way already, or asked by another row of the same plan."""
    reused: int = 0
    dead: int = 0
    removed: int = 0
    new_bytes: int = 0
    """Bytes of the new requests' bodies."""


class Plan:
    """A plan being read, judged and made valid. Leaving it without `commit` or `hold` takes it back.

    With `dry`, nothing but temporary tables is written, and only the counts are of use.
    """

    def __init__(
        self,
        ledger: Ledger,
        provider: Provider,
        spec: JobSpec,
        coding: Coding,
        *,
        dry: bool = False,
    ) -> None:
        self.counts = Counts()
        self.prefixes = Prefixes()
        self.job_id = 0
        self._ledger, self._provider, self._spec = ledger, provider, spec
        self._coding, self._dry = coding, dry
        self._as_of: dict[int, int] = {}
        self._begins: dict[int, int] = {}
        self._readings: dict[int, Reading] = {}
        self._position = 0
        self._attached: set[int] = set()
        self._seen: set[bytes] = set()
        self._done = False
        self._first_new = 0
        if not dry:
            require_room(ledger)
            self._sweep()
            bury_hopeless(ledger, spec.asset, spec.policy)
            self.job_id = self._begin()
        self._writer = self._make_writer()
        self._staging = Staging(ledger.database)

    def _make_writer(self) -> ChunkWriter | SamplingWriter:
        model, sample = self._spec.model.partition("/")[2], self._spec.sample
        make = partial(ChunkWriter, self._ledger, self._provider, model=model, job_id=self.job_id, attempt=1)
        return (
            make() if sample is None else SamplingWriter(make, job_id=self.job_id, rows=sample.rows, decide=self._rule)
        )

    def _rule(self) -> Ruling:
        """Whether the plan is sampled, once it has been read to its end."""
        spec = self._spec

        def anew() -> bool:
            targets = list(self._as_of)
            found = self._staging.surge(realm=self._provider.realm, targets=targets, partial=self._partial)
            return found is not None and found.share > SURGE_SHARE

        return ruling(
            self._ledger,
            asset=spec.asset,
            realm=self._provider.realm,
            components=self._whole_components(),
            forced=spec.sample_known,
            anew=anew,
        )

    def _whole_components(self) -> str:
        """The components of what is asked of all rows: changed rows ask what the others do, of which there are more."""
        if not self.over_changed_rows:
            return self._components()
        table = tables.target
        query = sa.select(table.c.components).where(table.c.id.in_(self._partial)).limit(1)
        with self._ledger.database.read() as connection:
            return connection.execute(query).scalar() or self._components()

    @property
    def realm(self) -> str:
        """Of the provider that it would be bought from."""
        return self._provider.realm

    def sampled(self) -> tuple[list[str], int]:
        """Of a dry plan: the keys that would be bought before the rest, and the bytes of their bodies."""
        if not isinstance(self._writer, SamplingWriter):
            return [], 0
        prints, size = self._writer.would_draw()
        return self._staging.keys_of(prints), size

    @property
    def drawn(self) -> tuple[int, int]:
        """Of a sealed plan that is no dry one: how many requests are bought before the rest, and their bytes."""
        return self._writer.drawn if isinstance(self._writer, SamplingWriter) else (0, 0)

    def _begin(self) -> int:
        spec, now, who = self._spec, self._ledger.clock.now(), str(self._ledger.claimant)
        values = {
            "asset": spec.asset,
            "state": JobState.PLANNING.value,
            "model": spec.model,
            "realm": self._provider.realm,
            "run_id": spec.run_id,
            "code_version": spec.code_version,
            "owner": who,
            "created_at": to_micros(now),
            "deadline_at": to_micros(spec.deadline_at),
        }
        with self._ledger.database.write() as connection:
            self._first_new = connection.execute(sa.select(tables.identity.c.next_request)).scalar_one()
            (job_id,) = connection.execute(tables.job.insert().values(values)).inserted_primary_key or (0,)
            record(connection, tables.job, job_id, JobState.PLANNING, at=now, who=who, why=f"run {spec.run_id}")
        reach(FaultPoint.JOB_BEGUN)
        return int(job_id)

    def _sweep(self) -> None:
        """Take back plans of this asset whose process died."""
        now, who = self._ledger.clock.now(), str(self._ledger.claimant)
        table = tables.job
        query = sa.select(table.c.id, table.c.owner, table.c.created_at).where(
            table.c.asset == self._spec.asset, table.c.state == JobState.PLANNING.value
        )
        with self._ledger.database.read() as connection:
            planning = connection.execute(query).all()
        for row in planning:
            owner = Claimant.parse(row.owner)
            if owner is not None and not owner.alive(claimed_at=from_micros(row.created_at), now=now):
                with self._ledger.database.write() as connection:
                    why = "its process died while planning"
                    mine = transition(connection, row.id, JobState.ABANDONED, at=now, who=who, why=why, reason=why)
                if mine:
                    discard_chunks(self._ledger, job_id=row.id)
                    samples.take_back_unplanned(self._ledger, row.id)

    def add_partition(
        self, partition_key: str, as_of: datetime, requests: Iterable[Request], reading: Reading | None = None
    ) -> None:
        """Read one partition's requests to their end. Raises PlanError; InvalidRequest names the row.

        With a partial `reading` they are those of changed rows: a changed key that is not among them is gone, every
        other one stays as it is. Raises AsksAnew when they ask something else than the rows that did not change.
        """
        target_id = self._target(partition_key)
        if target_id in self._as_of:
            raise PlanError(f"{self._spec.asset}: partition {partition_key!r} was planned twice in one run.")
        self._as_of[target_id] = to_micros(as_of)
        self._begins[target_id] = self._position
        changed = self._follow(target_id, reading) if reading is not None else None
        rows = changed.checked(requests) if changed is not None else iter(requests)
        while block := list(itertools.islice(rows, BLOCK)):
            self._add_block(target_id, block)
        if changed is not None:
            changed.finish()

    def _follow(self, target_id: int, reading: Reading) -> "ChangedKeys":
        self._readings[target_id] = reading
        return ChangedKeys(self._spec.asset, target_id, reading, self._staging)

    @property
    def over_changed_rows(self) -> bool:
        """Whether all of it is over changed rows alone."""
        return len(self._partial) == len(self._as_of)

    @property
    def _partial(self) -> list[int]:
        return [target_id for target_id, reading in self._readings.items() if reading.partial]

    def _target(self, partition_key: str) -> int:
        table, asset, database = tables.target, self._spec.asset, self._ledger.database
        query = sa.select(table.c.id).where(table.c.asset == asset, table.c.partition_key == partition_key)
        with database.read() as connection:
            found = connection.execute(query).scalar()
        if found is None and self._dry:
            return -1 - len(self._as_of)
        if found is None:
            row = (asset, partition_key)
            with database.write() as connection:
                database.bulk_insert(connection, table, ["asset", "partition_key"], [row], ignore_existing=True)
                found = connection.execute(query).scalar_one()
        return int(found)

    def _add_block(self, target_id: int, block: Sequence[Request]) -> None:
        first = self._position
        prints = self._coding.fingerprints(block, first)
        if target_id in self._readings and self._readings[target_id].partial:
            self._refuse_other_question(target_id)
        self._position += len(block)
        self.counts.rows += len(block)
        self._staging.add(
            [
                (position, target_id, request.key, print_, request.scope, request.task)
                for position, request, print_ in zip(range(first, self._position), block, prints, strict=True)
            ]
        )
        known = self._staging.known(first, self._position)
        self._attach({found.chunk_id for found in known.values() if found.live and not found.answered})
        pairs = zip(block, prints, strict=True)
        if not known and not self._dry and len(set(prints)) == len(prints) and self._writer.holds_none(prints):
            self.counts.new += len(prints)
            self._write(list(pairs), known)
        else:
            self._write([(request, print_) for request, print_ in pairs if self._new(print_, known)], known)

    def _new(self, print_: bytes, known: Mapping[bytes, Known]) -> bool:
        """Count a row; whether its request must be written into a chunk."""
        found, counts = known.get(print_), self.counts
        if found is not None and found.answered:
            counts.reused += 1
        elif found is not None and found.dead:
            counts.dead += 1
        elif (found is not None and found.live) or print_ in self._seen or self._writer.holds(print_):
            counts.joined += 1
        else:
            counts.new += 1
            self._seen.add(print_)
            return True
        return False

    def _attach(self, chunks: set[int]) -> None:
        """Wait for these chunks too; as long as one live job does, nobody takes them back."""
        missing = chunks - self._attached
        self._attached |= missing
        if missing and not self._dry:
            with self._ledger.database.write() as connection:
                gone = (ChunkState.TAKEN_BACK.value, ChunkState.DROPPED.value)
                there = sa.select(tables.chunk.c.id).where(
                    tables.chunk.c.id.in_(missing), tables.chunk.c.state.not_in(gone)
                )
                # locked, so that none is dropped before this job is known to wait for it
                if len(connection.execute(there.with_for_update(read=True)).all()) != len(missing):
                    raise PlanError(
                        f"{self._spec.asset}: another plan took back requests that this one had found on their way, or "
                        "a full queue dropped them. Nothing was submitted. Materialise again: they are new then."
                    )
                wait_for(self._ledger, connection, self.job_id, missing)

    def _write(self, fresh: Sequence[tuple[Request, bytes]], known: Mapping[bytes, Known]) -> None:
        if not fresh or (kind := self._coding.kind) is None:
            return
        fresh, uses = self.prefixes.arranged(fresh, self._coding.terms) if kind is Kind.CHAT else (fresh, None)
        bodies = self._coding.bodies([request for request, _ in fresh], uses)
        self.counts.new_bytes += sum(map(len, bodies))
        rows = [
            (print_, body, known[print_].request_id if print_ in known else 0)
            for (_, print_), body in zip(fresh, bodies, strict=True)
        ]
        if self._dry:
            if isinstance(self._writer, SamplingWriter):
                self._writer.consider(rows)
            return
        self._writer.add(kind, rows)
        self._seen.clear()  # what is written is known to the chunk writer, or to the ledger

    def seal(self) -> None:
        """All partitions are read. Raises PlanError for an empty plan and for duplicate keys."""
        if not self.counts.rows and not self.over_changed_rows:
            raise PlanError(
                f"{self._spec.asset}: the plan is empty. Nothing was submitted, and the rows it has stay as they are. "
                "If its source should have rows, look why it gave none; otherwise do not materialise this asset."
            )
        if not self._dry:
            self._writer.close()
        self.counts.new -= self._writer.left
        self.counts.joined += self._writer.left
        self._staging.refuse_duplicates(self._spec.asset)
        if not self._dry and (self._attached or self._writer.left):
            self._staging.refuse_lost(self._spec.asset)
        if self._dry:
            self.counts.removed = self._staging.absent(list(self._as_of), partial=self._partial)

    def surge(self) -> Surge | None:
        """What would change for keys that are wanted already, or None. A raised code_version says it is meant."""
        found = self._staging.surge(realm=self._provider.realm, targets=list(self._as_of), partial=self._partial)
        meant = self._spec.code_version is not None and found and found.code_version != self._spec.code_version
        return None if meant else found

    def approval(self) -> int | None:
        """The held and since approved job whose plan this one repeats, if there is one."""
        table = tables.job
        query = sa.select(sa.func.max(table.c.id)).where(
            table.c.asset == self._spec.asset,
            table.c.state == JobState.APPROVED.value,
            table.c.realm == self._provider.realm,
            table.c.components == self._components(),
        )
        with self._ledger.database.read() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else int(found)

    def hold(self, reason: str, *, estimated: Estimated | None = None, told: Iterable[Notice] = ()) -> None:
        """End as a held job, with nothing queued."""
        self._take_back(JobState.HELD, reason, estimated=estimated, told=told)

    def refuse(self, reason: str, *, estimated: Estimated | None = None, told: Iterable[Notice] = ()) -> None:
        """End with nothing queued, and nothing that could be approved."""
        self._take_back(JobState.ABANDONED, reason, estimated=estimated, told=told)

    def take_place(self, estimated: Estimated, done: Settled, judge: Judge) -> str | None:
        """Have every later plan count this one as spent; or what `judge` has against it, and nothing is changed."""
        against = spending.take_place(
            self._ledger, self.job_id, asset=self._spec.asset, estimated=estimated, done=done, judge=judge
        )
        reach(FaultPoint.PLACE_TAKEN)
        return against

    def commit(
        self,
        *,
        lane: Lane,
        reason: str,
        estimated: Estimated | None = None,
        approval: int | None = None,
        on_deadline: OnDeadline | None = None,
    ) -> None:
        """Make this plan the valid one, and its job one that may be submitted, in that lane.

        `on_deadline` is what is done when its deadline comes; None: it goes on, late.
        """
        targets, partial, table, spec = list(self._as_of), self._partial, tables.target, self._spec
        with self._ledger.database.write() as connection:
            self._refuse_moved_base(connection)
            connection.execute(
                table.update()
                .where(table.c.id.in_(targets), sa.func.coalesce(table.c.planned_by, 0) < self.job_id)
                .values(planned_by=self.job_id)
            )
        reach(FaultPoint.TARGETS_TAKEN)
        attribution.record(
            self._ledger.database,
            self._staging,
            job_id=self.job_id,
            chunks=self._writer.chunks,
            first_new=self._first_new,
            begins=self._begins,
            rows=self._position,
            joined=bool(self._attached or self._writer.left),
        )
        removed = self._staging.write(job_id=self.job_id, targets=targets, partial=partial)
        reach(FaultPoint.ROWS_WANTED)
        self.counts.removed = sum(removed.values())
        now, who = self._ledger.clock.now(), str(self._ledger.claimant)
        with self._ledger.database.write(durable=True) as connection:
            for target_id, as_of in self._as_of.items():
                connection.execute(
                    tables.job_target.insert().values(
                        job_id=self.job_id, target_id=target_id, as_of=as_of, removed=removed.get(target_id, 0)
                    )
                )
                made_valid = connection.execute(
                    table.update()
                    .where(table.c.id == target_id, table.c.planned_by == self.job_id)
                    .values(
                        job_id=self.job_id,
                        as_of=as_of,
                        realm=self._provider.realm,
                        code_version=self._spec.code_version,
                        fields=self._fields(),
                        valid_for=self._spec.valid_for // timedelta(microseconds=1),
                        # of the rows that did not change a partial plan says nothing
                        **({} if target_id in partial else {"components": self._components()}),
                    )
                )
                if made_valid.rowcount:
                    readings.record(connection, target_id, self._readings.get(target_id))
            dropping.lift(connection, targets)
            # what an earlier job of the asset bought and did not wait for is collected with what this one buys
            wait_for(self._ledger, connection, self.job_id, left_open(connection, self.job_id, now=now))
            assign(
                connection,
                self.job_id,
                self._writer.chunks,
                lane=lane,
                due_at=spec.due_at or spec.deadline_at,
                priority=spec.priority,
                now=now,
            )
            why = f"{lane}: {reason}"
            must(
                connection,
                self.job_id,
                JobState.QUEUED,
                at=now,
                who=who,
                why=why,
                lane=lane,
                reason=reason,
                on_deadline=None if on_deadline is None else on_deadline.value,
                detail={
                    **self._numbers(),
                    "chunks": _chunks(connection, self.job_id),
                    **({} if estimated is None else {spending.PAST_REQUESTS: estimated.past_requests}),
                },
                **self._row(),
                **({} if estimated is None else spending.columns(estimated)),
            )
            if isinstance(self._writer, SamplingWriter) and spec.sample is not None:
                settle(
                    self._ledger,
                    connection,
                    job_id=self.job_id,
                    asset=spec.asset,
                    sample=spec.sample,
                    ruling=self._writer.ruling,
                )
            if approval is not None:
                transition(
                    connection, approval, JobState.ABANDONED, at=now, who=who, why=f"goes on as job {self.job_id}"
                )
            spending.let_go_of_held(connection, self._ledger, self.job_id, asset=spec.asset, realm=self._provider.realm)
        self._done = True
        reach(FaultPoint.JOB_QUEUED)

    def _refuse_other_question(self, target_id: int) -> None:
        """Raise AsksAnew when the rows read now ask something else than those that did not change."""
        table = tables.target
        with self._ledger.database.read() as connection:
            before = connection.execute(sa.select(table.c.components).where(table.c.id == target_id)).scalar()
        known = orjson.loads(before or "{}")
        # where rows differed among themselves, one more that differs says nothing
        names = [name for name in differing(known, self._coding.components()) if known.get(name) != SEVERAL]
        if names:
            raise AsksAnew(f"{self._spec.asset}: changed rows ask something else than the others ({', '.join(names)}).")

    def _refuse_moved_base(self, connection: Connection) -> None:
        """Raise PlanError when the plan that a partial one stands on is not the valid one any more."""
        table = tables.target
        for target_id in self._partial:
            base = self._readings[target_id].base
            found = connection.execute(
                sa.select(table.c.job_id, table.c.planned_by).where(table.c.id == target_id).with_for_update()
            ).one()
            if base is None or {found.job_id, found.planned_by} != {base.job_id}:
                raise PlanError(
                    f"{self._spec.asset}: another plan came between while this one read what had changed. Nothing was "
                    "submitted. Materialise again."
                )

    def _row(self) -> dict[str, object]:
        kind = self._coding.kind
        return {**self._numbers(), "components": self._components(), "kind": None if kind is None else kind.value}

    def _numbers(self) -> dict[str, int]:
        return {name: getattr(self.counts, name) for name in ("rows", "new", "joined", "reused", "removed")}

    def _take_back(
        self, state: JobState, reason: str, *, estimated: Estimated | None = None, told: Iterable[Notice] = ()
    ) -> None:
        self._writer.discard()
        if not self._dry:
            discard_chunks(self._ledger, job_id=self.job_id)
            samples.take_back_unplanned(self._ledger, self.job_id)
            now, who = self._ledger.clock.now(), str(self._ledger.claimant)
            with self._ledger.database.write() as connection:
                must(
                    connection,
                    self.job_id,
                    state,
                    at=now,
                    who=who,
                    why=reason,
                    reason=reason,
                    detail=self._numbers(),
                    **self._row(),
                    **({} if estimated is None else spending.columns(estimated)),
                )
                for notice in told:
                    notices.raise_notice(connection, self._ledger, notice)
        self._done = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._done:
                self._take_back(JobState.ABANDONED, str(error) if error is not None else "not committed")
        finally:
            self._staging.close()

    def _fields(self) -> str | None:
        fields = self._spec.fields
        return None if fields is None else orjson.dumps(list(fields)).decode()

    def _components(self) -> str:
        return orjson.dumps(self._coding.components(), option=orjson.OPT_SORT_KEYS).decode()


def _chunks(connection: Connection, job_id: int) -> list[int]:
    """The chunks that a job waits for."""
    link = tables.job_chunk
    return list(connection.execute(sa.select(link.c.chunk_id).where(link.c.job_id == job_id)).scalars())
