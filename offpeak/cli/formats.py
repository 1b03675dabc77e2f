"""How commands write figures: for people in tables, for programs in one JSON document.

In JSON money is decimal text (a float would lose what makes it exact) and time is ISO 8601 in UTC.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def plain(value: Any) -> Any:
    """A value of the engine as what JSON holds. Fields that end in `_pico` become dollars, under `_usd`."""
    if is_dataclass(value) and not isinstance(value, type):
        return dict(_field(field.name, getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def _field(name: str, value: Any) -> tuple[str, Any]:
    from offpeak.money import dollars

    if name.endswith("_pico"):
        return f"{name.removesuffix('_pico')}_usd", None if value is None else decimal_text(dollars(value))
    return name, plain(value)


def decimal_text(value: Decimal) -> str:
    """Without an exponent and without noughts at the end."""
    return f"{value.normalize():f}"


def print_json(document: Any) -> None:
    """One document on stdout."""
    import orjson

    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


@contextmanager
def counting(doing: str, *, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while a terminal is there: what is done, how many of them so far, and how fast.

    Nobody knows of how many, so the bar only moves; the function that is given hears how many there were.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with shown:
        task = shown.add_task(doing, total=None, rate="")

        def count(so_far: int) -> None:
            elapsed = shown.tasks[0].elapsed or 0
            rate = f", {so_far / elapsed:,.0f} a second" if elapsed >= 1 else ""
            shown.update(task, rate=f"{so_far:,} {unit}{rate}")

        yield count


def print_json_line(document: Any) -> None:
    """One document on a line of its own, at once: for a program that reads along."""
    import orjson

    typer.echo(orjson.dumps(document).decode())


def console() -> "Console":
    """Where tables go. Text of users and models is never read as markup."""
    from rich.console import Console

    found = Console(markup=False, highlight=False)
    # Piped into a file a table keeps its columns; on a terminal rich fits it to the window.
    return found if found.is_terminal else Console(markup=False, highlight=False, width=max(found.width, 140))


def columns(title: str | None, *names: str, right: tuple[str, ...] = (), fold: tuple[str, ...] = ()) -> "Table":
    """An empty table without rules; columns named in `right` hold figures, in `fold` long text."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False)
    for name in names:
        justify = "right" if name in right else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name not in fold)  # type: ignore[arg-type]
    return table


def pairs(*rows: tuple[str, str | None]) -> "Table":
    """Names and values, one pair a line; a pair without a value is left out."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value is not None:
            table.add_row(name, value)
    return table


def dollars_text(value: Decimal) -> str:
    """Dollars for people, with as many places as it takes to be read."""
    from offpeak.money import dollars_text as text

    return text(value)


def pico_text(pico: int) -> str:
    """Pico-dollars for people, as dollars."""
    from offpeak.money import pico_text as text

    return text(pico)


def when(moment: datetime | None) -> str:
    """A moment for people, to the second."""
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def words(state: str) -> str:
    """A state as words: "in_progress" reads "in progress"."""
    return state.replace("_", " ")
