"""The change log on Postgres, exact although transactions commit in another order than they began.

An entry carries the transaction that wrote it. What changed since a reading is what that reading's snapshot does not
see: entries of transactions that were open then, or had not begun. So no change is lost, and none is given twice.

The triggers act once per statement, as the owner of the log, so that roles without any right on it go on writing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from offpeak.errors import ConfigurationError
from offpeak.sources.log import CHANGES, CHANNEL, WATCHED, ChangeLog, Standing, literal, quoted

OLDEST = 130_000
"""The server version that brought `pg_current_snapshot`."""

LOCK_PATIENCE = "10s"
"""How long installing waits for open transactions on the table; writers wait behind it."""

FUNCTION = "offpeak_log_changes"
TRIGGERS = {
    "offpeak_insert": "INSERT ON {table} REFERENCING NEW TABLE AS offpeak_new",
    "offpeak_update": "UPDATE ON {table} REFERENCING OLD TABLE AS offpeak_old NEW TABLE AS offpeak_new",
    "offpeak_delete": "DELETE ON {table} REFERENCING OLD TABLE AS offpeak_old",
    "offpeak_truncate": "TRUNCATE ON {table}",
}

KEY_TYPES = ("int2", "int4", "int8", "numeric", "text", "varchar", "uuid")
"""Types whose text depends on no setting of a session."""

_TABLES = (
    """CREATE TABLE IF NOT EXISTS {schema}.offpeak_watched (
  source text PRIMARY KEY,
  epoch text NOT NULL,
  key_column text NOT NULL,
  installed_at timestamptz NOT NULL DEFAULT now()
)""",
    """CREATE TABLE IF NOT EXISTS {schema}.offpeak_changes (
  source text,
  key text,
  xid xid8 NOT NULL,
  PRIMARY KEY (source, key)
)""",
    "CREATE INDEX IF NOT EXISTS offpeak_changes_xid ON {schema}.offpeak_changes (source, xid)",
)

# The key is found by its number, because a column that is renamed must not make the application's writes fail.
_BODY = """
DECLARE
  key_column name;
  logged bigint := 1;
