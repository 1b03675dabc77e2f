"""The launch report in words, tables and a picture, before it is Markdown or HTML. Code stands between backticks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from offpeak.clock import in_words, moment
from offpeak.launches.capacity import Capacity, Reached
from offpeak.launches.launch import Launch
from offpeak.launches.limits import Source
from offpeak.money.rates import pico_text
from offpeak.reports.headlines import Headline
from offpeak.reports.launches.capacity_words import count, judgement
from offpeak.reports.launches.coverage_words import (
    assets_table,
    hit_rate_words,
    misses_words,
    missing_table,
    percent,
    soon_stale_table,
)
from offpeak.reports.launches.found import Found
from offpeak.reports.launches.moments import local
from offpeak.reports.pictures import Picture, picture
from offpeak.reports.tables import Table, code

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_KNOWN = "not known"

ALIKE = 0.01
"""Shares of pre-computed answers that are closer than this are one line in the picture."""

NO_LAUNCH = (
    "No launch is ahead, and none was over within the last week. The resource `batch_api` names the list of launches "
    "with `launches=`."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One launch."""

    name: str
    title: str
    headlines: Sequence[Headline]
    """The binding limit, the headroom, the day to ask for more, the hit rate, and what misses cost."""
    advice: str
    picture: Picture
    coverage: Sequence[str]
    assets: Table | None
    missing: Table | None
    soon_stale: Table | None
    limits: Table | None
    prepared: Table | None
    held_up: Table | None
    held_up_words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What to show: the first launch's headlines and advice on top, as every document has them."""

    title: str
    headlines: Sequence[Headline]
    advice: str
    about: str
    launches: Sequence[Section]


def told(found: Sequence[Found], *, now: datetime) -> Told:
    """What is known, in words."""
    sections = [section(each) for each in found]
    first = sections[0] if sections else None
    return Told(
        title="Launch report" if first is None else f"Launch report: {first.title}",
        headlines=() if first is None else first.headlines,
        advice=NO_LAUNCH if first is None else first.advice,
        about=f"As it stood on {moment(now)}. A launch is shown until it has been over for a week.",
        launches=sections,
    )


def section(found: Found) -> Section:
    """One launch in words."""
    coverage, launch = found.coverage, found.launch
    texts = [hit_rate_words(coverage)] if coverage is not None else []
    texts += [misses_words(found.misses)] if found.misses is not None else []
    texts += [found.trouble] if found.trouble is not None else []
    return Section(
        name=launch.name,
        title=f"{launch.name}, {_day(launch.starts, launch)}, {_state(found)}",
        headlines=_headlines(found),
        advice=_advice(found),
        picture=_picture(found),
        coverage=texts,
        assets=None if coverage is None else assets_table(coverage),
        missing=None if coverage is None else missing_table(coverage),
        soon_stale=None if coverage is None else soon_stale_table(coverage),
        limits=_limits(found),
        prepared=_prepared(found),
        held_up=_held_up(found),
        held_up_words=_held_up_words(found),
    )


def _day(at: datetime, launch: Launch) -> str:
    there = at.astimezone(ZoneInfo(launch.zone))
    return f"{there.day} {there:%B %Y}"


def _state(found: Found) -> str:
    launch, now = found.launch, found.now
    if found.over:
        return f"over for {in_words(now - launch.ends)}"
    if launch.holds(now):
        return f"open for {in_words(now - launch.starts)}"
    return f"in {in_words(launch.starts - now)}"


def _headlines(found: Found) -> Sequence[Headline]:
    return (_binding(found), _headroom(found), _raise_by(found), _hit_rate(found), _cost(found))


def _binding(found: Found) -> Headline:
    limit = found.planned.binding
    if limit is None:
        return Headline(name="Binding limit", figure=NOT_KNOWN, beside=[_unknown(found.planned.unknown)])
    says = "the provider says so" if limit.limit.source is Source.SEEN else "the price sheet says so"
    return Headline(
        name="Binding limit",
        figure=f"{limit.limit.per_minute:,} {limit.measure}/min",
        beside=[f"of {limit.model}: {says}", _unknown(found.planned.unknown)],
    )


