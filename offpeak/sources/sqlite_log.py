"""The change log on SQLite: every change of a row raises the table's position, and SQLite has one writer at a time.

Its triggers act once per row. A statement's own way with conflicts (`INSERT OR IGNORE`) would override one of theirs,
so they upsert instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from offpeak.sources.log import CHANGES, WATCHED, ChangeLog, Standing, literal, quoted

_TABLES = (
    """CREATE TABLE IF NOT EXISTS offpeak_watched (
  source TEXT PRIMARY KEY,
  epoch TEXT NOT NULL,
  key_column TEXT NOT NULL,
  position INTEGER NOT NULL,
  installed_at TEXT NOT NULL
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS offpeak_changes (
  source TEXT NOT NULL,
  key TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (source, key)
) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS offpeak_changes_position ON offpeak_changes (source, position)",
)

_TRIGGER = """CREATE TRIGGER {trigger} {event} ON {table} BEGIN
  UPDATE offpeak_watched SET position = position + 1 WHERE source = {source};
{entries}
END"""

_ENTRY = """  INSERT INTO offpeak_changes (source, key, position)
    SELECT {source}, {key}, watched.position FROM offpeak_watched AS watched{rows}
    WHERE watched.source = {source} AND {key} IS NOT NULL AND {condition}
    ON CONFLICT (source, key) DO UPDATE SET position = excluded.position;"""


