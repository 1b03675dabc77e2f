"""What is on its way, what needs somebody, and how old the results are: for the asset that shows it in Dagster's UI."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING

from offpeak.clock import in_words
from offpeak.ledger.conditions import COLLECTED_WITHIN, Condition
from offpeak.ledger.jobs import JobRow, listed
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.states import JobState, ParkedState
from offpeak.ledger.watching import Watched, queue_depth, timings, watched
from offpeak.queue import gate
from offpeak.reports.ages import AgeHistory, AssetAges, ages, past_ages
from offpeak.reports.pictures import picture
from offpeak.reports.tables import cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JOBS_LISTED = 50
"""Rows of the table at most, what needs somebody first; the counts are of all."""

JOBS_TIMED = 30
"""Bars in the picture of timings at most."""

JOBS_SEARCHED = 300
"""The newest jobs, among which those that had something to buy are found."""

PARTITIONS_SHOWN = 30
"""Bars in the picture of ages at most."""

NAMED = 5
"""Partitions without an answer that are named at most."""

AGES_FOR = timedelta(days=14)
HISTORIES_SHOWN = 8
"""Panels in the picture of ages over time at most, those nearest to the end of their promise."""

DEPTH_FOR = timedelta(days=2)
DEPTH_STEPS = 17_281
"""Moments within `DEPTH_FOR` at which the queue is looked at: every ten seconds."""

LABELS: Mapping[Condition, str] = {
    Condition.UNATTENDED: "unattended",
    Condition.STUCK: "stuck",
    Condition.LATE: "late",
    Condition.AWAITING_APPROVAL: "waits for approval of its sample",
    Condition.HELD: "held",
    Condition.LANDED: "landed, not collected",
    Condition.RUNNING_LONG: "running long, within its deadline",
    Condition.STOPPING: "stopping",
    Condition.QUEUED: "queued",
    Condition.RUNNING: "running",
}
"""In the order in which somebody should look."""

ADVICE: Mapping[Condition, str] = {
    Condition.STUCK: "See the provider's status page. To give up, terminate its run: what has finished is kept, and "
    "materialising again asks for the rest.",
    Condition.LATE: "Until it lands, readers get the rows from before, as far as they tolerate their age.",
    Condition.AWAITING_APPROVAL: "Look at the sample among the asset's observations: `offpeak jobs approve {id}` buys "
    "the rest, `offpeak jobs reject {id}` does not.",
    Condition.HELD: "Nothing of it is bought before somebody approves it: `offpeak jobs approve {id}`.",
    Condition.RUNNING_LONG: "Wait.",
}
"""What to do, where the reason does not say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsReport:
    """What to show. Texts are Markdown; a picture is a PNG within the text, or words where there is nothing to draw."""

    counts: Mapping[str, int]
    """Open jobs, and how many of them are in each condition."""
    problems: Sequence[str]
    """A sentence on each job that is stuck, late, unattended, or landed and has not been collected for long; what is
    worst comes first."""
    jobs: str
    """A table of open jobs: how each is getting on, why, and what to do."""
    timings: str
    """How long the last jobs waited, were at the provider, and took until they were collected."""
    queue_depth: str
    """Requests on their way over the last two days, by provider account."""
    age_of_results: str
    """The age of each batch asset's results against what its contract promises."""
    age_over_time: str
    """The same over the last two weeks: it grows with time, and drops whenever something lands."""
    age_hours: Mapping[str, float]
    """The age of each batch asset's oldest row, in hours; of a partitioned one's newest partition. Assets without any
    answer are left out."""


def operations_report(ledger: Ledger) -> OperationsReport:
    """Read the ledger, and nothing else, as it is now.

    Without matplotlib (`pip install 'offpeak[reports]'`) the pictures are words that say so.
    """
    now = ledger.clock.now()
    found = sorted(
        watched(ledger, now=now, no_room=gate.waits(ledger, now=now)), key=lambda each: _ORDER[each.condition]
    )
    newest = listed(ledger, limit=JOBS_SEARCHED)
    counts = Counter(each.condition for each in found)
    landed = {each.job.id for each in found if each.condition is Condition.LANDED}
    wrong = {each.job.id for each in found if _needs_somebody(each, landed, now)}
    found.sort(key=lambda each: each.job.id not in wrong)
    current = ages(ledger, now=now, limit=PARTITIONS_SHOWN)
    return OperationsReport(
        counts={"open_jobs": len(found), **{condition.value: counts[condition] for condition in Condition}},
        problems=[
            _sentence(f"Job {each.job.id} of {each.job.asset} is {LABELS[each.condition]}", each.why)
            for each in found[: len(wrong)]
        ],
        jobs=_jobs(found, counts, now),
        timings=_timings(newest, ledger, now),
        queue_depth=_queue_depth(newest, ledger, now),
        age_of_results=_ages(current, now),
        age_over_time=_past_ages(past_ages(ledger, since=now - AGES_FOR, until=now), now),
        age_hours={
            each.asset: round((now - each.newest[0].as_of) / timedelta(hours=1), 4)
            for each in current
            if each.newest and each.newest[0].as_of is not None
        },
    )


_ORDER = {condition: number for number, condition in enumerate(LABELS)}


def _needs_somebody(job: Watched, landed: set[int], now: datetime) -> bool:
    if job.condition is not Condition.LANDED:
        return job.condition in {
            Condition.STUCK,
            Condition.LATE,
            Condition.UNATTENDED,
            Condition.AWAITING_APPROVAL,
        }
    if job.parked is None or job.submitted_at is None or job.elapsed is None:
        return False  # a living process is at it
    waits_for_others = job.parked.state is ParkedState.WAITING and not landed.issuperset(job.parked.jobs)
    return not waits_for_others and now - (job.submitted_at + job.elapsed) > COLLECTED_WITHIN


