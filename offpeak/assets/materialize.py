"""One run of a batch asset: plan and submit, or collect what an earlier run submitted; then tell Dagster what landed.

Where batches are still on their way, the run is parked: it ends, and another one holds its place without a process.
Where that is not possible, or not wanted, it waits in place.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dagster as dg

from offpeak.assets import parking
from offpeak.assets.declaration import WAYS_TO_WAIT, Declaration
from offpeak.assets.fresh import expected_of, freshness_of
from offpeak.assets.inputs import InputReader
from offpeak.assets.landing import land, sample_observation, worst
from offpeak.assets.making_way import LAUNCH_TAG, sends_anyway
from offpeak.assets.notices import Teller
from offpeak.assets.notices_delivery import deliver
from offpeak.assets.orders import needed_in, order_of, partition_plans
from offpeak.assets.plan import PlanContext
from offpeak.assets.progress import progress_of
from offpeak.assets.purchase import begin
from offpeak.assets.rescued import AtDeadline
from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.assets.work import Work
from offpeak.clock import Clock, SystemClock
from offpeak.errors import DefinitionError, OffpeakError
from offpeak.ledger import launch_windows, limits_seen, parked_runs, queueing, sightings
from offpeak.money.rates import ModelRates
from offpeak.notifier import NOTIFIER_KEY
from offpeak.providers.base import Provider
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults
from offpeak.results.producer import rhythm_of

WAIT_TAG = "offpeak/wait"
"""A run tag: "run" waits in place, "park" holds no process; it comes before what the asset declares."""


def materialize_batch(
    declaration: Declaration, context: dg.AssetExecutionContext
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """The body of every batch asset's op. A run that is parked yields no materialization.

    Who is to be told of it is told when Dagster has its events, and whatever became of the run.
    """
    try:
        yield from _materialize(declaration, context)
    finally:
        if declaration.notify:
            _deliver_notices(context)


def _deliver_notices(context: dg.AssetExecutionContext) -> None:
    asset = context.asset_key.to_user_string()
    try:
        ledger = getattr(context.resources, RESULTS_KEY).ledger
        deliver(ledger, getattr(context.resources, NOTIFIER_KEY), context.log, assets=[asset])
    except OffpeakError as error:  # without a ledger there is no notice
        context.log.warning(f"{asset}: nobody could be told: {error}")


def _materialize(
    declaration: Declaration, context: dg.AssetExecutionContext
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    asset = context.asset_key.to_user_string()
    in_place = _why_in_place(declaration, context)
    during_launch = sends_anyway(asset, context.run.tags)
    clock = SystemClock()
    api: BatchApi = getattr(context.resources, API_KEY)
    results: OffpeakResults = getattr(context.resources, RESULTS_KEY)
    checks: list[dg.AssetCheckResult] = []
    with ExitStack() as stack:
        # a missing key or price is told before anything is read
        provider = api.provider(declaration.provider, asset=asset)
        stack.callback(provider.close)
        rates = api.rates(declaration.model)
        for model in filter(None, (declaration.model, declaration.queue.degrade_to)):
            name = model.partition("/")[2]
            queueing.declare(results.ledger, provider.realm, name, api.limits_for(model))
            limits_seen.declare(results.ledger, realm=provider.realm, model=name, limits=api.realtime_limits(model))
        if (windows := api.launch_windows()) is not None:
            launch_windows.declare(results.ledger, windows)
        teller = None
        if declaration.notify:
            teller = Teller(asset, declaration.notify, getattr(context.resources, NOTIFIER_KEY))
        job_id = parked_runs.job_of(results.ledger, run_id=context.run.run_id, asset=asset)
        if job_id is None:
            job_id = _plan(declaration, context, api, results, provider, rates, clock, checks, teller)
        if during_launch:
            launch_windows.send_anyway(results.ledger, job_id, who=f"the tag {LAUNCH_TAG} of run {context.run.run_id}")
        work = Work(
            job_id,
            asset=asset,
            model=declaration.model,
            output=declaration.output,
            ledger=results.ledger,
            provider=provider,
            rates=rates,
            clock=clock,
            log=context.log,
            policy=declaration.on_failure,
            terms=api.terms(),
            queue=declaration.queue,
            rates_of=api.rates,
            show=lambda verdict: context.log_event(
                sample_observation(verdict, context.asset_key, partition=_one_partition(context))
            ),
            stage=lambda stage: parking.show_progress(context.instance, context.run.run_id, stage),
            on_close=None if teller is None else teller.ended,
            on_let_go=None if teller is None else teller.queue_full,
            on_launch=None if teller is None else teller.waits_for_launch,
            at_deadline=AtDeadline(
                on_unresolved=declaration.on_unresolved,
                pay_twice=declaration.pay_twice,
                terms=api.rescue_terms(),
                tell=None if teller is None else teller.rescue,
            ),
        )
        if in_place is None:
            parking.begin_submitting(context)
        if in_place is None and not work.hand_over():
            try:
                _park(context, results, work)
            except parking.CannotHold as error:
                in_place = str(error)
                context.log.warning(f"{asset}: this run waits for its batch in place, because {error}")
            else:
                yield from worst(checks)
                return
        if in_place is not None:
            work.carry_out()
        receipt = work.close()
    spec = context.assets_def.specs_by_key[context.asset_key]
    now = clock.now()
    expected = expected_of(spec, declaration, results.store, now=now, instance=context.instance)
    freshness = freshness_of(spec, declaration, results.store, now=now, expected=expected)
    yield land(declaration, context, receipt, results.store, checks, freshness)


def _one_partition(context: dg.AssetExecutionContext) -> str | None:
    return context.partition_key if context.has_partition_key else None


def _park(context: dg.AssetExecutionContext, results: OffpeakResults, work: Work) -> None:
    progress = progress_of(sightings.of_jobs(results.ledger, [work.job_id])[work.job_id])
    run_id = parking.park(context, results.ledger, work.job_id, again_at=work.again_at(), progress=progress)
    context.log.info(
        f"{context.asset_key.to_user_string()}: job {work.job_id} is on its way ({progress}). This run ends; run "
        f"{run_id} holds its place without a process, and collects it. Terminating that run cancels the job."
    )


def _why_in_place(declaration: Declaration, context: dg.AssetExecutionContext) -> str | None:
    """Why this run waits for its batch itself; None when it is to be parked. Said in the run's log where it matters."""
    asset, asked = context.asset_key.to_user_string(), context.run.tags.get(WAIT_TAG)
    if asked is not None and asked not in WAYS_TO_WAIT:
        raise DefinitionError(
            f"{asset}: the run tag {WAIT_TAG}={asked!r} is not a way to wait. Nothing was submitted. Launch with "
            f"{' or '.join(map(repr, WAYS_TO_WAIT))}, or without the tag."
        )
    if (asked or declaration.wait) == "run":
        return f"the run tag {WAIT_TAG} says so" if asked else "the asset declares so"
    reason = parking.why_in_place(context)
    if reason is not None:
        context.log.info(f"{asset}: this run waits for its batch in place, because {reason}")
    return reason


