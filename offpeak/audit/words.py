"""The audit in words and tables, before it is Markdown, HTML or a terminal's lines. Code stands between backticks."""

from collections.abc import Sequence
from dataclasses import dataclass

from offpeak.audit.audit import Audit
from offpeak.audit.code.finding import Unread
from offpeak.audit.design import Point, design
from offpeak.audit.job import Lane, Source
from offpeak.audit.pricing import about
from offpeak.audit.verdict import Verdict
from offpeak.clock import moment
from offpeak.reports.headlines import Headline
from offpeak.reports.tables import Table

SHOWN = 25
"""Rows of a table at most."""

PLACES = 5
"""Calls in code that are named for a job at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """One misfit, looked at closely."""

    name: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What to show, in the order in which it is shown."""

    title: str
    headlines: Sequence[Headline]
    advice: str
    about: Sequence[str]
    """What was read, and what could not be."""
    misfits: Table | None
    close: Sequence[Close]
    designed: str
    """The job that the design is of; empty where there is none."""
    design: Table | None
    fits: Table | None


def told(audit: Audit) -> Told:
    """What the audit says."""
    misfits = audit.misfits
    points = design(audit.move(misfits[0])) if misfits else ()
    return Told(
        title=f"Workload audit, {audit.now.day} {audit.now:%B %Y}",
        headlines=_headlines(audit),
        advice=_advice(misfits),
        about=_about(audit),
        misfits=_misfits(misfits),
        close=[Close(name=each.job.name, lines=closely(each)) for each in misfits[:SHOWN]],
        designed=misfits[0].job.name if misfits else "",
        design=_design(points),
        fits=_fits([each for each in audit.verdicts if not each.misfit]),
    )


def costs(each: Verdict) -> str:
    """What a job costs as it is bought now."""
    price = each.price
    if price is None:
        return "?"
    return amount(each, price.batch_pico if each.job.lane is Lane.BATCH else price.realtime_pico)


def amount(each: Verdict, pico: int) -> str:
    """Dollars of a job, with what they are of; a question mark where nobody states the prices of its models."""
    job = each.job
    if each.price is None or not each.price.known:
        return "?"
    if job.assumed:
        return f"{about(pico)} for {job.calls:,} calls"
    return f"{about(pico)} once" if job.once else f"{about(pico)} a month"


def _headlines(audit: Audit) -> Sequence[Headline]:
    misfits = audit.misfits
    cost, saved = monthly(misfits)
    once = sum(each.saving_pico for each in misfits if each.job.once and not each.unmeasured)
    guessed = [each for each in misfits if each.unmeasured]
    return (
        Headline(
            name="In the wrong lane",
            figure=f"{len(misfits)} of {len(audit.verdicts)} jobs",
            beside=(f"{len(guessed)} of them without a measure of what they buy" if guessed else "",),
        ),
        Headline(name="They cost", figure=about(cost), beside=("a month, as they are bought now",)),
        Headline(
            name="Moving them saves",
            figure=about(saved),
            beside=("a month, to an order of magnitude", f"and {about(once)} once" if once else ""),
        ),
    )


def monthly(misfits: Sequence[Verdict]) -> tuple[int, int]:
    """What misfits cost in a month, and what moving them saves, in pico-dollars: as far as both are measured."""
    measured = [each for each in misfits if each.monthly]
    return sum(each.price.realtime_pico for each in measured if each.price), sum(each.saving_pico for each in measured)


def _advice(misfits: Sequence[Verdict]) -> str:
    if not misfits:
        return "Nothing: no job was found that runs in the wrong lane."
    first = misfits[0]
    saves = f", which saves {amount(first, first.saving_pico)}" if first.saving_pico else ""
    return f"Move `{first.job.name}` to the {first.lane} lane{saves}: `offpeak audit scaffold {first.job.name}`."


