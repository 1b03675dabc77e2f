"""The first rows of a frame as a Markdown table, for the UI."""

from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

ROWS = 8
CELL = 120
"""Characters shown of one cell."""

_LEFT_OUT = frozenset({"partition_key", "as_of", "effective_until"})
"""Columns that are the same in every row, or stand in the metadata beside the table."""


def preview(frame: pd.DataFrame, *, of: int) -> dg.MarkdownMetadataValue:
    """At most eight rows of `frame`, the beginning of a table of `of` rows.

    Cells are texts of models and of users: none of them can end its row or the table.
    """
    head = frame.head(ROWS)
    columns = [str(name) for name in head.columns if name not in _LEFT_OUT]
    lines = ["| " + " | ".join(map(_cell, columns)) + " |", "|" + " --- |" * len(columns)]
    lines += [
        "| " + " | ".join(_cell(value) for value in row) + " |"
        for row in head[columns].itertuples(index=False, name=None)
    ]
    if of > len(head):
        lines += ["", f"{of - len(head):,} more rows"]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: Any) -> str:
    if isinstance(value, np.ndarray):
        text = f"[{', '.join(f'{number:.3f}' for number in value[:3])}, ...] ({len(value)} numbers)"
    elif isinstance(value, pd.Timestamp):
        text = f"{value:%Y-%m-%d %H:%M:%S}"
    elif isinstance(value, float):
        text = f"{value:.8f}".rstrip("0").rstrip(".")  # a cost of micro-dollars is not read in powers of ten
    else:
        text = str(value)
    text = " ".join(text.split())
    if len(text) > CELL:
        text = text[: CELL - 1] + "\u2026"
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
