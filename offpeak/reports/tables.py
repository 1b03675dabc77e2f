"""Tables that are shown twice: as Markdown in Dagster's UI, and in an HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Plain texts: `markdown` escapes them, and for HTML a template does. Figures stand right of the first column."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: bool = True
    """The first column holds names, to be shown as code; otherwise words."""
    words_last: bool = False
    """The last column holds sentences, in which code stands between backticks."""

    @property
    def markdown(self) -> str:
        figures = ["---:"] * (len(self.head) - 1)
        if self.words_last:
            figures[-1] = "---"
        lines: list[Sequence[str]] = [self.head, ["---", *figures]]
        lines += [(code(row[0]) if self.names else cell(row[0]), *map(cell, row[1:])) for row in self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(name: str) -> str:
    """A name as code, whatever it holds."""
    return f"`{cell(name).replace('`', chr(39))}`"


def cell(text: str) -> str:
    """Within one cell of a Markdown table, whatever it holds."""
    return " ".join(text.split()).replace("|", "\\|")
