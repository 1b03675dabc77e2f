"""From an order to a job: what it would buy, and the plan that makes it one the ledger waits for.

A plan can be made again at any time: it computes the same fingerprints, finds them queued, on their way or
answered, and goes on from there.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

from offpeak.assets.caching import cache_terms
from offpeak.assets.estimating import Estimate, Estimator
from offpeak.assets.order import Order, Quote, Receipt
from offpeak.assets.pace import Pace, Told, counted
from offpeak.assets.pricing import RatesOf
from offpeak.assets.rescued import AtDeadline
from offpeak.assets.work import Report, Work
from offpeak.clock import Clock, exactly
from offpeak.errors import AsksAnew, BudgetExceeded, PlanError, SurgeHeld
from offpeak.lanes.landing import landing
from offpeak.lanes.rescue import reserve
from offpeak.lanes.rescuer import time_for
from offpeak.lanes.rule import Decision, Due, Facts, TooLate, binding, decide
from offpeak.ledger import samples, sightings, spending
from offpeak.ledger.coding import Coding
from offpeak.ledger.conditions import SLOW_TAIL
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.limits_seen import requests_per_minute
from offpeak.ledger.notices import Notice
from offpeak.ledger.planning import JobSpec, Plan
from offpeak.ledger.reconciling import LIST_LAG
from offpeak.ledger.room import on_disk
from offpeak.ledger.spending import Estimated, Spent
from offpeak.ledger.staging import SURGE_SHARE, Surge
from offpeak.ledger.states import SampleState
from offpeak.money import ModelRates, dollars, dollars_text, pico_text
from offpeak.money.budget import OnOver, allowances, too_small
from offpeak.providers.base import Provider
from offpeak.requests.fingerprint import differing

OnOverBudget = Callable[[int, str, bool], Iterable[Notice]]
"""What is told of a job that costs more than a budget has left: its number, why, and whether it is refused for good."""

_OTHER = {Lane.BATCH: Lane.BACKGROUND, Lane.BACKGROUND: Lane.BATCH}


def quote(
    order: Order,
    *,
    ledger: Ledger,
    provider: Provider,
    rates: ModelRates,
    clock: Clock,
    told: Told = lambda _rows: None,
) -> Quote:
    """What the order would buy. Reads its partitions to the end; sends nothing and writes nothing.

    `told` hears now and then how many rows were read.
    """
    try:
        return _quote(order, ledger, provider, rates, clock, told)
    except AsksAnew:
        return _quote(_over_all_rows(order), ledger, provider, rates, clock, told)


def _quote(order: Order, ledger: Ledger, provider: Provider, rates: ModelRates, clock: Clock, told: Told) -> Quote:
    with _planned(order, ledger, provider, rates, clock, told, dry=True) as (plan, coding):
        counts, estimator = plan.counts, _estimator(order, ledger, provider, rates, coding)
        found = estimator.of(counts.new, counts.new_bytes)
        waived = order.approved or plan.approval() is not None
        surge = plan.surge() if not waived else None
        drawn, drawn_bytes = plan.sampled()
        sample = estimator.of(len(drawn), drawn_bytes)
        decision = _decide(order, ledger, plan, found, _calls(order, ledger, plan, found))
        estimated = estimator.of_plan(decision.lane, found, sample)
        used = spending.spent(ledger, order.asset)
        over = _over_budget(order, estimated.pico, used) if counts.new and not waived else None
        chosen, other, now = decision.lane, _OTHER[decision.lane], clock.now()
        model, requests = order.model.partition("/")[2], counts.new + counts.joined
        per_minute = requests_per_minute(ledger, realm=provider.realm, model=model)
        lands, would_land = (
            landing(lane, requests=requests, per_minute=per_minute, window=order.window) for lane in (chosen, other)
        )
        return Quote(
            asset=order.asset,
            model=order.model,
            rows=counts.rows,
            changed_only=plan.over_changed_rows,
            new=counts.new,
            volume=order.volume,
            joined=counts.joined,
            reused=counts.reused,
            dead=counts.dead,
            removed=counts.removed,
            estimated_input_tokens=estimated.input_tokens,
            estimated_output_tokens=estimated.output_tokens,
            estimated_from=spending.basis(estimator.past_requests),
            estimated_cost=dollars(estimated.pico),
            estimated_batch_cost=dollars(found.batch_pico),
            estimated_realtime_cost=dollars(found.realtime_pico),
            lane=chosen,
            lane_reason=decision.reason,
            lands_by=now + lands.within,
            lands_by_why=lands.why,
            other_lane=other,
            other_lands_by=now + would_land.within,
            other_lands_by_why=would_land.why,
            surge=_surge_reason(order, surge, coding, found, counts.new) if surge else None,
            prefix_requests=plan.prefixes.requests,
            prefix_requests_cached=plan.prefixes.cached,
            prefix_caching=coding.terms.why if plan.prefixes.requests else None,
            sample_keys=drawn,
            estimated_sample_cost=dollars(sample.background_pico),
            budgets=allowances(order.asset, order.budget, order.budget_per_day, used),
            over_budget=over,
            refused=over is not None and _refuses(order),
        )


def begin(
    order: Order,
    *,
    ledger: Ledger,
    provider: Provider,
    rates: ModelRates,
    clock: Clock,
    log: logging.Logger,
    on_over_budget: OnOverBudget | None = None,
) -> int:
    """Plan the order and queue what it lacks; returns the job. Nothing is sent yet.

    Raises PlanError, SurgeHeld and BudgetExceeded; nothing was bought then. What `on_over_budget` tells is in the
    outbox when the job is held or refused.
    """

    def beginning(order: Order) -> int:
        return _begin(
            order, ledger=ledger, provider=provider, rates=rates, clock=clock, log=log, on_over_budget=on_over_budget
        )

    try:
        return beginning(order)
    except AsksAnew as error:
        log.info(f"{error} Every row is read.")
        return beginning(_over_all_rows(order))


def _over_all_rows(order: Order) -> Order:
    if order.over_all_rows is None:
        raise PlanError(f"{order.asset}: nothing says how all of its rows are read. Nothing was submitted.")
    return replace(order, partitions=order.over_all_rows(), over_all_rows=None)


def _begin(
    order: Order,
    *,
    ledger: Ledger,
    provider: Provider,
    rates: ModelRates,
    clock: Clock,
    log: logging.Logger,
    on_over_budget: OnOverBudget | None,
) -> int:
    pace = Pace(log.info, order.asset, unit="rows planned", clock=clock)
    with _planned(order, ledger, provider, rates, clock, pace.at, dry=False) as (plan, coding):
        approval = plan.approval()
        estimator, counts = _estimator(order, ledger, provider, rates, coding), plan.counts
        found = estimator.of(counts.new, counts.new_bytes)
        waived = order.approved or approval is not None
        surge = plan.surge()
        if surge is not None and not waived:
            reason = _surge_reason(order, surge, coding, found, counts.new)
            if reason is not None:
                plan.hold(reason)
                raise SurgeHeld(
                    f"{reason} Nothing was submitted. If it is meant, `offpeak jobs approve {plan.job_id}` and "
                    "materialise again (or raise the asset's code_version, which says so for good); if not, mend the "
                    "asset and materialise again."
                )
        calls = _calls(order, ledger, plan, found)
        decision = _decide(order, ledger, plan, found, calls)
        estimated = estimator.of_plan(decision.lane, found, estimator.of(*plan.drawn))
        _keep_within_budget(order, ledger, plan, estimated, waived=waived, told=on_over_budget)
        plan.commit(
            lane=decision.lane,
            reason=decision.reason,
            estimated=estimated,
            approval=approval,
            on_deadline=_on_deadline(order, decision, calls, log),
        )
        job_id, rows = plan.job_id, "changed rows" if plan.over_changed_rows else "rows"
    _settle_samples(order, job_id, ledger=ledger, log=log)
    log.info(
        f"{order.asset}: job {job_id}, {counts.rows:,} {rows}: {counts.new:,} to buy, {counts.joined:,} on their way, "
        f"{counts.reused:,} bought before, {counts.removed:,} removed. Lane {decision.lane}: "
        f"{decision.reason}."
    )
    if counts.new:
        log.info(f"{order.asset}: it is estimated at {pico_text(estimated.pico)}, from {estimated.basis}.")
    return job_id


def _keep_within_budget(
    order: Order, ledger: Ledger, plan: Plan, estimated: Estimated, *, waived: bool, told: OnOverBudget | None
) -> None:
    """Have the plan take its place in what is spent today. Raises BudgetExceeded, and ends it, where there is none."""
    if not plan.counts.new or not allowances(order.asset, order.budget, order.budget_per_day, Spent()):
        return

    def judge(used: Spent) -> str | None:
        return None if waived else _over_budget(order, estimated.pico, used)

    reason = plan.take_place(estimated, spending.settled(ledger, order.asset), judge)
    if reason is None:
        return
    refused = _refuses(order)
    notices = [] if told is None else told(plan.job_id, reason, refused)
    said = f"{reason} Nothing was submitted."
    if refused:
        plan.refuse(reason, estimated=estimated, told=notices)
        raise BudgetExceeded(
            f"{said} The asset's budget says to refuse that. Plan fewer rows, wait for the next UTC day where it is a "
            "day's budget, raise the budget, or launch a run with the tag offpeak/approve, which goes on all the same."
        )
    plan.hold(reason, estimated=estimated, told=notices)
    raise BudgetExceeded(
        f"{said} If it is worth that, `offpeak jobs approve {plan.job_id}` and materialise again, which goes on "
        "whatever the budget; if not, plan fewer rows, raise the budget, or wait for the next UTC day where it is a "
        "day's."
    )


def _over_budget(order: Order, pico: int, used: Spent) -> str | None:
    """Which budgets a plan of that price would go beyond; a sentence, None where it stays within all of them."""
    cost = dollars(pico)
    found = too_small(allowances(order.asset, order.budget, order.budget_per_day, used), cost)
    if not found:
        return None
    parts = [
        f"the budget of {each.name} is {dollars_text(each.amount)}"
        + (f", of which {dollars_text(each.spent)} is spent or on its way" if each.spent else "")
        for each in found
    ]
    return f"{spending.OVER_BUDGET}{order.asset} is estimated at {dollars_text(cost)}, and {' and '.join(parts)}."


def _refuses(order: Order) -> bool:
    return order.budget is not None and OnOver(order.budget.over) is OnOver.REFUSE


def _settle_samples(order: Order, job_id: int, *, ledger: Ledger, log: logging.Logger) -> None:
    """Say what is sampled, release what the run approves of, and let go of samples of what is not asked any more."""
    for older in samples.supersede(ledger, job_id):
        log.info(f"{order.asset}: the sample of job {older} is withdrawn: this plan asks something else.")
    found = samples.of_job(ledger, job_id)
    if found is None or not found.undecided:
        return
    held = samples.held_requests(ledger, found.id)
    if found.state is SampleState.WAITING and order.releases_sample:
        why = f"run {order.run_id} carries the tag offpeak/approve"
        samples.approve(ledger, found.id, who=str(ledger.claimant), why=why)
        log.info(
            f"{order.asset}: the sample of job {found.id} is approved by a tag of this run; {held:,} are released."
        )
    elif found.id == job_id:
        most = found.max_failures
        until = "somebody approves" if most is None else f"at most {most:.0%} of it fail, or somebody approves"
        log.info(
            f"{order.asset}: it asks something new. {found.requests:,} are bought first, {held:,} held until {until}."
        )
    else:
        log.info(f"{order.asset}: {held:,} requests wait for the sample of job {found.id}.")


def purchase(
    order: Order,
    *,
    ledger: Ledger,
    provider: Provider,
    rates: ModelRates,
    clock: Clock,
    log: logging.Logger,
    progress: Report | None = None,
    list_lag: timedelta = LIST_LAG,
    rates_of: RatesOf | None = None,
    at_deadline: AtDeadline | None = None,
) -> Receipt:
    """Buy what the order lacks and wait until it has landed. `rates_of` prices the model that it may be degraded to.

    Raises PlanError, SurgeHeld and BudgetExceeded (nothing was bought), SubmissionRejected (the provider refused),
    JobFailed (no row has an answer, or a batch does not end), SampleHeld and SampleRejected (no more than a sample was
    bought).
    ProviderUnavailable and OutcomeUnknown are waited out.
    """
    job_id = begin(order, ledger=ledger, provider=provider, rates=rates, clock=clock, log=log)
    work = Work(
        job_id,
        asset=order.asset,
        model=order.model,
        output=order.output,
        ledger=ledger,
        provider=provider,
        rates=rates,
        clock=clock,
        log=log,
        policy=order.policy,
        list_lag=list_lag,
        report=progress,
        queue=order.queue,
        rates_of=rates_of,
        at_deadline=at_deadline or AtDeadline(terms=order.rescue),
    )
    work.carry_out()
    return work.close()


@contextmanager
def _planned(
    order: Order, ledger: Ledger, provider: Provider, rates: ModelRates, clock: Clock, told: Told, *, dry: bool
) -> Iterator[tuple[Plan, Coding]]:
    """The order's plan, read to its end and sealed."""
    spec = JobSpec(
        asset=order.asset,
        model=order.model,
        run_id=order.run_id,
        code_version=order.code_version,
        deadline_at=clock.now() + order.deadline,
        due_at=clock.now() + _wanted_in(order),
        valid_for=order.valid_for,
        fields=list(order.output.model_fields) if order.output is not None else None,
        policy=order.policy,
        sample=order.sample,
        sample_known=order.sample_known,
        priority=order.queue.priority,
    )
    model = order.model.partition("/")[2]
    terms = partial(cache_terms, ledger, provider, rates, asset=order.asset, model=model)
    coding = Coding(provider, asset=order.asset, model=model, output=order.output, terms=terms)
    with on_disk(ledger), Plan(ledger, provider, spec, coding, dry=dry) as plan:
        for part in order.partitions:
            rows = counted(part.requests, told, so_far=plan.counts.rows)
            plan.add_partition(part.partition_key, part.as_of, rows, part.reading)
        plan.seal()
        yield plan, coding


