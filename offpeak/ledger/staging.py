"""The rows of a plan while it is being read: a temporary table, so that memory does not grow with rows.

Set-based questions about a whole plan (duplicate keys, what a surge changes, which keys are gone) are asked of it, and
the wanted rows are written from it in key order, in short transactions.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from offpeak.errors import PlanError
from offpeak.ledger import tables
from offpeak.ledger.database import ROWS_PER_TRANSACTION, Database, slices
from offpeak.ledger.policy import FOR_NOW, QUEUE_FULL
from offpeak.ledger.states import LIVE_CHUNKS

staged = sa.Table(
    "staged",
    sa.MetaData(),
    sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("target_id", sa.BigInteger, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("scope", sa.Text),
    sa.Column("task", sa.Text),
    prefixes=["TEMPORARY"],
)

touched = sa.Table(
    "touched",
    sa.MetaData(),
    sa.Column("target_id", sa.BigInteger, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    prefixes=["TEMPORARY"],
    sqlite_with_rowid=False,
)
"""The keys of the changed rows that a partial plan has read, those of rows that are gone included."""

SURGE_SHARE = 0.2
"""Share of the unchanged keys that may get a new fingerprint before a plan counts as asking something else."""

StagedRow = tuple[int, int, str, bytes, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of a fingerprint."""

    request_id: int
    chunk_id: int
    answered: bool
    dead: bool
    live: bool
    """Its chunk is queued or on its way."""


@dataclass(frozen=True, slots=True)
class Surge:
    """Keys that were wanted before, are wanted now, and ask something else."""

    changed: int
    common: int
    """Keys that stand in both plans, within one realm and scope."""
    components: Mapping[str, str]
    """Component digests of the plan that is valid now."""
    code_version: str | None
    """The user's code_version at that plan."""
    example: str
    """One of the changed keys."""

    @property
    def share(self) -> float:
        return self.changed / self.common


