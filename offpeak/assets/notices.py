"""What people are told of a batch asset, in words: plain decisions of what is known, without a look at anything.

A notice says what happened, in one sentence, the figures, what to do, and where to look. It holds no text of a request,
an answer or a provider, no key of a row, and no address.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from offpeak.clock import in_words, moment
from offpeak.freshness.sla import Occurrence
from offpeak.freshness.standing import Freshness, Standing
from offpeak.lanes.rescue import MARGIN
from offpeak.ledger.closed import Closed
from offpeak.ledger.conditions import Condition
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.notices import Notice
from offpeak.ledger.notify import NoticeKind, Routes
from offpeak.ledger.policy import DEGRADED, QUEUE_FULL
from offpeak.ledger.spending import for_its_price
from offpeak.ledger.states import JobState, SlaState
from offpeak.ledger.watching import Watched
from offpeak.money import dollars
from offpeak.notifier import Notifier, Severity


def severity(kind: NoticeKind) -> Severity:
    """How a service is to show it."""
    match kind:
        case NoticeKind.LANDED:
            return Severity.SUCCESS
        case (
            NoticeKind.PARTIAL_FAILURE
            | NoticeKind.HELD
            | NoticeKind.DEADLINE_ENDANGERED
            | NoticeKind.QUEUE_FULL
            | NoticeKind.RESCUE
            | NoticeKind.BUDGET
        ):
            return Severity.WARNING
        case NoticeKind.FAILED | NoticeKind.STUCK | NoticeKind.DEADLINE_MISSED | NoticeKind.CONTRACT_BREACH:
            return Severity.FAILURE


@dataclass(frozen=True, slots=True)
class Teller:
    """Makes the notices of one asset: those that somebody wants, who can be reached now."""

    asset: str
    routes: Routes
    notifier: Notifier

    def ended(self, closed: Closed) -> list[Notice]:
        """A job that ends. Who cancelled one knows of it, and what was superseded lives on in another."""
        job, by = f"Job {closed.job_id} of {self.asset}", (self.asset, str(closed.job_id))
        match closed.state:
            case JobState.COMPLETED:
                told = self._landed(closed, f"{self.asset} has landed: {_rows(closed.rows)}.", by)
            case JobState.COMPLETED_WITH_PARTIAL_FAILURES:
                told = self._partly_landed(closed, by)
            case JobState.FAILED | JobState.EXPIRED:
                expired = "its batches were not run in time" if closed.state is JobState.EXPIRED else "it failed"
                told = self._notice(
                    NoticeKind.FAILED,
                    by,
                    title=f"{self.asset} has not landed: {expired}",
                    what=f"{job} ended without the answers that its asset needs: {expired}{_reasons(closed)}.",
                    facts=_figures(closed),
                    do=f"`offpeak jobs show {closed.job_id}` says why. What was paid for is kept: mend it, and "
                    f"materialise {self.asset} again.",
                    path=f"runs/{closed.run_id}",
                )
            case _:
                return []
        told += self.queue_full(
            closed.job_id, dropped=closed.let_go.get(QUEUE_FULL, 0), degraded=closed.let_go.get(DEGRADED, 0)
        )
        if closed.closed_at > closed.deadline_at:
            over = in_words(closed.closed_at - closed.deadline_at)
            told += self._missed(closed.job_id, closed.run_id, f"{job} ended {over} past its deadline")
        return told

    def _landed(self, closed: Closed, what: str, by: tuple[str, ...]) -> list[Notice]:
        return self._notice(
            NoticeKind.LANDED,
            by,
            title=f"{self.asset} has landed",
            what=what,
            facts=_figures(closed),
            do="",
            path=f"runs/{closed.run_id}",
        )

    def _partly_landed(self, closed: Closed, by: tuple[str, ...]) -> list[Notice]:
        failed = sum(closed.unanswered.values())
        lack = [f"{failed:,} of its rows have no usable answer of their own{_reasons(closed)}"] if failed else []
        lack += [f"{closed.late:,} of its rows were still on their way at its deadline"] if closed.late else []
        what = f"{self.asset} has landed, but {' and '.join(lack) or 'some rows have no answer'}."
        shown = f"`offpeak dead-letters list {self.asset}` shows them, and how they are sent round again."
        collected = "The next run collects what is on its way; until then its rows serve the answers from before."
        told = self._notice(
            NoticeKind.PARTIAL_FAILURE,
            by,
            title=f"{self.asset} has landed in part",
            what=what,
            facts=_figures(closed),
            do=shown if failed or not closed.late else collected,
            path=f"runs/{closed.run_id}",
        )
        names = {name for notice in told for name in notice.destinations}
        # whoever only waits for the rows is told that they are there
        landed = self._landed(closed, what, by)
        return told + [each for notice in landed for each in _without(notice, names)]

    def open_job(self, found: Watched, *, now: datetime) -> list[Notice]:
        """An open job that somebody should look at."""
        number, job = found.job.id, f"Job {found.job.id} of {self.asset}"
        by, page = (self.asset, str(number)), f"runs/{found.job.run_id}"
        told: list[Notice] = []
        match found.condition:
            case Condition.HELD if for_its_price(found.job.reason):
                return self.over_budget(number, found.why, False, run_id=found.job.run_id)
            case Condition.HELD:
                return self._notice(
                    NoticeKind.HELD,
                    by,
                    title=f"{self.asset} is held",
                    what=f"{job} would buy much anew of what has not changed, so the surge guard holds it. Nothing was "
                    "submitted.",
                    do=f"`offpeak jobs show {number}` says what differs and what it costs. If it is meant, `offpeak "
                    f"jobs approve {number}` and materialise again; if not, mend the asset.",
                    path=page,
                )
            case Condition.AWAITING_APPROVAL:
                told = self._notice(
                    NoticeKind.HELD,
                    by,
                    title=f"{self.asset} waits for approval",
                    what=f"{job}: {found.why}.",
                    do="Its rows are among the asset's observations. `offpeak jobs approve` releases the rest, "
                    "`offpeak jobs reject` lets it go.",
                    path=f"assets/{self.asset}",
                )
            case Condition.STUCK | Condition.UNATTENDED:
                gone = found.condition is Condition.UNATTENDED
                told = self._notice(
                    NoticeKind.STUCK,
                    by,
                    title=f"{self.asset} is {'left alone' if gone else 'stuck'}",
                    what=f"{job}: {found.why}.",
                    do=f"Materialise {self.asset} again: it goes on from what the ledger holds."
                    if gone
                    else f"`offpeak jobs show {number}` names its batches: look at them at the provider.",
                    path=page,
                )
            case _:
                pass
        if now > found.deadline_at:
            over = in_words(now - found.deadline_at)
            told += self._missed(number, found.job.run_id, f"{job} is {over} past its deadline, and has not landed")
        elif (usual := _too_long(found, now)) is not None:
            told += self._notice(
                NoticeKind.DEADLINE_ENDANGERED,
                by,
                title=f"{self.asset} may be late",
                what=f"{job} is due in {in_words(found.deadline_at - now)} ({moment(found.deadline_at)}), and its "
                f"batches usually take {in_words(usual)}.",
                do=f"`offpeak jobs show {number}` says where it stands.",
                path=page,
            )
        return told

    def _missed(self, job_id: int, run_id: str, what: str) -> list[Notice]:
        return self._notice(
            NoticeKind.DEADLINE_MISSED,
            (self.asset, str(job_id)),
            title=f"{self.asset} is late",
            what=f"{what}.",
            do=f"`offpeak jobs show {job_id}` says where the time went.",
            path=f"runs/{run_id}",
        )

    def stale(self, found: Freshness) -> list[Notice]:
        """Rows that have been found to be older than promised, or that were due and have never landed."""
        if found.standing not in {Standing.STALE, Standing.MISSING}:
            return []
        until = found.effective_until.isoformat() if found.standing is Standing.STALE and found.effective_until else ""
        return self._notice(
            NoticeKind.CONTRACT_BREACH,
            (self.asset, found.partition_key, until),
            title=f"{self.asset} is older than promised" if until else f"{self.asset} is due and missing",
            what=f"{self.asset} breaks its contract. {found.description}",
            do=f"Consumers that tolerate no more are refused. `offpeak jobs` shows whether it is on its way; else "
            f"materialise {self.asset}.",
            path=f"assets/{self.asset}",
        )

    def sla(self, consumer: str, found: Occurrence) -> list[Notice]:
        """A time of day by which a consumer of this asset has to be fresh."""
        match found.state:
            case SlaState.ENDANGERED:
                kind, word = NoticeKind.DEADLINE_ENDANGERED, "may be late"
            case SlaState.MISSED:
                kind, word = NoticeKind.DEADLINE_MISSED, "is late"
            case SlaState.DUE | SlaState.MET:
                return []
        return self._notice(
            kind,
            (consumer, found.due_at.isoformat()),
            title=f"{consumer} {word}",
            what=f"{consumer}, due at {moment(found.due_at)}, {word}. {found.why}",
            do=f"It is made of {self.asset}: `offpeak jobs` shows what is on its way.",
            path=f"assets/{consumer}",
        )

    def queue_full(self, job_id: int, *, dropped: int = 0, degraded: int = 0) -> list[Notice]:
        """A job whose asset chose to do without some of its rows, or to ask a cheaper model for them; told once.

        `dropped` and `degraded` are requests, as many as there are by then.
        """
        parts = [f"{dropped:,} of its requests were dropped"] if dropped else []
        parts += [f"{degraded:,} of its requests were sent to a cheaper model instead"] if degraded else []
        if not parts:
            return []
        return self._notice(
            NoticeKind.QUEUE_FULL,
            (self.asset, str(job_id)),
            title=f"{self.asset} met a full queue",
            what=f"The queue was full when job {job_id} of {self.asset} was to be sent: {' and '.join(parts)}, as its "
            "queue= says.",
            do=f"`offpeak jobs show {job_id}` counts them. Materialise {self.asset} again once there is room.",
            path=f"assets/{self.asset}",
        )

    def rescue(self, job_id: int, *, requests: int, twice: Decimal | None = None) -> list[Notice]:
        """A job whose batches were given up for its deadline; told once, and once more where it may be paid twice.

        `requests` are those of the batches that are given up first; `twice` is in dollars.
        """
        if twice is not None:
            return self._notice(
                NoticeKind.RESCUE,
                (self.asset, str(job_id), "twice"),
                title=f"{self.asset} may be paid twice in part",
                what=f"Job {job_id} of {self.asset} buys {requests:,} requests again although nobody knows what their "
                f'batch has bought, as on_unresolved="pay_twice" says. That may cost about ${twice:,.4f} for nothing.',
                do=f"`offpeak jobs show {job_id}` names the batch: look at it at the provider.",
                path=f"assets/{self.asset}",
            )
        return self._notice(
            NoticeKind.RESCUE,
            (self.asset, str(job_id)),
            title=f"{self.asset} is rescued",
            what=f"Batches of job {job_id} of {self.asset} may not end by its deadline, and the last safe moment has "
            f"come: {requests:,} requests are given up first. Their batches are cancelled, what these had finished is "
            "kept, and the rest is bought at realtime price; others follow as long as they have not ended.",
            do=f"`offpeak jobs show {job_id}` says what that came to.",
            path=f"assets/{self.asset}",
        )

    def held_up(self, launch: str, starts: datetime, what: str) -> list[Notice]:
        """Scheduled runs that a launch will skip, and what promises that breaks; told once for each launch."""
        return self._notice(
            NoticeKind.DEADLINE_ENDANGERED,
            (self.asset, launch, starts.isoformat()),
            title=f"{self.asset} is held up by {launch}",
            what=f"The launch {launch} begins at {moment(starts)} and holds up {self.asset}: {what}.",
            do=f"Materialise {self.asset} before it begins, or launch a run with the tag offpeak/during_launch: "
            '"send" while it lasts.',
            path=f"assets/{self.asset}",
        )

    def waits_for_launch(self, job_id: int, launch: str, ends: datetime, deadline_at: datetime) -> list[Notice]:
        """A job that is due before the launch ends which keeps it from its provider; told once."""
        return self._notice(
            NoticeKind.DEADLINE_ENDANGERED,
            (self.asset, str(job_id)),
            title=f"{self.asset} waits for the launch {launch} to end",
            what=f"Job {job_id} of {self.asset} is due at {moment(deadline_at)}, and is not sent before the launch "
            f"{launch} ends at {moment(ends)}: it will be late.",
            do=f"`offpeak jobs send {job_id}` sends it all the same.",
            path=f"assets/{self.asset}",
        )

    def over_budget(self, job_id: int, reason: str, refused: bool, *, run_id: str) -> list[Notice]:
        """A job that costs more than a budget has left, and `reason` says which; told once."""
        what = "refused" if refused else "held"
        return self._notice(
            NoticeKind.BUDGET,
            (self.asset, str(job_id)),
            title=f"{self.asset} is {what} for its price",
            what=f"Job {job_id} of {self.asset} is {what}. {reason} Nothing was submitted.",
            do="Plan fewer rows, or raise the budget; a run with the tag offpeak/approve goes on all the same."
            if refused
            else f"If it is worth that, `offpeak jobs approve {job_id}` and materialise again.",
            path=f"runs/{run_id}",
        )

    def _notice(
        self,
        kind: NoticeKind,
        same: Iterable[str],
        *,
        title: str,
        what: str,
        do: str,
        path: str,
        facts: Sequence[str] = (),
    ) -> list[Notice]:
        """One notice, where somebody who wants it can be reached; `same` is what makes two of its kind one."""
        destinations = self.notifier.reachable(self.routes.of(kind))
        if not destinations:
            return []
        link = self.notifier.link(path)
        body = "\n".join(filter(None, [what, *facts, do, link]))
        name = "/".join([kind.value, *same])
        return [
            Notice(name=name, kind=kind, asset=self.asset, title=title, body=body, destinations=tuple(destinations))
        ]


def merged(notices: Iterable[Notice]) -> list[Notice]:
    """Several of one name as one, for everybody who is told of any of them."""
    found: dict[str, Notice] = {}
    for each in notices:
        first = found.setdefault(each.name, each)
        more = tuple(name for name in each.destinations if name not in first.destinations)
        found[each.name] = replace(first, destinations=first.destinations + more)
    return list(found.values())


def _without(notice: Notice, names: set[str]) -> list[Notice]:
    """The notice for those who are not told already; none where that is nobody."""
    left = tuple(name for name in notice.destinations if name not in names)
    return [replace(notice, destinations=left)] if left else []


def _too_long(found: Watched, now: datetime) -> timedelta | None:
    """What the asset's past batches usually took, where that is more than there is time for; None where there is.

    Nor where a rescue sees to it, as long as there is time for one.
    """
    usual = found.typical
    if usual is None or (found.job.on_deadline is OnDeadline.RESCUE and found.deadline_at - now > MARGIN):
        return None
    match found.condition:
        case Condition.QUEUED:
            begun = now
        case Condition.RUNNING:
            begun = found.submitted_at or now
        case Condition.RUNNING_LONG | Condition.STUCK:
            begun = now  # it has taken longer than usual already: nothing says that it is nearly done
        case _:
            return None
    return usual if begun + usual > found.deadline_at else None


def _figures(closed: Closed) -> list[str]:
    return [
        f"{_rows(closed.rows)} planned: {closed.new:,} bought, {closed.joined:,} on their way already, "
        f"{closed.reused:,} bought before. Cost: ${dollars(closed.cost_pico):,.4f}.",
        f"Ended {moment(closed.closed_at)}; due {moment(closed.deadline_at)}.",
    ]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _reasons(closed: Closed) -> str:
    named = ", ".join(f"{reason} {count:,}" for reason, count in list(closed.unanswered.items())[:3])
    return f" ({named})" if named else ""
