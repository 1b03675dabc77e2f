"""Pictures for the UI: Dagster shows Markdown with a PNG in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resources.pictures import as_picture
from resources.vectors import Drift

Pair = tuple["pd.Series[Any]", "pd.Series[Any]"]


def confusion_picture(pairs: Mapping[str, Pair], orders: Mapping[str, Sequence[str]]) -> dg.MarkdownMetadataValue:
    """A confusion matrix for each named pair of what people said and what the model said, row by row.

    `orders` has the labels of each in the order in which they are drawn. The shade is the share of the row, so that a
    rare label shows as clearly as a frequent one; the number is a count. There has to be a row.
    """
    from matplotlib.figure import Figure

    side = max(4.4, 0.6 * max(map(len, orders.values())))  # inches
    figure = Figure(figsize=((side + 0.2) * len(pairs), side), layout="constrained")
    drawn = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axes, (name, (human, model)) in zip(drawn, pairs.items(), strict=True):
        labels = list(orders[name])
        counts = confusion(human, model, labels)
        shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=ink)
        axes.set_xticks(range(len(labels)), labels, rotation=45 if len(labels) > 5 else 0)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("the model said")
        axes.set_ylabel("a person said")
        same = int(counts.trace())
        axes.set_title(f"{name}: {same} of {len(human)} agree ({same / len(human):.0%})")
    return as_picture(figure, "confusion matrices")


def drift_picture(moved: Drift) -> dg.MarkdownMetadataValue:
    """How like the mean of the baseline the vectors are, those of the baseline and those of now."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.hist([moved.like_before, moved.like_now], bins=30, density=True, label=["baseline", "now"])
    axes.set(xlabel="cosine with the mean of the baseline", ylabel="density")
    axes.legend()
    return as_picture(figure, "Likeness to the baseline")


def confusion(human: "pd.Series[Any]", model: "pd.Series[Any]", labels: Sequence[str]) -> NDArray[np.int64]:
    """How often the model said the label of the column where a person said that of the row."""
    table = pd.crosstab(human.to_numpy(), model.to_numpy())
    return table.reindex(index=list(labels), columns=list(labels), fill_value=0).to_numpy(dtype=np.int64)
