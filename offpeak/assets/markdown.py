"""Tables in Markdown, as the UI shows them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

CELL = 120
"""Characters shown of one cell."""


def as_markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of cells, whatever stands in them: none can end its row or the table."""
    lines = ["| " + " | ".join(map(_cell, columns)) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines)


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
