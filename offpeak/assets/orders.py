"""Orders: what one materialization asks to buy, made inside a Dagster run or, to look at it, outside one."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import dagster as dg

from offpeak.assets.changes import ChangedInput, changed_parameter, reads_all
from offpeak.assets.declaration import Declaration, declaration_of
from offpeak.assets.inputs import InputReader
from offpeak.assets.order import UNPARTITIONED, Order, PartitionPlan
from offpeak.assets.parking import ORIGIN_TAG
from offpeak.assets.plan import PlanContext, stream
from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.clock import Clock, moment
from offpeak.errors import ConfigurationError, DefinitionError
from offpeak.lanes.rescue import TERMS, RescueTerms
from offpeak.lanes.rule import Due, Forced
from offpeak.ledger.lane import Lane
from offpeak.ledger.ledger import Ledger
from offpeak.ledger.sampling import SAMPLE_TAG, sample_of_run
from offpeak.money.rates import ModelRates
from offpeak.providers.base import BATCH_WINDOW, Provider
from offpeak.results.io_manager import RESULTS_KEY, OffpeakResults
from offpeak.results.producer import Rhythm, rhythm_of

APPROVE_TAG = "offpeak/approve"
"""A run tag: this run may go on although the surge guard, or a budget, would hold its plan."""

LANE_TAG = "offpeak/lane"
"""A run tag: "batch" or "background", whatever the rule says; it comes before what the asset declares."""

STARTED_BY = frozenset({"dagster/schedule_name", "dagster/sensor_name", "dagster/from_automation_condition"})
"""Dagster's own tags: something started the run that will start another one."""

BEGINNING = timedelta(hours=1)
"""A deadline is taken as it was when the run was created, where no more than this has passed since: a day has room for
a batch also when it took minutes to begin, to read what there is, or to collect the batch before."""

PARENT_TAG = "dagster/parent_run_id"
"""Dagster's own: the run is a retry or a re-execution of that one."""

