"""From an order to a job: what it would buy, and the plan that makes it one the ledger waits for.

A plan can be made again at any time: it computes the same fingerprints, finds them queued, on their way or
answered, and goes on from there.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from offpeak.assets.order import Order, Quote, Receipt
from offpeak.assets.pace import Pace, Told, counted
from offpeak.assets.rescued import AtDeadline
from offpeak.assets.work import RatesOf, Report, Work
from offpeak.clock import Clock
from offpeak.errors import AsksAnew, PlanError, SurgeHeld
from offpeak.lanes.landing import landing
from offpeak.lanes.rescue import reserve
from offpeak.lanes.rescuer import time_for
from offpeak.lanes.rule import Decision, Due, Facts, binding, decide
from offpeak.ledger import jobs, samples, sightings
from offpeak.ledger.coding import Coding
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.limits_seen import requests_per_minute
from offpeak.ledger.planning import JobSpec, Plan
from offpeak.ledger.room import on_disk
from offpeak.ledger.staging import SURGE_SHARE, Surge
from offpeak.ledger.states import SampleState
from offpeak.ledger.submissions import LIST_LAG
from offpeak.money import ModelRates, dollars, estimate_usage
from offpeak.providers.base import Kind, Provider
from offpeak.requests.fingerprint import differing

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
    with _planned(order, ledger, provider, clock, told, dry=True) as (plan, coding):
        counts = plan.counts
        cost, realtime, tokens = _estimate(order, ledger, rates, coding, counts.new, counts.new_bytes)
        surge = plan.surge() if not order.approved and plan.approval() is None else None
        drawn, drawn_bytes = plan.sampled()
        _, sample_cost, _ = _estimate(order, ledger, rates, coding, len(drawn), drawn_bytes)  # it is called
        decision = _decide(order, ledger, plan, cost, realtime)
        chosen, other, now = decision.lane, _OTHER[decision.lane], clock.now()
        model, requests = order.model.partition("/")[2], counts.new + counts.joined
        per_minute = requests_per_minute(ledger, realm=provider.realm, model=model)
        lands, would_land = (landing(lane, requests=requests, per_minute=per_minute) for lane in (chosen, other))
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
            estimated_input_tokens=tokens[0],
            estimated_output_tokens=tokens[1],
            estimated_cost=dollars(cost if chosen is Lane.BATCH else realtime),
            estimated_batch_cost=dollars(cost),
            estimated_realtime_cost=dollars(realtime),
            lane=chosen,
            lane_reason=decision.reason,
            lands_by=now + lands.within,
            lands_by_why=lands.why,
            other_lane=other,
            other_lands_by=now + would_land.within,
            other_lands_by_why=would_land.why,
            surge=_surge_reason(order, surge, coding, rates, ledger, counts.new, counts.new_bytes) if surge else None,
            sample_keys=drawn,
            estimated_sample_cost=dollars(sample_cost) if drawn else dollars(0),
        )


def begin(
    order: Order, *, ledger: Ledger, provider: Provider, rates: ModelRates, clock: Clock, log: logging.Logger
) -> int:
    """Plan the order and queue what it lacks; returns the job. Nothing is sent yet.

    Raises PlanError and SurgeHeld; nothing was bought then.
    """
    try:
        return _begin(order, ledger=ledger, provider=provider, rates=rates, clock=clock, log=log)
    except AsksAnew as error:
        log.info(f"{error} Every row is read.")
        return _begin(_over_all_rows(order), ledger=ledger, provider=provider, rates=rates, clock=clock, log=log)


def _over_all_rows(order: Order) -> Order:
    if order.over_all_rows is None:
        raise PlanError(f"{order.asset}: nothing says how all of its rows are read. Nothing was submitted.")
    return replace(order, partitions=order.over_all_rows(), over_all_rows=None)


def _begin(
    order: Order, *, ledger: Ledger, provider: Provider, rates: ModelRates, clock: Clock, log: logging.Logger
) -> int:
    pace = Pace(log.info, order.asset, unit="rows planned", clock=clock)
    with _planned(order, ledger, provider, clock, pace.at, dry=False) as (plan, coding):
        approval = plan.approval()
        surge = plan.surge()
        if surge is not None and not order.approved and approval is None:
            counts = plan.counts
            reason = _surge_reason(order, surge, coding, rates, ledger, counts.new, counts.new_bytes)
            if reason is not None:
                plan.hold(reason)
                raise SurgeHeld(
                    f"{reason} Nothing was submitted. If it is meant, `offpeak jobs approve {plan.job_id}` and "
                    "materialise again (or raise the asset's code_version, which says so for good); if not, mend the "
                    "asset and materialise again."
                )
        cost, realtime, _ = _estimate(order, ledger, rates, coding, plan.counts.new, plan.counts.new_bytes)
        decision = _decide(order, ledger, plan, cost, realtime)
        plan.commit(
            lane=decision.lane,
            reason=decision.reason,
            approval=approval,
            on_deadline=_on_deadline(order, decision, _reserve(order, ledger, plan)),
        )
        job_id, counts, rows = plan.job_id, plan.counts, "changed rows" if plan.over_changed_rows else "rows"
    _settle_samples(order, job_id, ledger=ledger, log=log)
    log.info(
        f"{order.asset}: job {job_id}, {counts.rows:,} {rows}: {counts.new:,} to buy, {counts.joined:,} on their way, "
        f"{counts.reused:,} bought before, {counts.removed:,} removed. Lane {decision.lane}: "
        f"{decision.reason}."
    )
    return job_id


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

    Raises PlanError and SurgeHeld (nothing was bought), SubmissionRejected (the provider refused), JobFailed (no row
    has an answer, or a batch does not end), SampleHeld and SampleRejected (no more than a sample was bought).
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
    order: Order, ledger: Ledger, provider: Provider, clock: Clock, told: Told, *, dry: bool
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
    coding = Coding(provider, asset=order.asset, model=order.model.partition("/")[2], output=order.output)
    with on_disk(ledger), Plan(ledger, provider, spec, coding, dry=dry) as plan:
        for part in order.partitions:
            rows = counted(part.requests, told, so_far=plan.counts.rows)
            plan.add_partition(part.partition_key, part.as_of, rows, part.reading)
        plan.seal()
        yield plan, coding


def _decide(order: Order, ledger: Ledger, plan: Plan, cost: int, realtime: int) -> Decision:
    """The lane of what a plan has found to buy. Prices are estimates in pico-dollars."""
    facts = Facts(
        waiting=order.waiting,
        due=binding(order.dues or [Due(deadline=order.deadline)]),
        new=plan.counts.new,
        joined=plan.counts.joined,
        volume=order.volume,
        batch_cost=dollars(cost),
        realtime_cost=dollars(realtime),
        smallest_saving=order.smallest_saving,
        one_off=order.one_off,
        past=sightings.past_durations(ledger, [order.asset])[order.asset],
        on_deadline=order.on_deadline,
        reserve=_reserve(order, ledger, plan),
        forced=order.forced,
    )
    return decide(facts)


def _reserve(order: Order, ledger: Ledger, plan: Plan) -> timedelta:
    """What a rescue of all that the plan waits for would need before its deadline, with the endpoints to itself."""
    requests, model = plan.counts.new + plan.counts.joined, order.model.partition("/")[2]
    mean = jobs.mean_output_tokens(ledger, order.asset)
    usage = estimate_usage(requests, plan.counts.new_bytes, mean, None)
    time = time_for(
        ledger, realm=plan.realm, model=model, requests=requests, tokens=usage.input_tokens + usage.output_tokens
    )
    return reserve(time, order.rescue)


def _wanted_in(order: Order) -> timedelta:
    """How soon its answers have to be there: by its deadline, and so that what is bought after them can be rescued."""
    each_rescue = order.rescue.margin + order.rescue.cancel_bound
    later = [due.deadline - (due.steps - 1) * each_rescue for due in order.dues if due.steps > 1]
    return max(min(order.deadline, *later), timedelta(0)) if later else order.deadline


def _on_deadline(order: Order, decision: Decision, needed: timedelta) -> OnDeadline | None:
    """What is done at the deadline; None where there is no time for a rescue, because somebody forced the lane."""
    hopeless = decision.lane is Lane.BATCH and order.deadline <= needed
    return None if order.on_deadline is OnDeadline.RESCUE and hopeless else order.on_deadline


def _estimate(
    order: Order, ledger: Ledger, rates: ModelRates, coding: Coding, requests: int, size: int
) -> tuple[int, int, tuple[int, int]]:
    """Batch and realtime price in pico-dollars, and (input, output) tokens."""
    mean = jobs.mean_output_tokens(ledger, order.asset) if coding.kind is Kind.CHAT else 0.0
    usage = estimate_usage(requests, size, mean, None)
    cost = rates.cost_of_many(usage, answers=max(requests, 1))
    return cost.batch_pico, cost.realtime_pico, (usage.input_tokens, usage.output_tokens)


def _surge_reason(
    order: Order, surge: Surge, coding: Coding, rates: ModelRates, ledger: Ledger, requests: int, size: int
) -> str | None:
    if surge.share <= SURGE_SHARE:
        return None
    names = differing(dict(surge.components), coding.components()) or ["prompt (the rows' own text)"]
    cost, _, _ = _estimate(order, ledger, rates, coding, requests, size)
    return (
        f"{order.asset}: {surge.changed:,} of {surge.common:,} unchanged keys ({surge.share:.0%}) ask something else "
        f"than before, more than {SURGE_SHARE:.0%}. What differs: {', '.join(names)} (row {surge.example!r} for one). "
        f"Buying {requests:,} requests anew costs about ${dollars(cost):,.4f} at the batch rate."
    )