class Staging:
    """The staged rows of one plan, on a connection of their own. Close it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.guarded():
            self._connection = database.engine.connect()
        self._drop()
        with self.reading():
            staged.create(self._connection)
            touched.create(self._connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction on its connection that writes nothing but temporary tables, and so locks nobody out."""
        self._connection.execution_options(offpeak_begin="DEFERRED")
        with self._database.guarded(), self._connection.begin():
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One that writes the ledger, too."""
        self._database.require_writable()
        self._connection.execution_options(offpeak_begin="IMMEDIATE")
        with self._database.guarded(), self._connection.begin():
            yield self._connection

    def add(self, rows: Sequence[StagedRow]) -> None:
        with self.reading():
            self._database.bulk_insert(
                self._connection, staged, ["position", "target_id", "key", "fingerprint", "scope", "task"], rows
            )

    def touch(self, target_id: int, keys: Sequence[str]) -> None:
        """Note changed rows of a partial plan."""
        rows = [(target_id, key) for key in keys]
        with self.reading():
            self._database.bulk_insert(self._connection, touched, ["target_id", "key"], rows, ignore_existing=True)

    def untouched(self, target_id: int) -> str | None:
        """A staged key that belongs to no changed row, if there is one."""
        here = sa.exists().where(touched.c.target_id == staged.c.target_id, touched.c.key == staged.c.key)
        query = sa.select(staged.c.key).where(staged.c.target_id == target_id, ~here).limit(1)
        with self.reading() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else str(found)

    def known(self, first: int, end: int) -> dict[bytes, Known]:
        """What the ledger knows of the fingerprints staged at positions first..end-1."""
        query = (
            sa.select(
                tables.request.c.fingerprint,
                tables.request.c.id,
                tables.request.c.chunk_id,
                tables.answer.c.request_id.is_not(None),
                # what a full queue let go is asked for again
                sa.func.coalesce(tables.dead_letter.c.reason, QUEUE_FULL).not_in(FOR_NOW),
                tables.chunk.c.state.in_([state.value for state in LIVE_CHUNKS]),
            )
            .select_from(staged)
            .join(tables.request, tables.request.c.fingerprint == staged.c.fingerprint)
            .join(tables.chunk, tables.chunk.c.id == tables.request.c.chunk_id)
            .outerjoin(tables.answer, tables.answer.c.request_id == tables.request.c.id)
            .outerjoin(tables.dead_letter, tables.dead_letter.c.request_id == tables.request.c.id)
            .where(staged.c.position >= first, staged.c.position < end)
        )
        with self.reading() as connection:
            return {
                bytes(print_): Known(request_id, chunk_id, bool(answered), bool(dead), bool(live))
                for print_, request_id, chunk_id, answered, dead, live in connection.execute(query)
            }

    def refuse_duplicates(self, asset: str) -> None:
        """Raise PlanError naming keys that stand twice in one partition. Builds the key order that `write` needs."""
        try:
            with self.reading() as connection:
                connection.exec_driver_sql("CREATE UNIQUE INDEX staged_key ON staged (target_id, key)")
        except sa.exc.IntegrityError:
            times = sa.func.count().label("times")
            query = sa.select(staged.c.key, times).group_by(staged.c.target_id, staged.c.key).having(times > 1)
            with self.reading() as connection:
                repeated = connection.execute(query.order_by(staged.c.key).limit(3)).all()
            names = ", ".join(f"{row.key!r} ({row.times} times)" for row in repeated)
            raise PlanError(
                f"{asset}: the plan holds the same key more than once: {names}. Nothing was submitted. Keys name rows: "
                "make them unique, or ask several samples of one text with different salt= and keys."
            ) from None

    def index_fingerprints(self) -> None:
        """Have the rows that ask a request found by its fingerprint."""
        with self.reading() as connection:
            connection.exec_driver_sql("CREATE INDEX IF NOT EXISTS staged_fingerprint ON staged (fingerprint)")
            if not self._database.sqlite:  # Postgres knows nothing of a temporary table before it was told to look
                connection.exec_driver_sql("ANALYZE staged")

    def refuse_lost(self, asset: str) -> None:
        """Raise PlanError when a request that this plan had found with another one is gone again."""
        request = tables.request
        known = sa.exists().where(request.c.fingerprint == staged.c.fingerprint)
        with self.reading() as connection:
            lost = connection.execute(sa.select(sa.func.count()).select_from(staged).where(~known)).scalar_one()
        if lost:
            raise PlanError(
                f"{asset}: another plan took back {lost:,} requests that this one had found on their way. Nothing was "
                "submitted. Materialise again: they are new then."
            )

    def surge(self, *, realm: str, targets: Sequence[int], partial: Sequence[int] = ()) -> Surge | None:
        """What would change for keys that the valid plan holds already; None when nothing would.

        The rows that a partial plan leaves out stand in both plans, unchanged.
        """
        old, chunk, new = tables.request.alias("old"), tables.chunk.alias("old_chunk"), tables.request.alias("new")
        wanted = tables.wanted
        changed = sa.case((sa.or_(new.c.id.is_(None), new.c.id != wanted.c.request_id), 1), else_=0)
        query = (
            sa.select(sa.func.count(), sa.func.sum(changed), sa.func.min(sa.case((changed == 1, staged.c.key))))
            .select_from(staged)
            .join(wanted, sa.and_(wanted.c.target_id == staged.c.target_id, wanted.c.key == staged.c.key))
            .join(old, old.c.id == wanted.c.request_id)
            .join(chunk, chunk.c.id == old.c.chunk_id)
            .outerjoin(new, new.c.fingerprint == staged.c.fingerprint)
            .where(
                chunk.c.realm == realm,
                sa.func.coalesce(wanted.c.scope, "") == sa.func.coalesce(staged.c.scope, ""),
            )
        )
        with self.reading() as connection:
            common, differing, example = connection.execute(query).one()
            if differing and partial:
                common += connection.execute(_left_out(partial)).scalar_one()
            before = connection.execute(
                sa.select(tables.target.c.components, tables.target.c.code_version)
                .where(tables.target.c.id.in_(targets), tables.target.c.components.is_not(None))
                .limit(1)
            ).first()
        if not differing or before is None:
            return None
        return Surge(int(differing), int(common), orjson.loads(before.components), before.code_version, str(example))

    def write(self, *, job_id: int, targets: Sequence[int], partial: Sequence[int] = ()) -> dict[int, int]:
        """Make the staged rows the wanted ones, in key order; returns how many keys of each target are gone.

        Of `partial` targets only keys that were touched can be gone.

        Leaves out targets for which a newer job has begun to write its plan: that one stands.
        """
        after: tuple[int, str] = (-1, "")
        while True:
            with self.writing() as connection:
                mine = _uncontested(connection, job_id, targets)
                if not mine:
                    return {}
                last = connection.execute(
                    sa.select(staged.c.target_id, staged.c.key)
                    .where(sa.tuple_(staged.c.target_id, staged.c.key) > sa.tuple_(*map(sa.literal, after)))
                    .order_by(staged.c.target_id, staged.c.key)
                    .limit(1)
                    .offset(ROWS_PER_TRANSACTION - 1)
                ).first()
                bound: dict[str, object] = {"mine": mine, "target": after[0], "key": after[1]}
                text = _UPSERT
                if last is not None:
                    bound |= {"last_target": last.target_id, "last_key": last.key}
                    text = _UPSERT_UNTIL
                connection.execute(sa.text(text).bindparams(sa.bindparam("mine", expanding=True)), bound)
            if last is None:
                return self._remove_absent(job_id=job_id, targets=targets, partial=partial)
            after = (last.target_id, last.key)

    def keys_of(self, prints: Sequence[bytes]) -> list[str]:
        """The keys that ask these, in key order."""
        with self.reading() as connection:
            found = {
                key
                for part in slices(prints, 500)
                for key in connection.execute(sa.select(staged.c.key).where(staged.c.fingerprint.in_(part))).scalars()
            }
        return sorted(found)

    def absent(self, targets: Sequence[int], *, partial: Sequence[int] = ()) -> int:
        """How many wanted rows of `targets` the staged plan does not hold."""
        with self.reading() as connection:
            gone = _absent(targets, partial)
            return int(connection.execute(sa.select(sa.func.count()).select_from(gone)).scalar_one())

    def _remove_absent(self, *, job_id: int, targets: Sequence[int], partial: Sequence[int]) -> dict[int, int]:
        wanted = tables.wanted
        with self.reading() as connection:
            absent = connection.execute(sa.select(_absent(targets, partial))).all()
        removed: dict[int, int] = {}
        for part in slices(absent, 400):
            with self.writing() as connection:
                mine = set(_uncontested(connection, job_id, targets))
                gone = [tuple(row) for row in part if row.target_id in mine]
                pairs = sa.tuple_(wanted.c.target_id, wanted.c.key).in_(gone)
                connection.execute(wanted.delete().where(pairs))
            for target_id, _ in gone:
                removed[target_id] = removed.get(target_id, 0) + 1
        return removed

    def close(self) -> None:
        try:
            self._drop()
        finally:
            self._connection.close()

    def _drop(self) -> None:
        with self.reading() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS staged")
            connection.exec_driver_sql("DROP TABLE IF EXISTS touched")


def _absent(targets: Sequence[int], partial: Sequence[int]) -> sa.Subquery:
    wanted = tables.wanted
    here = sa.exists().where(staged.c.target_id == wanted.c.target_id, staged.c.key == wanted.c.key)
    whole = [target_id for target_id in targets if target_id not in partial]
    pair = sa.select(wanted.c.target_id, wanted.c.key)
    gone = pair.where(wanted.c.target_id.in_(whole), ~here)
    if not partial:
        return gone.subquery()
    changed = pair.join(touched, sa.and_(touched.c.target_id == wanted.c.target_id, touched.c.key == wanted.c.key))
    return sa.union_all(gone, changed.where(wanted.c.target_id.in_(partial), ~here)).subquery()


def _left_out(partial: Sequence[int]) -> sa.Select[tuple[int]]:
    """How many wanted rows of partial targets the plan does not speak of."""
    wanted = tables.wanted
    spoken_of = sa.exists().where(touched.c.target_id == wanted.c.target_id, touched.c.key == wanted.c.key)
    return sa.select(sa.func.count()).where(wanted.c.target_id.in_(partial), ~spoken_of).select_from(wanted)


def _uncontested(connection: Connection, job_id: int, targets: Sequence[int]) -> list[int]:
    """Those of `targets` for which no newer job has begun to write its plan, or can before this transaction ends."""
    table = tables.target
    query = sa.select(table.c.id, table.c.planned_by).where(table.c.id.in_(targets)).order_by(table.c.id)
    rows = connection.execute(query.with_for_update()).all()
    return [row.id for row in rows if row.planned_by is None or row.planned_by <= job_id]


# A key that asks something else keeps, as `previous`, the answer it served until now and the age that answer had.
_SERVED = "EXISTS (SELECT 1 FROM answer a WHERE a.request_id = wanted.request_id)"
_ANSWERED = f"wanted.request_id <> excluded.request_id AND {_SERVED}"
_SELECT = """
INSERT INTO wanted (target_id, key, request_id, scope, task)
SELECT s.target_id, s.key, r.id, s.scope, s.task FROM staged s JOIN request r ON r.fingerprint = s.fingerprint
WHERE s.target_id IN :mine AND (s.target_id, s.key) > (:target, :key)"""
_ON_CONFLICT = f"""
ORDER BY s.target_id, s.key
ON CONFLICT (target_id, key) DO UPDATE SET
    previous_as_of = CASE WHEN {_ANSWERED} THEN (SELECT t.as_of FROM target t WHERE t.id = wanted.target_id)
                          ELSE wanted.previous_as_of END,
    previous_id = CASE WHEN {_ANSWERED} THEN wanted.request_id ELSE wanted.previous_id END,
    request_id = excluded.request_id,
    scope = excluded.scope,
    task = excluded.task
WHERE wanted.request_id <> excluded.request_id OR COALESCE(wanted.task, '') <> COALESCE(excluded.task, '')"""  # noqa: S608 - constants only
_UPSERT = _SELECT + _ON_CONFLICT
_UPSERT_UNTIL = _SELECT + " AND (s.target_id, s.key) <= (:last_target, :last_key)" + _ON_CONFLICT

__all__ = ["Known", "Staging", "Surge"]
