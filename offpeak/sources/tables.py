"""The application's tables, read where they are: nothing is copied, so every load sees the rows as they are now.

The address is any SQLAlchemy address (`sqlite:///app.db`, `postgresql+psycopg://...`), or `folder:PATH` with one CSV or
Parquet file, or one sub-folder of Markdown or text files, per table. An asset's name is the name of its table.

A missing value is None, in frames and in row streams alike. It is never NaN, because NaN is true in Python and would
reach a prompt as "nan". What cannot be read is an error and never an empty table, because a plan over an empty table
removes every row.
"""

import hashlib
import os
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any, get_origin

import dagster as dg
import pandas as pd
from dagster._core.definitions.data_version import extract_data_version_from_entry

from offpeak.errors import ConfigurationError, NothingBought
from offpeak.sources.changed import SINCE_KEY, ChangedRows
from offpeak.sources.database import SourceDatabase
from offpeak.sources.folder import SourceFolder

SOURCE_VARIABLE = "OFFPEAK_SOURCE_URL"
"""The environment variable that says where the tables are; read whenever they are, not when definitions load."""


class SourceTables(dg.ConfigurableIOManager):
    """Loads a source asset as a DataFrame, as a row stream where the parameter is annotated as `Iterator`, or as the
    rows that changed since the last plan where it is annotated as `ChangedRows`.

    A stream yields named tuples, like `DataFrame.itertuples(index=False)`, and holds one block of rows at a time.
    `url` replaces the environment variable OFFPEAK_SOURCE_URL; give it as `dg.EnvVar`, because the UI shows plain
    resource settings. `default_url` is read where neither is given, and `default_hint` says what to do when it cannot.
    """

    url: str | None = None
    default_url: str | None = None
    default_hint: str = "correct default_url"

    def load_input(self, context: dg.InputContext) -> pd.DataFrame | Iterator[Any] | ChangedRows:
        """The rows as they are now. Raises ConfigurationError or CouldNotRead where there is nothing to read."""
        asked, table = context.dagster_type.typing_type, table_of(context.asset_key)
        if asked in (pd.DataFrame, Any):
            return self.frame(table)
        if (get_origin(asked) or asked) in (Iterator, Iterable):
            return self.rows(table)
        if asked is ChangedRows:
            return self.changed(table, since=(context.definition_metadata or {}).get(SINCE_KEY))
        raise TypeError(
            f"{table} cannot be loaded as {asked}: annotate the parameter as pandas.DataFrame, as "
            "collections.abc.Iterator for a row stream, or as offpeak.ChangedRows"
        )

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:  # noqa: ARG002
        """Raises NothingBought: the application's tables are only read."""
        raise NothingBought(
            f"{context.asset_key.to_user_string()} was to be written to the application's tables, which are only read "
            "from here; give the asset another io_manager_key"
        )

    def frame(self, table: str) -> pd.DataFrame:
        """All rows. A column with missing values has dtype object, the others the dtype that pandas infers."""
        columns, rows = self.source().open(table)
        frame = pd.DataFrame(list(rows), columns=pd.Index(columns), dtype=object)
        complete = [column for column in frame.columns if frame[column].notna().all()]
        return frame.astype(frame[complete].infer_objects().dtypes.to_dict())

    def rows(self, table: str) -> Iterator[Any]:
        """The rows as named tuples. A missing table is an error of this call, not of the first row."""
        columns, rows = self.source().open(table)
        return _named(columns, rows)

    def changed(self, table: str, *, since: str | None = None) -> ChangedRows:
        """The rows that changed after the position `since`, each once, as it is now, and the keys of those gone.

        Every row is given, with `complete=True`, where `since` is None, is not of this table's log, or the log may lack
        a change: after a TRUNCATE, say. A table that is not watched (`offpeak sources watch`) and a folder have
        no position either. A key is the text of the primary key; where that is not one column, of the first column.
        Rows and position belong to one snapshot, which is taken now; it stays open until the rows are read.
        """
        source = self.source()
        if isinstance(source, SourceFolder):
            columns, rows = source.open(table)
            return ChangedRows((str(row[0]), row) for row in _named(columns, rows))
        head, changes = source.changes(table, since)
        named = _row(head.columns)
        return ChangedRows(
            ((key, None if row is None else named(*row)) for key, row in changes),
            position=head.position,
            complete=head.complete,
        )

    def data_version(self, asset_key: dg.AssetKey, *, since: str | None = None) -> str:
        """What changes when the asset's rows do, at a cost that does not grow with them; `since` again if they did not.

        A watched table asks its log. Another one needs an index that begins with `updated_at`, and the version is of
        the newest `updated_at` and the highest primary key: deletions go unseen, and so does a change that leaves
        `updated_at` as it was. In a folder it is of names, sizes and times of change. Raises ConfigurationError for a
        table with neither.
        """
        source, table = self.source(), table_of(asset_key)
        return _digest(source.state(table)) if isinstance(source, SourceFolder) else source.version(table, since)

    def observed_version(self, asset_key: dg.AssetKey, instance: dg.DagsterInstance) -> str:
        """What an observation records: the cheap version, told from the last one observed, or that of the whole table.

        Only a table that has no cheap version is read whole.
        """
        try:
            return self.data_version(asset_key, since=known_version(instance, asset_key))
        except ConfigurationError:
            return self.version(table_of(asset_key))

    def version(self, table: str) -> str:
        """A digest that changes with the table: of row count and newest `updated_at`, or of file sizes and times.

        A database table without `updated_at` is read whole. A row that is deleted while another is added within the
        same tick of `updated_at` goes unseen.
        """
        return _digest(self.source().state(table))

    def source(self) -> SourceDatabase | SourceFolder:
        """What the address names now. Raises ConfigurationError where nothing says where the tables are."""
        given = self.url or os.environ.get(SOURCE_VARIABLE)
        url, hint = (given, f"correct {SOURCE_VARIABLE}") if given else (self.default_url, self.default_hint)
        if not url:
            raise ConfigurationError(
                "Nothing says where the application's tables are: give SourceTables a url, or set "
                f"{SOURCE_VARIABLE} to an address such as postgresql+psycopg://user@host/name, sqlite:///app.db or "
                "folder:PATH"
            )
        return open_source(url, hint=hint)


def open_source(url: str, *, hint: str) -> SourceDatabase | SourceFolder:
    """The database or folder at `url`; `hint` says what to do when it is wrong.

    Raises ConfigurationError for an address that is none. Nothing is read yet.
    """
    if url.startswith("folder:"):
        return SourceFolder(Path(url.removeprefix("folder:")).expanduser())
    return SourceDatabase(url, hint=hint)


def _named(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
    return starmap(_row(columns), rows)


def _row(columns: Sequence[str]) -> Callable[..., Any]:
    return namedtuple("Row", columns, rename=True)


def _digest(state: tuple[Any, ...]) -> str:
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


def known_version(instance: dg.DagsterInstance, asset_key: dg.AssetKey) -> str | None:
    """The data version of a source asset that Dagster observed last; None before the first."""
    record = instance.get_latest_data_version_record(asset_key, is_source=True)
    known = extract_data_version_from_entry(record.event_log_entry) if record is not None else None
    return known.value if known is not None else None


def table_of(asset_key: dg.AssetKey) -> str:
    """The table that an asset stands for: the last part of its key."""
    return asset_key.path[-1]