def _about(audit: Audit) -> list[str]:
    said = []
    if audit.listed is not None:
        said.append(f"List: {audit.listed.name}.")
    if audit.log is not None:
        log = audit.log
        said.append(
            f"Log: {log.calls:,} calls from {moment(log.first)} to {moment(log.last)}, as {log.format}."
            + (f" {log.skipped:,} lines could not be read, the first: {log.first_skipped}." if log.skipped else "")
        )
        said.extend(log.notes)
    for each in audit.code:
        unread = f" {len(each.unread):,} could not be parsed: {_some(each.unread)}." if each.unread else ""
        allowed = f" {each.allowed:,} are allowed by a comment." if each.allowed else ""
        said.append(
            f"Code: {each.root.name or each.root}, {each.files:,} files, {each.sites:,} calls that buy tokens, "
            f"{len(each.findings):,} of them unwatched.{allowed}{unread}"
        )
    unpriced = sorted({model for each in audit.verdicts if each.price for model in each.price.unpriced})
    if unpriced:
        said.append(
            f"Without a known batch rate, and so in no figure: {', '.join(unpriced)}. Add what you pay to "
            "`price_sheet.toml`."
        )
    return said


def _some(unread: Sequence[Unread]) -> str:
    names = [f"{one.path.name} ({one.reason})" for one in unread[:3]]
    return ", ".join(names) + (" and others" if len(unread) > len(names) else "")


def _misfits(misfits: Sequence[Verdict]) -> Table | None:
    if not misfits:
        return None
    return Table(
        head=["job", "now", "belongs in", "costs", "saves", "what it is, and what to do"],
        rows=[
            [
                each.job.name,
                each.job.lane,
                each.lane,
                costs(each),
                amount(each, each.saving_pico),
                what(each),
            ]
            for each in misfits[:SHOWN]
        ],
        words_last=True,
    )


def what(each: Verdict) -> str:
    """What a misfit is, and what to do about it."""
    if each.lane is Lane.BACKGROUND:
        return (
            "Minutes are fine: take the request, answer at once, buy it in the background, and tell who asked when it "
            "has landed. It costs the same, and nobody holds a connection open."
        )
    if each.job.case is None:
        return f"Bought at realtime price although nobody watches: it belongs in the {each.lane} lane."
    return f"{each.job.case.heading}. {each.job.case.remedy}"


def closely(each: Verdict) -> list[str]:
    """Everything that is known of a job, a sentence or two each."""
    job = each.job
    signals = "; ".join(f"{signal.name}: {_yes(signal.holds)} ({signal.why})" for signal in each.signals)
    lines = [f"Who waits? {each.reason}", f"Signals: {signals}."]
    lines += [f"Exception: {text}" for text in each.exceptions]
    if job.cadence is not None and job.cadence.words:
        lines.append(f"When: {job.cadence.words}.")
    lines += job.why
    if job.assumed:
        lines.append(f"Figures are {job.assumed}.")
    code = [place for place in job.where if ":" in place] if Source.CODE in job.sources else []
    if code:
        more = f" and {len(code) - PLACES} more" if len(code) > PLACES else ""
        lines.append(f"Where: {', '.join(f'`{place}`' for place in code[:PLACES])}{more}.")
    return lines


def _yes(holds: bool | None) -> str:
    return {True: "yes", False: "no", None: "not known"}[holds]


def _design(points: Sequence[Point]) -> Table | None:
    if not points:
        return None
    return Table(
        head=["question", "answer"],
        rows=[[each.question, each.answer] for each in points],
        names=False,
        words_last=True,
    )


def _fits(verdicts: Sequence[Verdict]) -> Table | None:
    if not verdicts:
        return None
    return Table(
        head=["job", "lane", "costs", "why it stays"],
        rows=[
            [
                each.job.name,
                each.job.lane,
                costs(each),
                " ".join((each.reason, *each.exceptions)),
            ]
            for each in verdicts[:SHOWN]
        ],
        words_last=True,
    )