_NO = frozenset({"", "false", "no", "0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedOrder:
    """An order with everything that `purchase` and `quote` need beside it."""

    order: Order
    ledger: Ledger
    provider: Provider
    rates: ModelRates


@contextmanager
def prepared_order(
    defs: dg.Definitions,
    asset: dg.AssetKey,
    *,
    partition_keys: Sequence[str] = (),
    instance: dg.DagsterInstance,
    clock: Clock,
    run_tags: Mapping[str, str] | None = None,
) -> Iterator[PreparedOrder]:
    """The order that materialising `asset` now would make, without a run; inputs are loaded as the order is read.

    `defs` are the project's definitions, through `with_offpeak`; `run_tags` are those of such a run. Raises
    ConfigurationError when `asset` is not a batch asset of theirs, or when partition keys are given where there are
    none (or none where they are needed).
    """
    name = asset.to_user_string()
    graph = defs.resolve_asset_graph()
    found = graph.get(asset).assets_def if asset in graph.get_all_asset_keys() else None
    declaration = declaration_of(found) if found is not None else None
    if found is None or declaration is None:
        batch = sorted(
            spec.key.to_user_string()
            for each in graph.assets_defs
            if declaration_of(each) is not None
            for spec in each.specs
        )
        raise ConfigurationError(f"{name} is not a batch asset of this project. Its batch assets: {', '.join(batch)}.")
    if bool(partition_keys) != (found.partitions_def is not None):
        raise ConfigurationError(
            f"{name} has {'no partitions' if partition_keys else 'partitions'}: "
            f"{'leave the partition out' if partition_keys else 'name at least one'}."
        )
    with ExitStack() as stack:
        resources = stack.enter_context(
            dg.build_resources({key: (defs.resources or {})[key] for key in (API_KEY, RESULTS_KEY)}, instance=instance)
        )
        api: BatchApi = getattr(resources, API_KEY)
        results: OffpeakResults = getattr(resources, RESULTS_KEY)
        provider = api.provider(declaration.provider, asset=name)
        stack.callback(provider.close)
        reader = stack.enter_context(
            InputReader(
                asset=found,
                declaration=declaration,
                upstream=lambda key: graph.get(key).assets_def,
                instance=instance,
                store=results.store,
                clock=clock,
            )
        )
        context = PlanContext(partition_keys=partition_keys)
        order = order_of(
            declaration,
            name,
            plans=partition_plans(
                declaration,
                name,
                reader,
                partition_keys,
                context,
                [],
                ledger=results.ledger,
                realm=provider.realm,
                clock=clock,
            ),
            run_id="",
            run_tags=run_tags or {},
            created_at=clock.now(),
            now=clock.now(),
            needed_in=needed_in(found, asset, clock),
            rhythm=rhythm_of(found.specs_by_key[asset].metadata),
            smallest_saving=api.worth_waiting_for(),
            rescue=api.rescue_terms(),
            budget_per_day=api.daily_budget(),
            window=api.window(declaration.model),
        )
        yield PreparedOrder(order=order, ledger=results.ledger, provider=provider, rates=api.rates(declaration.model))


def order_of(
    declaration: Declaration,
    asset: str,
    *,
    plans: Callable[[bool], Iterator[PartitionPlan]],
    run_id: str,
    run_tags: Mapping[str, str],
    created_at: datetime,
    now: datetime,
    needed_in: timedelta | None = None,
    rhythm: Rhythm = Rhythm(),  # noqa: B008 - a frozen value
    selected: Collection[str] | None = None,
    smallest_saving: Decimal = Decimal(0),
    rescue: RescueTerms = TERMS,
    budget_per_day: Decimal | None = None,
    window: timedelta = BATCH_WINDOW,
) -> Order:
    """The order of one run that was created at `created_at`: the workload's deadline counts from there.

    `plans` gives its partitions, over every row where it is called with True. `needed_in` is a deadline that it
    inherits from downstream, counted from `now`. `selected` are the assets of the run, where that is known; `rhythm`
    tells what of them is bought later, `rescue` what time a rescue is left, `window` what a batch may take. Raises
    DefinitionError for a run tag that names no lane.
    """
    workload, inherited = declaration.workload, timedelta.max if needed_in is None else needed_in
    own = workload.due_at(created_at) - now
    begun = min(now - created_at, BEGINNING)
    dues = [Due(deadline=max(min(own + begun, inherited), timedelta(0)))]
    for later in rhythm.later(selected):
        left = later.producer.due_at(created_at) - now + begun
        dues.append(Due(deadline=max(left, timedelta(0)), steps=later.steps, of=later.name))
    deadline = min(own, inherited)
    approved = run_tags.get(APPROVE_TAG, "").lower() not in _NO
    sample, sample_known = sample_of_run(asset, declaration.sample, run_tags.get(SAMPLE_TAG))
    return Order(
        asset=asset,
        model=declaration.model,
        output=declaration.output,
        code_version=declaration.code_version,
        valid_for=declaration.contract.valid_for,
        deadline=max(deadline, timedelta(0)),
        partitions=plans(reads_all(run_tags)),
        over_all_rows=lambda: plans(True),
        waiting=workload.waiting,
        dues=dues,
        forced=_forced(asset, declaration, run_tags),
        smallest_saving=smallest_saving,
        volume=workload.volume,
        one_off=not rhythm.recurs and run_tags.keys().isdisjoint(STARTED_BY),
        policy=declaration.on_failure,
        run_id=run_id,
        approved=approved,
        sample=sample,
        sample_known=sample_known,
        queue=declaration.queue,
        on_deadline=declaration.on_deadline,
        rescue=rescue,
        budget=declaration.budget,
        budget_per_day=budget_per_day,
        window=window,
        # a retry, or a parked run, has the tags of one that was launched before there was anything to look at
        releases_sample=approved and run_tags.keys().isdisjoint((PARENT_TAG, ORIGIN_TAG)),
    )


def _forced(asset: str, declaration: Declaration, run_tags: Mapping[str, str]) -> Forced | None:
    """The lane that the run's tag chooses, or else the asset."""
    asked = run_tags.get(LANE_TAG)
    if asked is None:
        return None if declaration.lane is None else Forced(lane=declaration.lane, by="the asset's lane=")
    if asked not in set(Lane):
        raise DefinitionError(
            f"{asset}: the run tag {LANE_TAG}={asked!r} is not a lane. Nothing was submitted. Launch with "
            f"{' or '.join(repr(each.value) for each in Lane)}, or without the tag."
        )
    return Forced(lane=Lane(asked), by=f"the run tag {LANE_TAG}")


def needed_in(
    asset: dg.AssetsDefinition, key: dg.AssetKey, clock: Clock, log: logging.Logger | None = None
) -> timedelta | None:
    """How soon somebody downstream needs what is asked now, where an SLA says so; told in `log`."""
    now = clock.now()
    found = rhythm_of(asset.specs_by_key[key].metadata).due(now)
    if found is None:
        return None
    due_at, handed = found
    if log is not None:
        log.info(
            f"{key.to_user_string()}: its batches have to have ended by {moment(due_at)}, because {handed.sla.asset} "
            f"has to be {handed.sla}."
        )
    return due_at - now


def partition_plans(
    declaration: Declaration,
    asset: str,
    reader: InputReader,
    keys: Sequence[str],
    context: PlanContext,
    checks: list[dg.AssetCheckResult],
    *,
    ledger: Ledger,
    realm: str,
    clock: Clock,
) -> Callable[[bool], Iterator[PartitionPlan]]:
    """A plan per partition, or one for an asset without; the inputs of a partition are loaded when it is reached.

    Called with True, it gives plans over every row; else over changed rows, where the function asks for those.
    """
    planned: Sequence[str | None] = keys or [None]
    parameter = changed_parameter(declaration)

    def plans(whole: bool) -> Iterator[PartitionPlan]:
        checks.clear()
        for key in planned:
            partition = UNPARTITIONED if key is None else key
            as_of, reading = reader.age(key), None
            if parameter is None:
                inputs = reader.read(key)
            else:
                changed = ChangedInput(
                    declaration,
                    parameter,
                    asset=asset,
                    reader=reader,
                    ledger=ledger,
                    realm=realm,
                    now=clock.now(),
                    whole=whole,
                )
                inputs, reading = changed.read(key, partition)
            yield PartitionPlan(
                partition_key=partition,
                as_of=as_of,
                reading=reading,
                requests=stream(
                    declaration,
                    asset,
                    inputs,
                    PlanContext(
                        partition_key=key,
                        partition_keys=context.partition_keys,
                        run_tags=context.run_tags,
                        log=context.log,
                    ),
                    checks=checks,
                ),
            )

    return plans
