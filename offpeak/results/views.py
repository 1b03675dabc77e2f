"""A SQL view per asset: its rows as a consumer's frame has them, for programs that speak SQL and nothing else.

The view reads the ledger's own tables, so it is true at any moment, and copies nothing. It judges no tolerance: whoever
selects from it decides by `as_of`, `effective_until` and `is_fresh`, which the database's clock answers.

It is made when the asset lands, where the types of its fields are known, and made anew when its definition changes. A
view that somebody else made under that name is left alone, and so is one that other views stand on, where its columns
cannot change beneath them.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.engine import Connection

from offpeak.errors import OffpeakError
from offpeak.ledger import tables
from offpeak.ledger.database import Database
from offpeak.providers.base import Kind
from offpeak.results.field_types import FieldType, field_types
from offpeak.results.store import MODERATION_COLUMNS, as_of_served, rescued_served, rows_served

LONGEST_IDENTIFIER = 63
"""Bytes: Postgres cuts what is longer, without an error."""

LOCK_PATIENCE = "10s"
"""How long a view waits on Postgres for those who read it, before it is left for the next landing."""

_MODERATION_TYPES = dict(zip(MODERATION_COLUMNS, (FieldType.BOOLEAN, FieldType.JSON, FieldType.JSON), strict=True))
_LABEL = re.compile(r'[^"\\\x00-\x1f]+')
"""Names that a JSON path of SQLite can hold."""


class ViewLeft(OffpeakError):
    """A view could not be made or renewed. Whatever stood there before stands there still."""


def view_name(asset: str) -> str:
    """The name of an asset's view: "results_" and the parts of its key, joined by two underscores.

    A key that would share its name with another one, or is too long for Postgres, ends in a digest of the key.
    """
    parts = asset.split("/")
    joined = "__".join(parts)
    return _identifier(f"results_{joined}", digest_of=None if joined.split("__") == parts else asset)


def renew(database: Database, asset: str, *, output: type[BaseModel] | None) -> bool:
    """Make the asset's view, or make it anew where its definition changed; False where it is as it should be.

    The asset has landed at least once. Raises ViewLeft, saying why and what to do, where that is not possible, and
    LedgerUnavailable.
    """
    with database.read() as connection:
        view = _view(connection, asset, output)
        found = view.found(connection)
    if found == view.marked:
        return False
    try:
        with database.write() as connection:
            return _renewed(connection, view)
    except sa.exc.DBAPIError as error:
        raise ViewLeft(f"{asset}: {_why(view, error)}") from error


def _renewed(connection: Connection, view: "_View") -> bool:
    view.lock(connection)
    found = view.found(connection)  # another process may have been quicker
    if found == view.marked:
        return False
    if found is not None and not found.startswith(view.mark):
        raise ViewLeft(
            f"{view.asset}: its rows are to be read in SQL as {view.name}, but something else has that name in the "
            "ledger's database. It was left alone, and no view was made. Rename that, or the asset."
        )
    view.make(connection, anew=found is not None)
    return True


@dataclass(frozen=True, slots=True)
class _View:
    """The view that an asset should have."""

    asset: str
    name: str
    query: str

    @property
    def mark(self) -> str:
        """Tells a view of this asset from anything else."""
        return f"offpeak {_digest(self.asset)}"

    @property
    def marked(self) -> str:
        """Tells this definition from any other of the same asset."""
        return f"{self.mark} {_digest(self.query)}"

    def lock(self, connection: Connection) -> None:
        """Keep others from making views until the transaction ends."""

    def found(self, connection: Connection) -> str | None:
        """The mark of what has this name now, or "" for what has none; None where nothing has it."""
        raise NotImplementedError

    def make(self, connection: Connection, *, anew: bool) -> None:
        """Create the view; `anew` where one of this asset stands there."""
        raise NotImplementedError


class _SqliteView(_View):
    def found(self, connection: Connection) -> str | None:
        query = "SELECT sql FROM sqlite_master WHERE name = ? COLLATE NOCASE"
        row = connection.exec_driver_sql(query, (self.name,)).first()
        if row is None:
            return None
        mark = re.search(r"/\* (offpeak \w+ \w+) \*/", row.sql or "")
        return mark[1] if mark else ""

    def make(self, connection: Connection, *, anew: bool) -> None:
        if anew:
            _run(connection, f"DROP VIEW {_quoted(self.name)}")
        _run(connection, f"CREATE VIEW {_quoted(self.name)} AS /* {self.marked} */\n{self.query}")


class _PostgresView(_View):
    def lock(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('offpeak views'))")

    def found(self, connection: Connection) -> str | None:
        query = "SELECT obj_description(oid, 'pg_class') AS mark FROM pg_class WHERE oid = to_regclass(%s)"
        row = connection.exec_driver_sql(query, (_quoted(self.name),)).first()
        return None if row is None else row.mark or ""

    def make(self, connection: Connection, *, anew: bool) -> None:
        name = _quoted(self.name)
        if not (anew and self._replaced(connection)):
            readers = self._readers(connection) if anew else []
            if anew:
                _run(connection, f"DROP VIEW {name}")
            _run(connection, f"CREATE VIEW {name} AS {self.query}")
            for reader in readers:
                _run(connection, f"GRANT SELECT ON {name} TO {reader}")
        _run(connection, f"COMMENT ON VIEW {name} IS {_text(self.marked)}")

    def _replaced(self, connection: Connection) -> bool:
        """Whether the view could be replaced in its place, which keeps what stands on it: its columns are the same."""
        try:
            with connection.begin_nested():
                _run(connection, f"CREATE OR REPLACE VIEW {_quoted(self.name)} AS {self.query}")
        except sa.exc.ProgrammingError:
            return False
        return True

    def _readers(self, connection: Connection) -> list[str]:
        """Who may select from the view, quoted; a view that is made anew would forget them."""
        query = (
            "SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS reader "
            "FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = to_regclass(%s) AND privilege_type = 'SELECT' "
            "AND grantee <> relowner"
        )
        return list(connection.exec_driver_sql(query, (_quoted(self.name),)).scalars())


def _why(view: _View, error: sa.exc.DBAPIError) -> str:
    """What kept a view from being made, and what to do."""
    match getattr(error.orig, "sqlstate", None):
        case "2BP01":
            return (
                f"its SQL view {view.name} is to have other columns now, and other objects stand on it: "
                f"{_dependents(error)}. The view was left as it was: its rows and ages stay true, in the former "
                f"columns. Drop those objects (`DROP VIEW {_quoted(view.name)} CASCADE` does), materialise this asset "
                "again, and make them anew."
            )
        case "55P03":
            return (
                f"its SQL view {view.name} could not be renewed within {LOCK_PATIENCE}, because a transaction that "
                "read it stays open. It was left as it was; the next landing renews it."
            )
        case "42501":
            return (
                f"its SQL view {view.name} could not be made: {_one_line(error)}. The rows have landed. Let the "
                "ledger's role create views in its schema, or make it the owner of this one."
            )
    return f"its SQL view {view.name} could not be made: {_one_line(error)}. The rows have landed."


def _view(connection: Connection, asset: str, output: type[BaseModel] | None) -> _View:
    """What the view of an asset should be, by its output model and what has landed of it."""
    target, job = tables.target, tables.job
    landed = sa.and_(target.c.asset == asset, target.c.job_id.is_not(None))
    partitioned = connection.execute(sa.select(sa.exists().where(landed, target.c.partition_key != ""))).scalar_one()
    kind = connection.execute(
        sa.select(job.c.kind)
        .join(target, target.c.job_id == job.c.id)
        .where(landed, job.c.kind.is_not(None))
        .order_by(job.c.id.desc())
        .limit(1)
    ).scalar()
    sqlite = connection.dialect.name == "sqlite"
    writer = _Sqlite() if sqlite else _Postgres(connection)
    columns = {"key": "served.key"}
    if output is not None:
        columns |= {_identifier(name): writer.field(name, type_) for name, type_ in field_types(output).items()}
    elif kind == Kind.EMBEDDING.value:
        columns["embedding"] = "served.vector"
    elif kind == Kind.MODERATION.value:
        columns |= {name: writer.field(name, type_) for name, type_ in _MODERATION_TYPES.items()}
    else:
        columns["text"] = "served.output"
    if partitioned:
        columns["partition_key"] = "served.partition_key"
    effective_until = "served.as_of + served.valid_for"
    columns |= {
        "as_of": writer.time("served.as_of"),
        "produced_at": writer.time("served.produced_at"),
        "effective_until": writer.time(f"({effective_until})"),
        "is_fresh": writer.now_is_at_most(effective_until),
        "model": "served.model",
        "cost_usd": writer.dollars("served.cost_pico"),
        "rescued": "served.rescued",
    }
    if sqlite:
        _refuse_alike(asset, columns)
    chosen = ",\n".join(f"  {sql} AS {_quoted(name)}" for name, sql in columns.items())
    query = f"SELECT\n{chosen}\nFROM (\n{_served(connection.dialect, asset)}\n) AS served{writer.parsed}"
    return (_SqliteView if sqlite else _PostgresView)(asset, view_name(asset), query)


def _served(dialect: sa.Dialect, asset: str) -> str:
    """The rows that a frame of the asset has, before they are given their types."""
    current, former = tables.answer.alias("present"), tables.answer.alias("former")
    names = ("request_id", "produced_at", "model", "output", "vector", "cost_pico")
    either = {name: sa.func.coalesce(current.c[name], former.c[name]) for name in names}
    target = tables.target
    query = (
        sa.select(
            tables.wanted.c.key,
            target.c.partition_key,
            target.c.valid_for,
            as_of_served(current, former).label("as_of"),
            rescued_served(current, former).label("rescued"),
            *(expression.label(name) for name, expression in either.items() if name != "request_id"),
        )
        .select_from(rows_served(current, former).join(target, target.c.id == tables.wanted.c.target_id))
        .where(
            target.c.asset == sa.literal_column(_text(asset)),
            target.c.job_id.is_not(None),
            either["request_id"].is_not(None),
        )
    )
    # a dialect of its own: the engine's writes percent signs twice, for a driver that takes parameters
    own: Any = type(dialect)
    return str(query.compile(dialect=own(paramstyle="named")))


class _Sqlite:
    """Columns as SQLite writes them. Its clock has milliseconds; JSON functions are there since 3.38."""

    parsed = ""
    _DOCUMENT = "CASE WHEN json_valid(served.output) THEN served.output END"

    def field(self, name: str, type_: FieldType) -> str:
        kind, value, json = self._member(name)
        match type_:
            case FieldType.TEXT:
                return f"CASE {kind} WHEN 'text' THEN {value} END"
            case FieldType.INTEGER:
                return f"CASE WHEN {kind} = 'integer' AND typeof({value}) = 'integer' THEN {value} END"
            case FieldType.NUMBER:
                return f"CASE WHEN {kind} IN ('integer', 'real') THEN CAST({value} AS REAL) END"
            case FieldType.BOOLEAN:
                return f"CASE {kind} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
            case _:
                return json

    def _member(self, name: str) -> tuple[str, str, str]:
        """The JSON type, value and JSON text of a member of the answer."""
        if _LABEL.fullmatch(name):
            path = _text(f'$."{name}"')
            kind = f"json_type({self._DOCUMENT}, {path})"
            json = f"NULLIF(({self._DOCUMENT}) -> {path}, 'null')"
            return kind, f"json_extract({self._DOCUMENT}, {path})", json
        each = f"FROM json_each({self._DOCUMENT}) AS member WHERE member.key = {_text(name)}"
        quoted = "CASE member.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' WHEN 'null' THEN NULL "
        quoted += "WHEN 'text' THEN json_quote(member.value) ELSE CAST(member.value AS TEXT) END"
        return f"(SELECT member.type {each})", f"(SELECT member.value {each})", f"(SELECT {quoted} {each})"

    def time(self, micros: str) -> str:
        seconds = f"strftime('%Y-%m-%dT%H:%M:%S', {micros} / 1000000, 'unixepoch')"
        return f"{seconds} || printf('.%06d+00:00', {micros} % 1000000)"

    def now_is_at_most(self, micros: str) -> str:
        return f"(julianday('now') - 2440587.5) * 86400000000.0 <= {micros}"

    def dollars(self, pico: str) -> str:
        return f"{pico} * 1e-12"


class _Postgres:
    """Columns as Postgres writes them."""

    def __init__(self, connection: Connection) -> None:
        version: tuple[int, ...] = connection.dialect.server_version_info or (0,)
        # before 16 nothing tells whether a text is JSON; what was stored of an output model looks like this
        is_object = "served.output IS JSON OBJECT" if version >= (16,) else r"""served.output ~ '^\{".*\}$'"""
        # jsonb cannot hold a NUL character, which takes one answer to break every select
        text = (
            r"CASE WHEN strpos(served.output, '\u0000') > 0 THEN regexp_replace(served.output, "
            r"'(?<!\\)((?:\\\\)*)\\u0000', '\1\ufffd', 'g') ELSE served.output END"
        )
        # OFFSET 0: parsed once for a row, not once for each of its fields
        self.parsed = (
            f"\nCROSS JOIN LATERAL (\nSELECT CASE WHEN {is_object} THEN CAST({text} AS jsonb) END AS document OFFSET 0"
            "\n) AS parsed"
        )

    def field(self, name: str, type_: FieldType) -> str:
        member, text = f"parsed.document -> {_text(name)}", f"parsed.document ->> {_text(name)}"
        kind = f"jsonb_typeof({member})"
        match type_:
            case FieldType.TEXT:
                return f"CASE {kind} WHEN 'string' THEN {text} END"
            case FieldType.INTEGER:
                number = f"CAST({text} AS numeric)"
                whole = f"{number} BETWEEN -9223372036854775808 AND 9223372036854775807 AND {number} % 1 = 0"
                return f"CASE {kind} WHEN 'number' THEN CASE WHEN {whole} THEN CAST({number} AS bigint) END END"
            case FieldType.NUMBER:
                return f"CASE {kind} WHEN 'number' THEN CAST({text} AS double precision) END"
            case FieldType.BOOLEAN:
                return f"CASE {kind} WHEN 'boolean' THEN CAST({text} AS boolean) END"
            case _:
                return f"NULLIF({member}, 'null'::jsonb)"

    def time(self, micros: str) -> str:
        return f"timestamptz 'epoch' + {micros} * interval '1 microsecond'"

    def now_is_at_most(self, micros: str) -> str:
        return f"statement_timestamp() <= {self.time(f'({micros})')}"

    def dollars(self, pico: str) -> str:
        return f"CAST({pico} AS double precision) * CAST(1e-12 AS double precision)"


def _refuse_alike(asset: str, columns: Mapping[str, str]) -> None:
    """SQLite takes names that differ in case alone for the same column."""
    counts = Counter(name.lower() for name in columns)
    if alike := [name for name in columns if counts[name.lower()] > 1]:
        raise ViewLeft(
            f"{asset}: no SQL view was made, because SQLite does not tell the columns {', '.join(alike)} apart. The "
            "rows have landed. Rename the field of the output model."
        )


def _run(connection: Connection, statement: str) -> None:
    """Run a statement as it is, percent signs and colons included."""
    connection.execution_options(no_parameters=True).exec_driver_sql(statement)


def _identifier(name: str, *, digest_of: str | None = None) -> str:
    """A name that Postgres takes whole, with a digest where it was cut or one is asked for."""
    if digest_of is None and len(name.encode()) <= LONGEST_IDENTIFIER:
        return name
    digest = _digest(digest_of or name)
    return f"{name.encode()[: LONGEST_IDENTIFIER - len(digest) - 1].decode(errors='ignore')}_{digest}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _dependents(error: sa.exc.DBAPIError) -> str:
    detail: str = getattr(getattr(error.orig, "diag", None), "message_detail", None) or _one_line(error)
    return "; ".join(line.partition(" depends on ")[0] for line in detail.splitlines())


def _one_line(error: sa.exc.DBAPIError) -> str:
    return " ".join(str(error.orig).split())
