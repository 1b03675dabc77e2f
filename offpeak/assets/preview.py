"""The first rows of a frame as a Markdown table, for the UI."""

import dagster as dg
import pandas as pd

from offpeak.assets.markdown import as_markdown

ROWS = 8
_LEFT_OUT = frozenset({"partition_key", "as_of", "effective_until"})
"""Columns that are the same in every row, or stand in the metadata beside the table."""


def preview(frame: pd.DataFrame, *, of: int) -> dg.MarkdownMetadataValue:
    """At most eight rows of `frame`, the beginning of a table of `of` rows.

    Cells are texts of models and of users: none of them can end its row or the table.
    """
    head = frame.head(ROWS)
    columns = [str(name) for name in head.columns if name not in _LEFT_OUT]
    text = as_markdown(columns, head[columns].itertuples(index=False, name=None))
    if of > len(head):
        text += f"\n\n{of - len(head):,} more rows"
    return dg.MetadataValue.md(text)