def _plan(
    declaration: Declaration,
    context: dg.AssetExecutionContext,
    api: BatchApi,
    results: OffpeakResults,
    provider: Provider,
    rates: ModelRates,
    clock: Clock,
    checks: list[dg.AssetCheckResult],
    teller: Teller | None,
) -> int:
    """Read the inputs and plan what they ask for; returns the job. Check results of the plan are put into `checks`."""
    asset = context.asset_key.to_user_string()
    keys = list(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else []
    with InputReader(
        asset=context.assets_def,
        declaration=declaration,
        upstream=lambda key: context.job_def.asset_layer.get(key).assets_def,
        instance=context.instance,
        store=results.store,
        clock=clock,
        log=context.log,
    ) as reader:
        plan_context = PlanContext(partition_keys=keys, run_tags=context.run.tags, log=context.log)
        order = order_of(
            declaration,
            asset,
            plans=partition_plans(
                declaration,
                asset,
                reader,
                keys,
                plan_context,
                checks,
                ledger=results.ledger,
                realm=provider.realm,
                clock=clock,
            ),
            run_id=context.run.run_id,
            run_tags=context.run.tags,
            created_at=_created(context, clock),
            now=clock.now(),
            needed_in=needed_in(context.assets_def, context.asset_key, clock, context.log),
            rhythm=rhythm_of(context.assets_def.specs_by_key[context.asset_key].metadata),
            selected={key.to_user_string() for key in context.job_def.asset_layer.selected_asset_keys},
            smallest_saving=api.worth_waiting_for(),
            rescue=api.rescue_terms(),
            budget_per_day=api.daily_budget(),
            window=api.window(declaration.model),
        )
        return begin(
            order,
            ledger=results.ledger,
            provider=provider,
            rates=rates,
            clock=clock,
            log=context.log,
            on_over_budget=None if teller is None else partial(teller.over_budget, run_id=context.run.run_id),
        )


def _created(context: dg.AssetExecutionContext, clock: Clock) -> datetime:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp.astimezone(UTC) if record is not None else clock.now()
