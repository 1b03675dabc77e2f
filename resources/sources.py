"""The application's tables, read where they are: nothing is copied, so every load sees the rows as they are now.

`OFFPEAK_SOURCE_URL` says where. It is any SQLAlchemy address (`sqlite:///app.db`, `postgresql+psycopg://...`), or
`folder:PATH` with one CSV or Parquet file, or one sub-folder of Markdown or text files, per table. An asset's name is
the name of its table. Without the variable the sample data is read.

A missing value is None, in frames and in row streams alike. It is never NaN, because NaN is true in Python and would
reach a prompt as "nan". What cannot be read is an error and never an empty table, because a plan over an empty table
removes every row.
"""

import hashlib
import os
from collections import namedtuple
from collections.abc import Iterable, Iterator
from itertools import starmap
from pathlib import Path
from typing import Any, get_origin

import dagster as dg
import pandas as pd

from offpeak.errors import NothingBought
from resources import sample_data
from resources.source_database import SourceDatabase
from resources.source_folder import SourceFolder


class SourceTables(dg.ConfigurableIOManager):
    """Loads a source asset as a DataFrame, or as a row stream where the parameter is annotated as `Iterator`.

    A stream yields named tuples, like `DataFrame.itertuples(index=False)`, and holds one block of rows at a time.
    `url` replaces the environment variable; give it as `dg.EnvVar`, because the UI shows plain resource settings.
    """

    url: str | None = None

    def load_input(self, context: dg.InputContext) -> pd.DataFrame | Iterator[Any]:
        asked, table = context.dagster_type.typing_type, context.asset_key.path[-1]
        if asked in (pd.DataFrame, Any):
            return self.frame(table)
        if (get_origin(asked) or asked) in (Iterator, Iterable):
            return self.rows(table)
        raise TypeError(
            f"{table} cannot be loaded as {asked}: annotate the parameter as pandas.DataFrame, or as "
            "collections.abc.Iterator for a row stream"
        )

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:  # noqa: ARG002
        raise NothingBought(
            f"{context.asset_key.to_user_string()} was to be written to the application's tables, which are only read "
            "from here; give the asset another io_manager_key"
        )

    def frame(self, table: str) -> pd.DataFrame:
        """All rows. A column with missing values has dtype object, the others the dtype that pandas infers."""
        columns, rows = self._source().open(table)
        frame = pd.DataFrame(list(rows), columns=pd.Index(columns), dtype=object)
        complete = [column for column in frame.columns if frame[column].notna().all()]
        return frame.astype(frame[complete].infer_objects().dtypes.to_dict())

    def rows(self, table: str) -> Iterator[Any]:
        """The rows as named tuples. A missing table is an error of this call, not of the first row."""
        columns, rows = self._source().open(table)
        return starmap(namedtuple("Row", columns, rename=True), rows)

    def version(self, table: str) -> str:
        """A digest that changes with the table: of row count and newest `updated_at`, or of file sizes and times.

        A database table without `updated_at` is read whole. A row that is deleted while another is added within the
        same tick of `updated_at` goes unseen.
        """
        return hashlib.sha256(repr(self._source().state(table)).encode()).hexdigest()[:16]

    def _source(self) -> SourceDatabase | SourceFolder:
        url = self.url or os.environ.get(sample_data.VARIABLE)
        if not url:
            return SourceDatabase(
                f"sqlite:///{sample_data.DATABASE}", hint="create it with `python -m resources.sample_data load`"
            )
        if url.startswith("folder:"):
            return SourceFolder(Path(url.removeprefix("folder:")).expanduser())
        return SourceDatabase(url, hint=f"correct {sample_data.VARIABLE}")
