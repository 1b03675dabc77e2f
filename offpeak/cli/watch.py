"""Following open jobs: bars on a terminal, elsewhere a line for every change. Ends by Ctrl-C alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from offpeak.cli.formats import columns, when, words
from offpeak.ledger import jobs
from offpeak.ledger.conditions import WRONG, Condition
from offpeak.ledger.jobs import JobRow
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.watching import Watched, watched
from offpeak.queue import gate

if TYPE_CHECKING:
    from rich.console import Console, ConsoleDimensions, RenderableType
    from rich.text import Text

INTERVAL = timedelta(seconds=2)
"""Between two looks at the ledger."""

ENDED_SHOWN = 3
"""Jobs that ended while somebody watched: so many of the last ones stay in sight."""


WIDE = 100
"""Columns from which on a terminal has room for everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at the ledger found."""

    at: datetime
    open: Sequence[Watched]
    """What needs somebody first, then by deadline."""
    ended: Sequence[JobRow]
    """Jobs that were open at the look before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is new about one job."""

    at: datetime
    job: JobRow
    standing: Watched | None
    """None for one that has ended."""
    anew: bool
    """Its condition is another one than before."""


def looks(ledger: Ledger, asset: str | None) -> Iterator[Look]:
    """The open jobs, of one asset or all, now and at every interval from now on."""
    before: set[int] = set()
    while True:
        at = ledger.clock.now()
        found = watched(ledger, now=at, asset=asset, no_room=gate.waits(ledger, now=at))
        now = {each.job.id for each in found}
        ended = jobs.listed(ledger, ids=sorted(before - now), limit=len(before)) if before - now else []
        yield Look(at=at, open=sorted(found, key=_urgency), ended=ended)
        before = now
        ledger.clock.sleep(INTERVAL)


def _urgency(each: Watched) -> tuple[bool, datetime, int]:
    return each.condition not in WRONG, each.deadline_at, each.job.id


def changes(ledger: Ledger, asset: str | None) -> Iterator[Change]:
    """Each open job once, and again whenever its condition or a count of it has changed, or it has ended."""
    told: dict[int, tuple[object, ...]] = {}
    for look in looks(ledger, asset):
        for each in look.open:
            counts = (each.condition, each.requests, each.finished, each.batches, each.landed, each.applied)
            before = told.get(each.job.id)
            told[each.job.id] = counts
            if counts != before:
                anew = before is None or before[0] is not each.condition
                yield Change(at=look.at, job=each.job, standing=each, anew=anew)
        for row in look.ended:
            yield Change(at=look.at, job=row, standing=None, anew=True)


def line(change: Change) -> str:
    """For people; why a job is in its condition is said once."""
    row, each = change.job, change.standing
    parts = [when(change.at), f"job {row.id}", row.asset]
    if each is None:
        return "  ".join([*parts, words(row.state.value)])
    parts.append(words(each.condition.value))
    parts += [f"{each.finished:,}/{each.requests:,} requests"] if each.requests else []
    parts += [f"{each.landed + each.applied}/{each.batches} batches ended"] if each.batches > 1 else []
    parts += [each.why] if each.why and change.anew else []
    return "  ".join(parts)


def follow(ledger: Ledger, asset: str | None, *, limit: int, out: "Console") -> None:
    """Bars for at most `limit` open jobs on the terminal `out`, renewed at every interval, until interrupted."""
    from rich.live import Live

    ended: list[JobRow] = []
    with Live(console=out, auto_refresh=False) as live:
        for look in looks(ledger, asset):
            ended = [*ended, *reversed(look.ended)][-ENDED_SHOWN:]
            live.update(frame(look, ended, limit=limit, size=out.size), refresh=True)


def frame(look: Look, ended: Sequence[JobRow], *, limit: int, size: "ConsoleDimensions") -> "RenderableType":
    """What a terminal of this size shows; jobs that do not fit on it are counted."""
    from rich.console import Group
    from rich.text import Text

    below = [Text(f"Job {row.id} of {row.asset} ended: {words(row.state.value)}.") for row in ended]
    room = max(size.height - len(below) - 3, 1)
    shown = list(look.open[: min(limit, room)])
    said = [each for each in shown if each.why]
    while shown and len(shown) + len(said) + (len(shown) < len(look.open)) > room:
        # what is said of a job goes before the job does, the least urgent first
        if said:
            said.pop()
        else:
            shown.pop()
    if len(shown) < len(look.open):
        below.insert(0, Text(f"{len(look.open) - len(shown):,} more are open."))
    notes = [Text(f"Job {each.job.id}: {each.why}.", no_wrap=True, overflow="ellipsis") for each in said]
    count = "No job is open" if not look.open else f"{len(look.open):,} open" if len(look.open) > 1 else "1 open"
    head = Text(f"{count} at {look.at:%H:%M:%S} UTC. Ctrl-C ends this, and no job.", style="dim")
    return Group(head, *([_bars(shown, look.at, width=size.width)] if shown else []), *notes, *below)


def _bars(shown: Sequence[Watched], now: datetime, *, width: int) -> "RenderableType":
    """A table of `width` characters. Where that is little, the name of the asset gives way, and the usual time."""
    from rich.progress_bar import ProgressBar

    counts = [f"{each.finished:,}/{each.requests:,}" if each.requests else "-" for each in shown]
    usually = width >= WIDE
    table = columns(None, "job", "asset", "condition", right=("job",))
    table.expand = True
    table.columns[1].overflow = "ellipsis"
    table.columns[1].max_width = max(width - max(map(len, counts)) - (65 if usually else 56), 10)
    table.add_column("", ratio=1, min_width=6)
    for name in ("requests", "elapsed", *(["usually"] if usually else []), "time left"):
        table.add_column(name, justify="right", no_wrap=True)
    for each, count in zip(shown, counts, strict=True):
        bar = ProgressBar(total=each.requests, completed=each.finished, complete_style="green") if each.requests else ""
        times = (each.elapsed, *([each.typical] if usually else []), each.deadline_at - now)
        condition = _condition(each.condition)
        table.add_row(str(each.job.id), each.job.asset, condition, bar, count, *map(_clock, times))
    return table


def _condition(condition: Condition) -> "Text":
    from rich.text import Text

    style = (
        "red" if condition in WRONG else {Condition.RUNNING_LONG: "yellow", Condition.LANDED: "green"}.get(condition)
    )
    return Text(words(condition.value), style=style or "")


def _clock(duration: timedelta | None) -> str:
    """Hours, minutes and seconds, such as "1:03:20", or "-0:13:00" for what is past."""
    if duration is None:
        return "-"
    minutes, seconds = divmod(int(abs(duration.total_seconds())), 60)
    sign = "-" if duration < timedelta(0) else ""
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{seconds:02}"
