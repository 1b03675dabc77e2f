"""`offpeak bill`: what was bought, by whatever it is told apart by; and what a task cost over its whole chain."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offpeak.cli.formats import AsJson, columns, console, pico_text, plain, print_json
from offpeak.cli.ledgers import DatabaseUrl, open_ledger
from offpeak.errors import OffpeakError

if TYPE_CHECKING:
    from offpeak.ledger.task_costs import TaskCost
    from offpeak.money.bill import Bill, By, Total

DAYS = 30
"""What is billed without --since: so many days up to now."""

TASK = "task"

_MONEY = ("cost", "realtime", "saved", "unusable", "retries", "rescues", "paid twice", "possibly twice")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("bill")(bill)


def bill(
    assets: Annotated[
        list[str] | None, typer.Argument(metavar="[ASSET]...", help="Only these assets; without any, all.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From the beginning of this UTC day, YYYY-MM-DD; or a number of days, 7d.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to the end of this UTC day; without it, up to now.")] = None,
    by: Annotated[
        str,
        typer.Option(
            help="What is told apart, with commas between: asset, partition, job, lane, tier, model, attempt, day, "
            "month; or task."
        ),
    ] = "asset",
    task: Annotated[str | None, typer.Option(help="What this one task cost, over all assets of its chain.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """What was bought, at the prices of its days: cost, realtime price, and what of it brought nothing."""
    if task is not None or by == TASK:
        _only_tasks(assets, since, until)
        _tasks(task, as_json=as_json, database_url=database_url)
        return
    names = _names(by)
    from offpeak.ledger import billing
    from offpeak.ledger.explaining import refuse_unknown_asset
    from offpeak.money.bill import Bill

    with open_ledger(database_url) as ledger:
        now = ledger.clock.now()
        first, end = _first(since, now), _end(until, now)
        if first >= end:
            raise OffpeakError(f"--since {since} is not before --until {until}: there is no day between them.")
        with ledger.database.read() as connection:
            for asset in assets or ():
                refuse_unknown_asset(connection, asset)
        lines = billing.lines(ledger, since=first, until=end)
        if assets:
            lines = (line for line in lines if line.asset in assets)
        found = Bill.of(lines, names)
    if as_json:
        _print_json(found, first, end)
    else:
        _print_table(found, first, end)


def _only_tasks(assets: Sequence[str] | None, since: str | None, until: str | None) -> None:
    if assets or since or until:
        raise OffpeakError(
            "A task is reckoned over its rows as they are wanted now, in all assets and however long ago they were "
            "bought: leave assets, --since and --until out."
        )


def _names(by: str) -> "list[By]":
    from offpeak.money.bill import NAMES

    names = [name.strip() for name in by.split(",") if name.strip()]
    if not names or any(name not in NAMES for name in names):
        wrong = next((name for name in names if name not in NAMES), by)
        raise OffpeakError(
            f"--by {wrong!r} is nothing that a bill is told apart by. Give one or more of {', '.join(NAMES)}, with "
            "commas between; or task alone."
        )
    return names  # type: ignore[return-value]


def _first(since: str | None, now: datetime) -> datetime:
    if since is None:
        return now - timedelta(days=DAYS)
    if (days := re.fullmatch(r"(\d{1,4})d", since)) is not None:
        return now - timedelta(days=int(days[1]))
    return _day("--since", since)


def _end(until: str | None, now: datetime) -> datetime:
    return now if until is None else _day("--until", until) + timedelta(days=1)


def _day(option: str, text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise OffpeakError(f"{option} {text!r} is no day. Write it as YYYY-MM-DD, such as 2026-11-01.") from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _print_json(found: "Bill", first: datetime, end: datetime) -> None:
    groups = [
        {**dict(zip(found.by, map(_plain_value, key), strict=True)), **_figures(total)}
        for key, total in _in_order(found)
    ]
    print_json({"since": plain(first), "until": plain(end), "groups": groups, "total": _figures(found.total)})


def _figures(total: "Total") -> dict[str, Any]:
    figures: dict[str, Any] = plain(total)
    return figures


def _plain_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _in_order(found: "Bill") -> "Iterable[tuple[tuple[Any, ...], Total]]":
    """The dearest first; over time, in order."""
    if any(name in {"day", "month"} for name in found.by):
        return sorted(found.groups.items(), key=lambda group: [str(each) for each in group[0]])
    return sorted(found.groups.items(), key=lambda group: (-group[1].cost_pico, [str(each) for each in group[0]]))


def _print_table(found: "Bill", first: datetime, end: datetime) -> None:
    shown = console()
    title = f"Bought from {first:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    if not found.groups:
        shown.print(f"Nothing was {title[0].lower()}{title[1:]}.")
        return
    table = columns(title, *found.by, "answers", *_MONEY, right=("answers", *_MONEY))
    for key, total in _in_order(found):
        table.add_row(*map(_cell, key), *_row(total))
    if len(found.groups) > 1:
        table.add_row("total", *[""] * (len(found.by) - 1), *_row(found.total))
    shown.print(table)
    shown.print(
        "unusable: brought nothing usable; retries, rescues: second and later attempts, and what was bought at "
        "realtime price for a deadline. These overlap, and are parts of the cost; possibly twice is not.",
        soft_wrap=True,
    )


def _cell(value: Any) -> str:
    if value is None:
        return "?"
    return str(value) or "-"


def _row(total: "Total") -> list[str]:
    return [
        f"{total.answers:,}",
        pico_text(total.cost_pico),
        pico_text(total.realtime_pico),
        pico_text(total.realtime_pico - total.cost_pico),
        *(
            pico_text(each) if each else "-"
            for each in (
                total.unusable_pico,
                total.retries_pico,
                total.rescues_pico,
                total.paid_twice_pico,
                total.possibly_paid_twice_pico,
            )
        ),
    ]


def _tasks(task: str | None, *, as_json: bool, database_url: str | None) -> None:
    from offpeak.ledger import task_costs

    with open_ledger(database_url) as ledger:
        found = task_costs.dearest(ledger) if task is None else task_costs.of_task(ledger, task)
    if as_json:
        print_json({"task": task, "groups": [plain(each) for each in found]})
        return
    shown = console()
    if not found:
        shown.print("No row is a part of a task. Rows name theirs with task= on their request.")
        return
    shown.print(_table_of(found, task))
    if task is not None and len(found) > 1:
        shown.print(f"together {pico_text(sum(each.cost_pico for each in found))}")


def _table_of(found: "Sequence[TaskCost]", task: str | None) -> Any:
    figures = ("rows", "unanswered", "cost", "realtime", "unusable")
    name = "task" if task is None else "asset"
    table = columns(f"Task {task}" if task is not None else "The dearest tasks", name, *figures, right=figures)
    for each in found:
        table.add_row(
            each.task if task is None else each.asset or "",
            f"{each.rows:,}",
            f"{each.unanswered:,}",
            pico_text(each.cost_pico),
            pico_text(each.realtime_pico),
            pico_text(each.unusable_pico) if each.unusable_pico else "-",
        )
    return table
