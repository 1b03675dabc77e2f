"""A batch asset for a job that the audit found, as files of the project: they load, and run, as they stand."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from functools import cache
from textwrap import fill, shorten

from jinja2 import Environment, PackageLoader, StrictUndefined

from offpeak.audit.move import LONGEST_NAME, Move, identifier
from offpeak.audit.verdict import AHEAD
from offpeak.clock import exactly
from offpeak.errors import ConfigurationError
from offpeak.lanes.workload import WATCHED, Waiting

SYSTEM = """\
You are given one row of the job {name}. Say in two or three sentences what matters about it. Invent nothing.\
"""

GROUP = "moved_to_batch"
"""Of the assets in the UI."""

WIDTH = 116
"""Characters of a line of text, so that every formatter leaves it as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """The files, and what to do with them."""

    asset: str
    """A module of `ai_assets/`."""
    schedule: str | None
    """A module of `schedules/`; None where no clock starts the job."""
    name: str
    """Of both files, without the ending, and of the asset."""
    next_steps: tuple[str, ...]


def scaffold(
    move: Move,
    *,
    rows: str | None = None,
    key: str = "key",
    text: str = "text",
    package: str = "ai_assets",
) -> Scaffold:
    """The asset of a move. `rows` names the asset that it reads, `key` and `text` two of its columns; without `rows`
    the file has an asset of its own, with a row to begin with. `package` is where the project keeps its assets.

    Raises ConfigurationError for names that Python would not take, and for work that a person watches.
    """
    if move.verdict.job.waiting is Waiting.WATCHING:
        raise ConfigurationError(f"{move.verdict.job.name} is no work for a batch asset: {WATCHED}")
    for option, name in (("--rows", rows), ("--key", key), ("--text", text)):
        if name is not None and (not name.isidentifier() or identifier(name) != name.lower()):
            raise ConfigurationError(
                f"{option} {name!r} is no name that Python takes for a parameter or a column: letters, digits and "
                "underscores. Rename the column in the asset that reads it."
            )
    words = {
        "move": move,
        "input": rows,
        "rows": rows or f"{move.name}_rows",
        "rows_too": rows is None,
        "key": key,
        "text": text,
        "group": GROUP,
        "package": package,
        "output": _class_name(move.name),
        "system": fill(SYSTEM.format(name=move.name.replace("_", " ")), width=WIDTH),
        "summary": _summary(move),
        "when": _plain(_when(move)),
        "deadline": _deadline(move.deadline),
        "zone_named": isinstance(move.deadline, time),
        "datetime_names": "time, timedelta" if isinstance(move.deadline, time) else "timedelta",
        "valid_for": _timedelta(move.valid_for),
        "valid_because": "time between two runs, deadline, collecting"
        if move.cron
        else "until you know how often it runs",
    }
    return Scaffold(
        asset=_rendered("asset.py.jinja", words),
        schedule=_rendered("schedule.py.jinja", words) if move.cron is not None else None,
        name=move.name,
        next_steps=_next_steps(move, rows, package),
    )


def _next_steps(move: Move, rows: str | None, package: str) -> tuple[str, ...]:
    steps = []
    if rows is None:
        steps.append(f"Let {move.name}_rows in {package}/{move.name}.py read what the job reads today.")
    steps.append("Move the prompt of today into SYSTEM, and the fields that you need into the output class.")
    if move.cron is not None:
        steps.append(
            f"Add `from schedules.{move.name} import {move.name}_schedule` to definitions.py, and the schedule to its "
            "list."
        )
    elif move.on_data or move.on_request:
        steps.append("Start it when rows arrive: automation_condition=when_data_changes(), on a watched source table.")
    steps += [
        "See what it would cost, and buy nothing: offpeak plan " + move.name,
        "Record its contract: offpeak contracts accept",
        "Take the old calls out once its rows are read.",
    ]
    return tuple(steps)


def _when(move: Move) -> str:
    if isinstance(move.deadline, time):
        return f"Submitted {exactly(AHEAD)} before {move.deadline:%H:%M} {move.zone}, when it is due."
    return f"When {move.name} is submitted."


def _summary(move: Move) -> str:
    job = move.verdict.job
    often = f" ({job.cadence.words})" if job.cadence and job.cadence.words else ""
    name = shorten(_plain(job.name), width=LONGEST_NAME, placeholder="...")
    return _plain(f"The job {name}{often}, moved from the realtime lane.")


def _plain(text: str) -> str:
    """A text within a docstring or a string of the file, whatever it holds."""
    return " ".join(text.split()).replace("\\", "/").replace('"', "'")


def _class_name(name: str) -> str:
    return "".join(part.title() for part in re.split(r"_+", name)) + "Answer"


def _deadline(deadline: timedelta | time) -> str:
    if isinstance(deadline, time):
        return f'time({deadline.hour}, {deadline.minute}, tzinfo=ZoneInfo("{deadline.tzinfo}"))'
    return _timedelta(deadline)


def _timedelta(duration: timedelta) -> str:
    """A duration as code, in its largest units."""
    seconds = int(duration.total_seconds())
    parts = []
    for name, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{name}={count}")
    return f"timedelta({', '.join(parts) or 'seconds=0'})"


@cache
def _environment() -> Environment:
    # what is rendered is code, not HTML
    return Environment(  # noqa: S701
        loader=PackageLoader("offpeak.audit"), undefined=StrictUndefined, keep_trailing_newline=True
    )


def _rendered(template: str, words: Mapping[str, object]) -> str:
    return _environment().get_template(template).render(words)
