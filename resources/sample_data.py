"""The sample database: what `OFFPEAK_SOURCE_URL` stands for until it is set.

`python -m resources.sample_data load` makes it from `sample_data/*.csv` (`package_descriptions` from the packages of
this machine), and leaves a table that exists as it is, edits included. `edit ticket T-0042 "new text"` changes one row,
`reset` begins anew. Every table logs its changes, so that an edit is seen at once. Events are moved by whole weeks, so
that the newest is less than a week old.
"""

import csv
import os
import sys
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import sqlalchemy as sa
import typer
from sqlalchemy.pool import NullPool

from offpeak.sources.watching import watch
from resources.package_descriptions import package_descriptions, python_packages

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / "sample_data"
DATABASE = PROJECT / ".offpeak" / "source.db"
VARIABLE = "OFFPEAK_SOURCE_URL"

METADATA = sa.MetaData()


def _table(name: str, key: str, *columns: str) -> sa.Table:
    texts = (sa.Column(column, sa.Text) for column in columns)
    return sa.Table(name, METADATA, sa.Column(key, sa.Text, primary_key=True), *texts)


TICKETS = _table(
    "support_tickets",
    "ticket_id",
    *("created_at", "updated_at", "customer", "plan", "channel", "subject", "body", "human_category", "human_urgency"),
)
DOCUMENTS = _table("documents", "document_id", "title", "body", "updated_at", "topic")
EVENTS = _table("product_events", "event_id", "user_id", "occurred_at", "kind", "detail")
ARCHIVE = _table("archived_tickets", "ticket_id", "created_at", "subject", "body", "human_category", "human_urgency")
SUBMISSIONS = _table("submissions", "submission_id", "author", "text", "submitted_at")
NOTES = _table("supplier_notes", "note_id", "text", "updated_at")
PICTURES = _table("pictures", "picture_id", "file", "caption", "updated_at")
LOG_LINES = _table("log_lines", "line_id", "logged_at", "host", "text")
EVAL_CASES = _table(
    "eval_cases",
    "case_id",
    *("sampled_from", "trace_id", "question", "context", "reference", "traced_answer", "human_grade", "updated_at"),
)
FOLLOW_UP_REQUESTS = _table(
    "follow_up_requests", "request_id", "user_id", "question", "answered_in_real_time", "asked_at"
)
CATALOG_ITEMS = _table("catalog_items", "item_id", "kind", "name", "description", "price_eur", "updated_at")
LAUNCH_PROMPTS = _table("launch_prompts", "prompt_id", "kind", "title", "prompt", "updated_at")
LAUNCH_TRAFFIC = _table("launch_traffic", "traffic_id", "asset", "key", "requests")
PACKAGES = _table("package_descriptions", "package", "section", "description")
BY_NAME = {"ticket": TICKETS, "support_tickets": TICKETS, "document": DOCUMENTS, "documents": DOCUMENTS}

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def load() -> None:
    """Create the sample database, or the tables that it lacks."""
    if not DATABASE.exists():
        create(DATABASE)
    with _writing() as connection:
        _fill(connection)
        _watch(connection)
        counts = [
            f"{connection.scalar(sa.select(sa.func.count()).select_from(table))} {table.name}"
            for table in METADATA.tables.values()
        ]
        sections = connection.scalar(sa.select(sa.func.count(PACKAGES.c.section)))
    print(f"{DATABASE}: {', '.join(counts)}")
    if not sections:
        print("package_descriptions are of Python packages, as there is no apt-cache here: they have no section")


@app.command()
def reset() -> None:
    """Make the sample database anew: every edit is gone."""
    create(DATABASE)
    load()


@app.command()
def edit(
    table: Annotated[str, typer.Argument(help="ticket or document")],
    row: Annotated[str, typer.Argument(help="its id, such as T-0042")],
    text: Annotated[str, typer.Argument(help="the new body")],
) -> None:
    """Replace one row's body and move its updated_at to now."""
    if table not in BY_NAME:
        _refuse(f"There is no table {table!r} in the sample data: edit a ticket or a document")
    if not text.strip():
        _refuse(f"The new body of {row} is blank; nothing was changed")
    if not DATABASE.exists():
        _refuse(f"{DATABASE} is not there; create it with `python -m resources.sample_data load`")
    edited = BY_NAME[table]
    (key,) = edited.primary_key
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with _writing() as connection:
        done = connection.execute(sa.update(edited).where(key == row).values(body=text, updated_at=now))
        first, last = connection.execute(sa.select(sa.func.min(key), sa.func.max(key))).one()
    if not done.rowcount:
        _refuse(f"{edited.name} has no row {row!r}; the ids run from {first} to {last}; nothing was changed")
    print(f"{edited.name} {row} has a new body of {len(text)} characters; the other rows are as they were")
    if os.environ.get(VARIABLE):
        print(f"{VARIABLE} is set, so the assets read from there and do not see this edit")


def create(path: Path) -> None:
    """Build the database beside its place and move it there whole, so that no reader meets half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with _writing(draft) as connection:
        _fill(connection)
        _watch(connection)
    draft.replace(path)


def _fill(connection: sa.Connection) -> None:
    """Make the tables that are not there."""
    present = sa.inspect(connection).get_table_names()
    for table in METADATA.tables.values():
        if table.name not in present:
            table.create(connection)
            if rows := _rows(table):
                connection.execute(sa.insert(table), rows)


def _watch(connection: sa.Connection) -> None:
    """Have the tables log their changes that do not yet."""
    for table in METADATA.tables:
        watch(connection, table)


def _rows(table: sa.Table) -> list[dict[str, str | None]]:
    if table is PACKAGES:
        return list(package_descriptions() or python_packages())
    with (FOLDER / f"{table.name}.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: value or None for name, value in line.items()} for line in csv.DictReader(file)]
    return _moved_to_now(rows, "occurred_at") if table is EVENTS else rows


def _moved_to_now(rows: list[dict[str, str | None]], column: str) -> list[dict[str, str | None]]:
    """The rows later by as many whole weeks as fit before now: their hours and days of the week stay as they are."""
    times = [datetime.fromisoformat(row[column] or "") for row in rows]
    by = (datetime.now(UTC) - max(times)) // timedelta(weeks=1) * timedelta(weeks=1)
    return [{**row, column: (time + by).strftime("%Y-%m-%dT%H:%M:%SZ")} for row, time in zip(rows, times, strict=True)]


def _writing(path: Path | None = None) -> AbstractContextManager[sa.Connection]:
    return sa.create_engine(f"sqlite:///{path or DATABASE}", poolclass=NullPool).begin()


def _refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