def _unknown(models: Sequence[str]) -> str:
    return f"nobody has said what {' and '.join(models)} {'allow' if len(models) > 1 else 'allows'}" if models else ""


def _headroom(found: Found) -> Headline:
    limit, bare, now = found.planned.binding, found.without.binding, found.standing
    if limit is None or bare is None:
        return Headline(name="Headroom", figure=NOT_KNOWN, beside=["no limit is known"])
    there = None if now is None else now.binding
    standing = "" if there is None else f"{there.headroom:.0%} with what is there now, "
    return Headline(
        name="Headroom",
        figure=f"{limit.headroom:.0%}",
        beside=[
            f"{count(limit.needed)} needed of {count(limit.usable)} usable, if {percent(found.planned.precomputed)} is "
            "pre-computed",
            f"{standing}{bare.headroom:.0%} with nothing",
        ],
    )


def _raise_by(found: Found) -> Headline:
    by, left = found.planned.raise_by, found.planned.raise_by - found.now
    there = by.astimezone(ZoneInfo(found.launch.zone))
    when = f"in {in_words(left)}" if left > timedelta(0) else f"{in_words(-left)} ago"
    raised = found.planned.to_raise
    what = [f"{each.model} to {each.enough:,} {each.measure}/min" for each in raised]
    if found.planned.unknown:
        what.append("what is not known has to be looked up first")
    return Headline(
        name="Raise by",
        figure=f"{there.day} {there:%b %Y}",
        beside=[f"{when}; {what[0] if what else 'nothing has to be raised'}", *what[1:]],
    )


def _hit_rate(found: Found) -> Headline:
    coverage = found.coverage
    if coverage is None:
        return Headline(name="Hit rate", figure=NOT_KNOWN, beside=["the past traffic cannot be read: see below"])
    return Headline(
        name="Hit rate",
        figure=percent(coverage.hit_rate),
        beside=[
            f"{percent(found.launch.precomputed_share)} planned; {percent(coverage.hit_rate_at_peak)} at the peak",
            f"{percent(coverage.missing_share)} missing, {percent(coverage.soon_stale_share)} stale before it ends",
        ],
    )


def _cost(found: Found) -> Headline:
    cost = found.misses
    if cost is None:
        return Headline(name="Cost of misses", figure=NOT_KNOWN, beside=["the hit rate or a price is: see below"])
    saves = f"; full coverage would save {pico_text(cost.saving_pico)}" if cost.saving_pico > 0 else ""
    return Headline(
        name="Cost of misses",
        figure=pico_text(cost.cost_pico),
        beside=[
            f"{cost.requests:,.0f} requests of the window, at half of the peak on average",
            f"{pico_text(cost.most_pico)} at most{saves}",
        ],
    )


def _advice(found: Found) -> str:
    """What comes first: limits take longest, then rows that lack, then rows that go stale."""
    launch, coverage = found.launch, found.coverage
    if found.over or not found.planned.fits:
        return judgement(found.planned)
    if found.now < launch.starts - launch.quiet:
        begins = local(launch.starts - launch.quiet, launch)
        return f"{judgement(found.planned)} Pre-computation begins on {begins} {launch.zone}."
    if coverage is None:
        return "See why the hit rate is not known: it decides what asks a model."
    lacking = coverage.hit_rate < launch.precomputed_share
    if lacking and coverage.missing_share >= coverage.soon_stale_share:
        worst = coverage.missing[0].row.asset
        return (
            f"{percent(launch.precomputed_share)} is to be answered beforehand, and {percent(coverage.hit_rate)} is: "
            f"materialise the partition {code(launch.name)} of {code(worst)}, whose rows are asked for most."
        )
    if lacking:
        worst = coverage.soon_stale[0].row.asset
        return (
            f"{percent(coverage.soon_stale_share)} of what is asked for goes stale before the window ends: materialise "
            f"the partition {code(launch.name)} of {code(worst)} again, as late as its batch allows."
        )
    return judgement(found.planned)