def _jobs(found: Sequence[Watched], counts: Mapping[Condition, int], now: datetime) -> str:
    if not found:
        return f"No job was open at {_when(now)}."
    summary = ", ".join(f"{counts[each]:,} {label}" for each, label in LABELS.items() if counts.get(each))
    lines = [
        f"**{_count(len(found), 'open job')}** at {_when(now)}: {summary}.",
        "",
        "| job | how it is getting on, why, and what to do | figures (UTC) |",
        "| --- | --- | --- |",
        *(_row(each) for each in found[:JOBS_LISTED]),
    ]
    if len(found) > JOBS_LISTED:
        lines += ["", f"{len(found) - JOBS_LISTED:,} more: `offpeak jobs --open`."]
    return "\n".join(lines)


def _row(job: Watched) -> str:
    """Few columns: the UI shows a short table within a narrow one of its own."""
    advice = ADVICE.get(job.condition, "").format(id=job.job.id)
    figures = (
        f"{job.finished:,} of {_count(job.requests, 'request')}" if job.requests else None,
        f"out for {in_words(job.elapsed)}" if job.elapsed is not None else None,
        f"usually {in_words(job.typical)}" if job.typical is not None else None,
        f"deadline {job.deadline_at.astimezone(UTC):%d %b %H:%M}",
    )
    cells = (
        f"{job.job.id} `{job.job.asset}`",
        " ".join(filter(None, (_sentence(f"**{LABELS[job.condition]}**", job.why), advice))),
        "; ".join(filter(None, figures)),
    )
    return f"| {' | '.join(cell(each) for each in cells)} |"


def _sentence(subject: str, why: str) -> str:
    return f"{subject}: {why.rstrip('.')}." if why else f"{subject}."


def _timings(newest: Sequence[JobRow], ledger: Ledger, now: datetime) -> str:
    bought = [row.id for row in newest if row.chunks and row.state not in _NOTHING_SUBMITTED][:JOBS_TIMED]
    if not bought:
        return "No job has had anything to buy yet." if not newest else "None of the last jobs had anything to buy."
    return _picture(
        lambda plots: plots.timings_figure(timings(ledger, ids=bought), now=now),
        "Bars: how long each of the last jobs waited, was at the provider, and took until it was collected",
    )


_NOTHING_SUBMITTED = frozenset({JobState.PLANNING, JobState.HELD, JobState.APPROVED, JobState.ABANDONED})


def _queue_depth(newest: Sequence[JobRow], ledger: Ledger, now: datetime) -> str:
    since = now - DEPTH_FOR
    if len(newest) < JOBS_SEARCHED:  # all there ever were: a young ledger's picture begins with its first job
        since = max([since, *(row.created_at for row in newest[-1:])])
    depth = queue_depth(ledger, since=since, until=now, steps=DEPTH_STEPS)
    if not any(any(requests) for requests in depth.requests.values()):
        step = max((now - since) / (DEPTH_STEPS - 1), timedelta(seconds=1))
        return f"Since {_when(since)} no request was on its way for {in_words(step)} or longer."
    return _picture(
        lambda plots: plots.queue_figure(depth), "Lines: requests on their way over time, by provider account"
    )


def _ages(assets: Sequence[AssetAges], now: datetime) -> str:
    aged = [each for each in assets if any(age.as_of for age in each.newest)]
    if not aged:
        return "No batch asset has results yet."
    oldest = sorted(aged, key=lambda each: max(age.share(now) for age in each.newest), reverse=True)
    shown = [each for each in aged if each in oldest[:PARTITIONS_SHOWN]]
    parts = [
        _picture(
            lambda plots: plots.ages_figure(shown, now=now),
            "Bars: the age of each batch asset's oldest row, as a share of what its contract promises",
        )
    ]
    if left_out := len(aged) - len(shown):
        parts.append(f"Not shown: {_count(left_out, 'asset')}, none of them nearer to the end of its promise.")
    parts += [
        f"`{each.asset}`: {len(each.newest):,} of {each.partitions:,} partitions are shown, those planned last; "
        f"{each.expired:,} of all were planned longer ago than the contract promises."
        for each in shown
        if each.partitions > len(each.newest)
    ]
    if waiting := [f"`{age.name}`" for each in assets for age in each.newest if age.as_of is None]:
        more = f" and {len(waiting) - NAMED:,} more" if len(waiting) > NAMED else ""
        parts.append(f"Without any answer yet: {', '.join(waiting[:NAMED])}{more}.")
    return "\n\n".join(parts)


def _past_ages(histories: Sequence[AgeHistory], now: datetime) -> str:
    if not histories:
        return "No batch asset has results yet."
    nearest = sorted(histories, key=lambda each: each.share(now), reverse=True)
    shown, left_out = nearest[:HISTORIES_SHOWN], nearest[HISTORIES_SHOWN:]
    since = max(now - AGES_FOR, min(each.landings[0].at for each in shown))
    parts = [
        _picture(
            lambda plots: plots.past_ages_figure(shown, since=since, now=now),
            "Lines: the age of each batch asset's oldest row over time, and what its contract promises",
        )
    ]
    if left_out:
        named = ", ".join(f"`{each.asset}`" for each in left_out)
        parts.append(f"Not shown, as none of them is nearer to the end of its promise: {named}.")
    return "\n\n".join(parts)


def _picture(draw: "Callable[[ModuleType], Figure]", words: str) -> str:
    """A picture within Markdown, with `words` for those who cannot see it."""

    def drawn() -> "Figure":
        from offpeak.reports import plots

        return draw(plots)

    return picture(drawn, words).markdown


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