BEGIN
  SELECT attname INTO key_column FROM pg_attribute
    WHERE attrelid = TG_RELID AND attnum = TG_ARGV[1]::smallint AND NOT attisdropped;
  IF TG_OP = 'TRUNCATE' OR key_column IS NULL THEN
    UPDATE {schema}.offpeak_watched SET epoch = gen_random_uuid()::text WHERE source = TG_ARGV[0];
  ELSE
    EXECUTE format(
      'INSERT INTO {escaped}.offpeak_changes AS entry (source, key, xid)
       SELECT $1, changed.key, (SELECT pg_current_xact_id()) FROM (' ||
      CASE TG_OP
        WHEN 'INSERT' THEN 'SELECT DISTINCT %1$I::text AS key FROM offpeak_new'
        WHEN 'DELETE' THEN 'SELECT DISTINCT %1$I::text AS key FROM offpeak_old'
        ELSE 'SELECT %1$I::text AS key FROM offpeak_new UNION SELECT %1$I::text FROM offpeak_old'
      END || ') AS changed WHERE changed.key IS NOT NULL
       ON CONFLICT (source, key) DO UPDATE SET xid = excluded.xid WHERE entry.xid <> excluded.xid',
      key_column) USING TG_ARGV[0];
    GET DIAGNOSTICS logged = ROW_COUNT;
  END IF;
  IF logged > 0 AND TG_ARGV[2] = 'notify' THEN
    PERFORM pg_notify({channel}, TG_ARGV[0]);
  END IF;
  RETURN NULL;
END
"""

_FOUND = """
SELECT n.nspname AS schema, c.oid AS oid, c.relkind::text AS kind, c.relispartition AS partition,
       EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid OR inhparent = c.oid) AS inherits,
       EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = c.oid) AS replicated,
       pg_is_in_recovery() AS standby, current_setting('server_version_num')::int AS version
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(:name)
"""

_KEY = """
SELECT a.attnum AS number, a.attname AS name, t.typname AS type, i.indnkeyatts AS columns
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
JOIN pg_type t ON t.oid = a.atttypid WHERE i.indrelid = :oid AND i.indisprimary
"""

# Catalog rows carry the transaction that wrote them last: a trigger that was off for a while is not the same again.
_STANDING = """
SELECT w.epoch, w.key_column, pg_current_snapshot()::text AS snapshot,
  to_char(w.installed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS installed_at,
  (SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = c.oid AND t.tgname = ANY(CAST(:triggers AS text[])) AND t.tgenabled = 'A' AND p.prosrc = :body
    AND position(convert_to(w.source, getdatabaseencoding()) || '\\x00'::bytea || convert_to(
      (SELECT a.attnum::text FROM pg_attribute a JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
        AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum WHERE a.attrelid = c.oid AND a.attname = w.key_column),
      getdatabaseencoding()) || '\\x00'::bytea IN t.tgargs) = 1) AS working,
  md5(concat_ws('/', c.oid,
    (SELECT string_agg(concat_ws(':', t.oid, t.xmin), ',' ORDER BY t.oid) FROM pg_trigger t
      WHERE t.tgrelid = c.oid AND t.tgname = ANY(CAST(:triggers AS text[]))),
    (SELECT string_agg(concat_ws(':', a.attnum, a.xmin), ',' ORDER BY a.attnum) FROM pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum > 0))) AS made
FROM pg_class c JOIN {schema}.offpeak_watched w ON w.source = :source WHERE c.oid = :oid
"""


class PostgresLog(ChangeLog):
    """The log lies in the schema of the table."""

    def __init__(self, connection: sa.Connection, table: str) -> None:
        super().__init__(connection, table)
        self._found = connection.execute(sa.text(_FOUND), {"name": quoted(table)}).one_or_none()
        schema = self._found.schema if self._found else connection.scalar(sa.text("SELECT current_schema()"))
        self._schema = str(schema)
        self._in_text = quoted(self._schema).replace(":", r"\:")

    @staticmethod
    @contextmanager
    def snapshot(engine: sa.Engine, table: str | None) -> Iterator[sa.Connection]:
        with engine.connect().execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        ) as connection:
            if table is not None:
                # Before the snapshot: to an older one, a table that is rewritten or truncated looks empty.
                connection.exec_driver_sql(
                    f"LOCK TABLE {quoted(table)} IN ACCESS SHARE MODE", execution_options={"no_parameters": True}
                )
            yield connection

    @staticmethod
    @contextmanager
    def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'")
            yield connection

    def refusal(self) -> str | None:
        found = self._found
        if found is None:
            return "there is no table of that name"
        if found.version < OLDEST:
            return f"the server is older than Postgres {OLDEST // 10_000}"
        if found.standby:
            return "this server is a standby, which nothing can be written to: give the address of the primary"
        if found.kind != "r" or found.partition or found.inherits:
            return _KINDS.get(found.kind, "it has partitions or heirs, whose rows change without its triggers")
        if found.replicated:
            return "logical replication writes it, and that fires no such triggers: watch the table at its origin"
        key = self.connection.execute(sa.text(_KEY), {"oid": found.oid}).one_or_none()
        if key is None or key.columns != 1:
            return "it has no primary key of one column, by which the log could name a row"
        if key.type not in KEY_TYPES:
            return f"its key {key.name} is of type {key.type}, and the log takes {', '.join(KEY_TYPES)}"
        return None

    def installation(self, *, notify: bool) -> list[str]:
        key = self.connection.execute(sa.text(_KEY), {"oid": self._found.oid if self._found else None}).one()
        schema = quoted(self._schema)
        table, function = f"{schema}.{quoted(self.table)}", f"{schema}.{FUNCTION}()"
        arguments = ", ".join((literal(self.table), literal(str(key.number)), literal("notify" if notify else "quiet")))
        statements = [each.format(schema=schema) for each in _TABLES]
        statements += [
            f"CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER\n"
            f"SET search_path = pg_catalog, pg_temp AS $offpeak${self._body()}$offpeak$",
            f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC",
        ]
        statements += self._without_triggers(table)
        for name, event in TRIGGERS.items():
            statements += [
                f"CREATE TRIGGER {name} AFTER {event.format(table=table)}\n"
                f"FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{FUNCTION}({arguments})",
                # Also where a program that copies rows in has switched ordinary triggers off for its session.
                f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}",
            ]
        statements += [
            f"DELETE FROM {schema}.{CHANGES} WHERE source = {literal(self.table)}",
            f"INSERT INTO {schema}.{WATCHED} (source, epoch, key_column)\n"
            f"VALUES ({literal(self.table)}, gen_random_uuid()::text, {literal(key.name)})\n"
            "ON CONFLICT (source) DO UPDATE SET epoch = excluded.epoch, key_column = excluded.key_column, "
            "installed_at = now()",
            self._told(),
        ]
        return statements

    def grants(self, readers: Sequence[str]) -> list[str]:
        schema = quoted(self._schema)
        return [f"GRANT SELECT ON {schema}.{WATCHED}, {schema}.{CHANGES} TO {quoted(each)}" for each in readers]

    def removal(self) -> list[str]:
        schema, source = quoted(self._schema), literal(self.table)
        statements = self._without_triggers(f"{schema}.{quoted(self.table)}") if self._found else []
        others = sa.text(f"SELECT EXISTS (SELECT FROM {self._in_text}.{WATCHED} WHERE source <> :source)")
        if self.connection.scalar(others, {"source": self.table}):
            return [
                *statements,
                *(f"DELETE FROM {schema}.{each} WHERE source = {source}" for each in (CHANGES, WATCHED)),
                self._told(),
            ]
        return [
            *statements,
            f"DROP FUNCTION IF EXISTS {schema}.{FUNCTION}()",
            *(f"DROP TABLE {schema}.{each}" for each in (CHANGES, WATCHED)),
            self._told(),
        ]

    def _told(self) -> str:
        """A listener that is there already learns that it can rely on the triggers now, or no longer."""
        return f"SELECT pg_notify({literal(CHANNEL)}, {literal(self.table)})"

    def standing(self) -> Standing | None:
        found = self._found
        if found is None or not self._installed:
            return None
        schema = quoted(self._schema)
        self._may_read(schema)
        values = {"source": self.table, "oid": found.oid, "triggers": list(TRIGGERS), "body": self._body()}
        row = self.connection.execute(sa.text(_STANDING.format(schema=self._in_text)), values).one_or_none()
        if row is None:
            return None
        broken = None
        if found.standby:
            broken = "this server is a standby, which does not know what was open at the primary"
        elif row.working != len(TRIGGERS) or found.replicated or found.inherits:
            broken = "its triggers are missing, disabled or those of another table: watch it again"
        return Standing(
            key_column=row.key_column,
            epoch=f"{row.epoch}.{row.made}",
            at=row.snapshot,
            installed_at=row.installed_at,
            broken=broken,
        )

    def entries(self, standing: Standing, position: str | None) -> sa.Subquery | None:
        ends = _parse(standing.place_of(position))
        now = _parse(standing.at)
        # One of the future is of a database that was put back to a former state.
        if ends is None or now is None or ends[0] > now[0]:
            return None
        end, open_ones = ends
        logged = f"SELECT key FROM {self._in_text}.{CHANGES} WHERE source = :source AND xid"
        # Two ranges of the index; in one condition the planner might read all that the source ever logged.
        queries = [f"{logged} >= CAST(:end AS xid8)"]
        values = {"source": self.table, "end": str(end)}
        if open_ones:
            queries.append(f"{logged} = ANY(CAST(:open AS xid8[]))")
            values["open"] = "{" + ",".join(map(str, open_ones)) + "}"
        query = sa.text(" UNION ALL ".join(queries)).bindparams(**values)
        return query.columns(sa.column("key", sa.Text)).subquery("changed")

    def same_key(self, column: sa.Column[object], key: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        typed: sa.ColumnElement[Any] = key
        if isinstance(column.type, sa.Integer | sa.Uuid):
            typed = sa.cast(key, column.type)
        elif isinstance(column.type, sa.Numeric):
            typed = sa.cast(key, sa.Numeric)
        # 1.0 and 1.00 are one number and two texts.
        return sa.and_(column == typed, sa.cast(column, sa.Text) == key)

    @property
    def recorded(self) -> bool:
        query = sa.text(f"SELECT EXISTS (SELECT FROM {self._in_text}.{WATCHED} WHERE source = :source)")
        return self._installed and bool(self.connection.scalar(query, {"source": self.table}))

    @property
    def _installed(self) -> bool:
        schema = quoted(self._schema)
        query = sa.text("SELECT to_regclass(:watched) IS NOT NULL AND to_regclass(:changes) IS NOT NULL")
        names = {"watched": f"{schema}.{WATCHED}", "changes": f"{schema}.{CHANGES}"}
        return bool(self.connection.scalar(query, names))

    @property
    def notifies(self) -> bool:
        query = sa.text(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = :oid AND tgname = ANY(CAST(:triggers AS text[])) "
            "AND position('notify'::bytea IN tgargs) > 0"
        )
        oid = self._found.oid if self._found else None
        return bool(self.connection.scalar(query, {"oid": oid, "triggers": list(TRIGGERS)}))

    def _may_read(self, schema: str) -> None:
        query = sa.text(
            "SELECT current_user, has_schema_privilege(:plain, 'USAGE') AND has_table_privilege(:watched, 'SELECT') "
            "AND has_table_privilege(:changes, 'SELECT')"
        )
        names = {"plain": self._schema, "watched": f"{schema}.{WATCHED}", "changes": f"{schema}.{CHANGES}"}
        user, may = self.connection.execute(query, names).one()
        if not may:
            raise ConfigurationError(
                f"{self.table} is watched, and {user} may not read the log of its changes. Nothing was read. Have its "
                f"owner run: GRANT SELECT ON {schema}.{WATCHED}, {schema}.{CHANGES} TO {quoted(user)}"
            )

    def _without_triggers(self, table: str) -> list[str]:
        return [f"DROP TRIGGER IF EXISTS {name} ON {table}" for name in TRIGGERS]

    def _body(self) -> str:
        schema = quoted(self._schema)
        within_text = schema.replace("%", "%%").replace("'", "''")
        return _BODY.format(schema=schema, escaped=within_text, channel=literal(CHANNEL))


_KINDS = {
    "v": "it is a view, and only tables have triggers that see every change: watch the tables below it",
    "m": "it is a materialized view, whose refresh fires no triggers: watch the tables below it",
    "f": "it is a foreign table, whose rows change without its triggers: watch it where it lies",
}


def _parse(snapshot: str | None) -> tuple[int, list[int]] | None:
    """Of `xmin:xmax:open,open`, where transactions had not begun and which were open."""
    try:
        _, end, open_ones = (snapshot or "").split(":")
        return int(end), [int(each) for each in open_ones.split(",") if each]
    except ValueError:
        return None