def _picture(found: Found) -> Picture:
    launch = found.launch

    def draw() -> "Figure":
        from offpeak.reports.launches.timeline import PLANNED, STANDING, WITHOUT, Course, launch_figure

        limit = found.planned.binding
        courses = [("without pre-computation", found.without, WITHOUT)]
        courses += [(f"as planned, {percent(found.planned.precomputed)}", found.planned, PLANNED)]
        if found.standing is not None and all(
            abs(found.standing.precomputed - other.precomputed) >= ALIKE for _, other, _ in courses
        ):
            courses.append((f"as it stands, {percent(found.standing.precomputed)}", found.standing, STANDING))
        return launch_figure(
            launch,
            now=found.now,
            raise_by=found.planned.raise_by,
            prepared=found.prepared,
            limit=limit,
            courses=[
                Course(name=name, peak=_needed(of, limit), colour=colour, dashes=dashes)
                for name, of, (colour, dashes) in courses
            ],
        )

    words = (
        f"Time line of {launch.name}: what is pre-computed and until when it is fresh, the window in which scheduled "
        "work waits, the day to ask for limits, now; and the expected traffic over the window against the binding limit"
    )
    return picture(draw, words)


def _needed(of: Capacity, limit: Reached | None) -> float:
    """What is needed of a limit at the peak; of requests to all models where none is known."""
    if limit is None:
        return sum(each.requests_per_minute for each in of.demand.values())
    return next(each.needed for each in of.reached if (each.model, each.measure) == (limit.model, limit.measure))


def _limits(found: Found) -> Table | None:
    if not found.planned.reached:
        return None
    bare = {(each.model, each.measure): each for each in found.without.reached}
    rows = [
        (
            each.model,
            each.measure.value,
            f"{each.limit.per_minute:,}",
            count(each.usable),
            count(each.needed),
            f"{each.headroom:.0%}",
            f"{bare[each.model, each.measure].headroom:.0%}",
            "–" if each.raise_to is None else f"{each.raise_to:,}",
        )
        for each in found.planned.reached
    ]
    head = ("model", "a minute", "limit", "usable", "needed", "headroom", "with nothing pre-computed", "raise to")
    return Table(head=head, rows=rows)


def _prepared(found: Found) -> Table | None:
    if not found.prepared:
        return None

    def at(when: datetime | None) -> str:
        return "–" if when is None else local(when, found.launch)

    rows = [
        (
            each.asset,
            f"{each.rows:,}",
            f"{each.missing:,}",
            at(each.landed_at),
            at(each.as_of),
            at(each.effective_until),
        )
        for each in found.prepared
    ]
    return Table(head=("asset", "rows", "without answer", "landed", "as of", "fresh until"), rows=rows)


def _held_up(found: Found) -> Table | None:
    if not found.held_up:
        return None
    rows = [(each.asset, "yes" if each.breaks_a_promise else "no", str(each)) for each in found.held_up]
    return Table(head=("asset", "breaks a promise", "what happens"), rows=rows, words_last=True)


def _held_up_words(found: Found) -> str:
    if found.held_up is None:
        return "What else the launch holds up is not known here: the project's graph was not given."
    if not found.held_up:
        return "No scheduled purchase falls into its window."
    number, broken = len(found.held_up), sum(each.breaks_a_promise for each in found.held_up)
    assets = "1 asset" if number == 1 else f"{number:,} assets"
    return (
        f"Scheduled runs of {assets} fall into its window, and are made up afterwards. Promises are broken of "
        f"{broken or 'none'} of them."
    )