def _decide(order: Order, ledger: Ledger, plan: Plan, found: Estimate, calls: timedelta) -> Decision:
    """The lane of what a plan has found to buy."""
    dues = order.dues or [Due(deadline=order.deadline)]
    facts = Facts(
        waiting=order.waiting,
        due=binding([replace(due, window=order.window) for due in dues]),
        new=plan.counts.new,
        joined=plan.counts.joined,
        volume=order.volume,
        batch_cost=dollars(found.batch_pico),
        realtime_cost=dollars(found.realtime_pico),
        smallest_saving=order.smallest_saving,
        one_off=order.one_off,
        past=sightings.past_durations(ledger, [order.asset])[order.asset],
        on_deadline=order.on_deadline,
        reserve=reserve(calls * (1 - SLOW_TAIL), order.rescue),
        too_late=_too_late(order, dues, reserve(calls, order.rescue)),
        forced=order.forced,
    )
    return decide(facts)


def _too_late(order: Order, dues: Sequence[Due], needed: timedelta) -> TooLate | None:
    """Whether what has passed since the run's creation, for which `dues` allow, has taken the room for a rescue.

    A job that never had any, because it is too large for that, would not be there in time from the background either.
    """
    own = next((due.deadline for due in dues if due.steps == 1), order.deadline)
    return TooLate(left=order.deadline, needed=needed) if order.deadline <= needed < own else None


