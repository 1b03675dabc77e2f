"""Figures of a report's first screen."""

from collections.abc import Sequence
from dataclasses import dataclass

from offpeak.reports.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One of them."""

    name: str
    figure: str
    beside: Sequence[str]
    """What to compare it with; empty ones are left out."""


def headline_table(headlines: Sequence[Headline]) -> Table:
    """Side by side, for Markdown."""
    return Table(
        head=["", *(each.name for each in headlines)],
        rows=[
            ["", *(f"**{each.figure}**" for each in headlines)],
            ["", *(", ".join(filter(None, each.beside)) for each in headlines)],
        ],
        names=False,
    )