class SqliteLog(ChangeLog):
    """The log lies in the same file."""

    @staticmethod
    @contextmanager
    def snapshot(engine: sa.Engine, table: str | None) -> Iterator[sa.Connection]:  # noqa: ARG004
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    @staticmethod
    @contextmanager
    def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def refusal(self) -> str | None:
        made = self._made("table")
        if made is None:
            return (
                "it is a view, and only tables have triggers that see every change: watch the tables below it"
                if self._made("view")
                else "there is no table of that name"
            )
        if made.upper().startswith("CREATE VIRTUAL"):
            return "it is a virtual table, which takes no triggers"
        keys = self._keys()
        if len(keys) != 1:
            return "it has no primary key of one column, by which the log could name a row"
        ((name, declared),) = keys
        if not _whole_or_text(declared):
            return f"its key {name} is declared as {declared or 'nothing'}, and the log takes integers and text"
        if any(None in columns for columns in self._unique()):
            return "a unique index of it is on an expression, by which INSERT OR REPLACE may remove rows unseen"
        return None

    def installation(self, *, notify: bool) -> list[str]:  # noqa: ARG002 - SQLite has no listeners
        ((key, _),) = self._keys()
        source = literal(self.table)
        return [
            *_TABLES,
            *self._without_triggers(),
            *self._triggers(key).values(),
            f"DELETE FROM {CHANGES} WHERE source = {source}",
            f"INSERT OR REPLACE INTO {WATCHED} (source, epoch, key_column, position, installed_at)\n"
            f"VALUES ({source}, lower(hex(randomblob(16))), {literal(key)}, 0, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
        ]

    def removal(self) -> list[str]:
        statements = self._without_triggers()
        others = sa.text(f"SELECT EXISTS (SELECT 1 FROM {WATCHED} WHERE source <> :source)")
        if self.connection.scalar(others, {"source": self.table}):
            source = literal(self.table)
            return [*statements, *(f"DELETE FROM {each} WHERE source = {source}" for each in (CHANGES, WATCHED))]
        return [*statements, *(f"DROP TABLE {each}" for each in (CHANGES, WATCHED))]

    def standing(self) -> Standing | None:
        if not self._installed:
            return None
        query = sa.text(f"SELECT epoch, key_column, position, installed_at FROM {WATCHED} WHERE source = :source")
        row = self.connection.execute(query, {"source": self.table}).one_or_none()
        if row is None:
            return None
        wanted = self._triggers(row.key_column)
        found = {name: self._sql("trigger", name) for name in wanted}
        broken = None
        if found != wanted or [name for name, _ in self._keys()] != [row.key_column]:
            broken = "its triggers are missing, or those of another form of the table: watch it again"
        return Standing(
            key_column=row.key_column,
            # A table with other columns, or made anew, has other rows without any trigger having acted.
            epoch=f"{row.epoch}.{_digest(self._made('table') or '')}",
            at=str(row.position),
            installed_at=row.installed_at,
            broken=broken,
        )

    def entries(self, standing: Standing, position: str | None) -> sa.Subquery | None:
        place = standing.place_of(position) or ""
        # One of the future is of a file that was put back to a former state.
        if not place.isdecimal() or int(place) > int(standing.at):
            return None
        query = sa.text(f"SELECT key FROM {CHANGES} WHERE source = :source AND position > :position").bindparams(
            source=self.table, position=int(place)
        )
        return query.columns(sa.column("key", sa.Text)).subquery("changed")

    def same_key(self, column: sa.Column[object], key: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        # The column's affinity makes a number of the key where it has to. Named first, the key is compared as it is
        # written, whatever the column's collation takes for equal.
        return sa.and_(column == key, key == sa.cast(column, sa.Text))

    @property
    def recorded(self) -> bool:
        query = sa.text(f"SELECT EXISTS (SELECT 1 FROM {WATCHED} WHERE source = :source)")
        return self._installed and bool(self.connection.scalar(query, {"source": self.table}))

    @property
    def _installed(self) -> bool:
        return self._sql("table", WATCHED) is not None and self._sql("table", CHANGES) is not None

    @property
    def notifies(self) -> bool:
        return False

    def _triggers(self, key: str) -> dict[str, str]:
        source = literal(self.table)

        def entry(row: str, condition: str = "TRUE", rows: str = "") -> str:
            return _ENTRY.format(source=source, key=_as_text(row, key), condition=condition, rows=rows)

        # Two keys that the column's collation takes for equal are two.
        moved = f"{_as_text('OLD', key)} COLLATE BINARY IS NOT {_as_text('NEW', key)}"
        events = {
            "insert": ("AFTER INSERT", [entry("NEW")]),
            "update": ("AFTER UPDATE", [entry("NEW"), entry("OLD", moved)]),
            "delete": ("AFTER DELETE", [entry("OLD")]),
        }
        # REPLACE removes rows that hold a unique value already, and fires no trigger for them.
        holding = f", {quoted(self.table)} AS held"
        held = [
            entry(
                "held", " AND ".join(f"held.{quoted(each)} = NEW.{quoted(each)}" for each in columns if each), holding
            )
            for columns in self._unique()
        ]
        if held:
            events |= {"replace": ("BEFORE INSERT", held), "move": ("BEFORE UPDATE", held)}
        made = {}
        for name, (event, entries) in events.items():
            trigger = f"offpeak_{name}_{self.table}"
            made[trigger] = _TRIGGER.format(
                trigger=quoted(trigger),
                event=event,
                table=quoted(self.table),
                source=source,
                entries="\n".join(entries),
            )
        return made

    def _unique(self) -> list[list[str | None]]:
        """The columns of each unique index but the primary key's; None for an expression."""
        listed = self.connection.execute(
            sa.text("SELECT name FROM pragma_index_list(:table) WHERE \"unique\" AND origin <> 'pk' ORDER BY name"),
            {"table": self.table},
        )
        columns = sa.text("SELECT name FROM pragma_index_info(:index) ORDER BY seqno")
        return [
            [column for (column,) in self.connection.execute(columns, {"index": index})]
            for index in listed.scalars().all()
        ]

    def _keys(self) -> list[tuple[str, str]]:
        query = sa.text("SELECT name, type FROM pragma_table_info(:table) WHERE pk > 0")
        return [(name, declared) for name, declared in self.connection.execute(query, {"table": self.table})]

    def _without_triggers(self) -> list[str]:
        query = sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table")
        ours = {f"offpeak_{name}_{self.table}" for name in ("insert", "update", "delete", "replace", "move")}
        present = self.connection.execute(query, {"table": self.table}).scalars()
        return [f"DROP TRIGGER {quoted(name)}" for name in sorted(ours & set(present))]

    def _made(self, kind: str) -> str | None:
        return self._sql(kind, self.table)

    def _sql(self, kind: str, name: str) -> str | None:
        query = sa.text("SELECT sql FROM sqlite_master WHERE type = :kind AND name = :name")
        found = self.connection.execute(query, {"kind": kind, "name": name}).scalar()
        return None if found is None else str(found)


def _as_text(row: str, key: str) -> str:
    return f"CAST({row}.{quoted(key)} AS TEXT)"


def _whole_or_text(declared: str) -> bool:
    """Whether SQLite keeps text and key apart by nothing, by its rules of affinity."""
    upper = declared.upper()
    return "INT" in upper or any(word in upper for word in ("CHAR", "CLOB", "TEXT"))


def _digest(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()[:16]