def _calls(order: Order, ledger: Ledger, plan: Plan, found: Estimate) -> timedelta:
    """How long all that the plan waits for takes to be called, once through, with the endpoints to itself."""
    requests, usage = plan.counts.new + plan.counts.joined, found.usage
    tokens = usage.input_tokens + usage.output_tokens
    return time_for(ledger, realm=plan.realm, model=order.model.partition("/")[2], requests=requests, tokens=tokens)


def _wanted_in(order: Order) -> timedelta:
    """How soon its answers have to be there: by its deadline, and so that what is bought after them can be rescued."""
    each_rescue = order.rescue.margin + order.rescue.cancel_bound
    later = [due.deadline - (due.steps - 1) * each_rescue for due in order.dues if due.steps > 1]
    return max(min(order.deadline, *later), timedelta(0)) if later else order.deadline


def _on_deadline(order: Order, decision: Decision, calls: timedelta, log: logging.Logger) -> OnDeadline | None:
    """What is done at the deadline; None where calling everything takes longer than there is time for a rescue."""
    if decision.lane is not Lane.BATCH or order.on_deadline is not OnDeadline.RESCUE:
        return order.on_deadline
    needed = reserve(calls, order.rescue)
    if order.deadline > needed:
        return OnDeadline.RESCUE
    log.warning(
        f"{order.asset}: it is not rescued if its batches are late. It is due in {exactly(order.deadline)}, and a "
        f"rescue of all of it needs {exactly(needed)}, {exactly(calls)} of that for its calls at the rate of its model."
    )
    return None


def _estimator(order: Order, ledger: Ledger, provider: Provider, rates: ModelRates, coding: Coding) -> Estimator:
    model = order.model.partition("/")[2]
    return Estimator(ledger, provider, rates, asset=order.asset, model=model, kind=coding.kind)


def _surge_reason(order: Order, surge: Surge, coding: Coding, found: Estimate, requests: int) -> str | None:
    if surge.share <= SURGE_SHARE:
        return None
    names = differing(dict(surge.components), coding.components()) or ["prompt (the rows' own text)"]
    return (
        f"{order.asset}: {surge.changed:,} of {surge.common:,} unchanged keys ({surge.share:.0%}) ask something else "
        f"than before, more than {SURGE_SHARE:.0%}. What differs: {', '.join(names)} (row {surge.example!r} for one). "
        f"Buying {requests:,} requests anew costs about {pico_text(found.batch_pico)} at the batch rate."
    )
