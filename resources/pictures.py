"""Tables and plots as metadata that the Dagster UI shows beside an asset."""

import base64
import io
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd

if TYPE_CHECKING:  # whoever draws imports it then: every load of the definitions would pay for it
    from matplotlib.figure import Figure


def as_table(frame: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """The rows as a Markdown table; floats with three places."""
    cells = [
        [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in frame.to_numpy(object)
    ]
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns), *cells]
    # a line break or a bar inside a cell would end it
    clean = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in clean))


def as_picture(figure: "Figure", title: str) -> dg.MarkdownMetadataValue:
    """The figure as a PNG inside Markdown; `title` is for those who do not see it.

    Make it as `Figure(..., layout="constrained")`: one of pyplot would stay in memory.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()})")
