"""The project's graph, as far as ages depend on it: who makes what, when it runs, and who reads what.

It is taken from the definitions as Dagster resolves them, so that selections, partitions and copies are as they will
be when they run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from dagster._check import CheckError

from offpeak.assets.declaration import Declaration, declaration_of
from offpeak.assets.resources import API_KEY, BatchApi
from offpeak.errors import DefinitionError
from offpeak.freshness.cadence import Cron
from offpeak.freshness.chain import AUTOMATION, Chain, Node, Producer
from offpeak.freshness.deadlines import bought_after
from offpeak.freshness.declared import Consumer, readings
from offpeak.freshness.gate import Tolerance
from offpeak.freshness.sla import sla_of
from offpeak.lanes.rescue import TERMS, RescueTerms, reserve
from offpeak.lanes.rule import Due, Facts, binding, decide
from offpeak.ledger.lane import Lane


def chain_of(defs: dg.Definitions, *, now: datetime) -> Chain:
    """The ages in a project. `defs` are its definitions, through `with_offpeak`.

    Raises DefinitionError for definitions that Dagster cannot resolve.
    """
    try:
        repository = defs.get_repository_def()
        return _with_lanes(Chain(_nodes(defs, repository, now), now=now), _terms(defs))
    except dg.DagsterError as error:
        raise DefinitionError(
            f"Dagster cannot resolve these definitions: {error}\nFreshness goes by all assets, schedules and resources "
            "together. Where some of them are merged in from elsewhere, merge them first: "
            "with_offpeak(dg.Definitions.merge(...))."
        ) from error


def chain_of_run(context: dg.AssetExecutionContext, api: BatchApi, *, now: datetime) -> Chain | None:
    """The same for a run, of its code location; None where Dagster gives it none, as in `dg.materialize`."""
    try:
        repository = context.repository_def
    except CheckError:
        return None
    return _with_lanes(Chain(_nodes(dg.Definitions(), repository, now), now=now), api.rescue_terms())


def _terms(defs: dg.Definitions) -> RescueTerms:
    """How much time the project's own resource leaves for a rescue."""
    api = (defs.resources or {}).get(API_KEY)
    return api.rescue_terms() if isinstance(api, BatchApi) else TERMS


def _with_lanes(chain: Chain, terms: RescueTerms) -> Chain:
    """The same graph with the lane that each batch asset's declaration leads to, whatever a run finds to buy."""
    nodes = []
    for name, node in chain.nodes.items():
        producer, declared = node.producer, node
        if producer is not None:
            producer = replace(producer, rescue_needs=reserve(timedelta(0), terms))
            declared = replace(node, producer=producer)
        if producer is not None and not producer.forced:
            dues = [Due(deadline=producer.deadline)]
            dues += [
                Due(deadline=each.producer.deadline, steps=each.steps, of=each.name)
                for each in bought_after(chain, name)
            ]
            facts = Facts(
                waiting=producer.waiting,
                due=binding(dues),
                new=1,
                on_deadline=producer.on_deadline,
                reserve=producer.rescue_needs,
            )
            declared = replace(node, producer=replace(producer, lane=decide(facts).lane.value))
        nodes.append(declared)
    return Chain(nodes, now=chain.now)


def _nodes(defs: dg.Definitions, repository: dg.RepositoryDefinition, now: datetime) -> list[Node]:
    graph = repository.asset_graph
    named = {each.name: each for each in defs.jobs or ()}
    runs: dict[dg.AssetKey, list[Cron]] = {}
    jobs: dict[dg.AssetKey, set[str]] = {}
    for each in repository.schedule_defs:
        crons = _crons(each)
        selection = getattr(each.job if each.has_job else named.get(each.job_name), "selection", None)
        # Dagster takes several times as long to make a job as to load the rest, and makes it again when it is run
        selected = (
            selection.resolve(graph)
            if isinstance(selection, dg.AssetSelection)
            else repository.get_job(each.job_name).asset_layer.selected_asset_keys
        )
        for key in selected:
            runs.setdefault(key, []).extend(crons)
            jobs.setdefault(key, set()).add(each.name)
    nodes: list[Node] = []
    for asset in graph.assets_defs:
        read = _tolerances(asset)
        nodes += [
            _node(asset, spec, read.get(spec.key, {}), runs.get(spec.key, ()), jobs.get(spec.key, set()), now)
            for spec in asset.specs
        ]
        nodes += [_check(key, each, jobs, runs) for key, each in read.items() if isinstance(key, dg.AssetCheckKey)]
    return nodes


def _tolerances(asset: dg.AssetsDefinition) -> dict[Consumer, dict[dg.AssetKey, Tolerance]]:
    """What each asset and check that a step makes tolerates of what it reads."""
    found: dict[Consumer, dict[dg.AssetKey, Tolerance]] = {}
    for each in readings(asset):
        if each.tolerance is not None:
            found.setdefault(each.consumer, {})[each.asset] = each.tolerance
    return found


def _node(
    asset: dg.AssetsDefinition,
    spec: dg.AssetSpec,
    tolerances: Mapping[dg.AssetKey, Tolerance],
    crons: Sequence[Cron],
    jobs: set[str],
    now: datetime,
) -> Node:
    declaration = declaration_of(asset)
    automation = _automation(spec.automation_condition)
    name = spec.key.to_user_string()
    runs = (*crons, *automation.crons)
    return Node(
        name=name,
        # what wakes by its inputs may begin at any time
        producer=None if declaration is None else _producer(declaration, () if automation.follows else runs, now),
        source=not asset.is_materializable,
        crons=runs,
        jobs=frozenset(jobs),
        follows=automation.follows,
        inputs={dep.asset_key.to_user_string(): tolerances.get(dep.asset_key) for dep in spec.deps},
        sla=sla_of(name, spec.freshness_policy),
    )


def _producer(declaration: Declaration, crons: Sequence[Cron], now: datetime) -> Producer:
    workload = declaration.workload
    return Producer(
        model=declaration.model,
        lane=(declaration.lane or Lane.BATCH).value,
        waiting=workload.waiting,
        deadline=workload.longest(crons, now=now),
        contract=declaration.contract,
        daily=workload.daily,
        forced=declaration.lane is not None,
        on_deadline=declaration.on_deadline,
    )


def _check(
    check: dg.AssetCheckKey,
    tolerances: Mapping[dg.AssetKey, Tolerance],
    jobs: Mapping[dg.AssetKey, set[str]],
    runs: Mapping[dg.AssetKey, Sequence[Cron]],
) -> Node:
    """A check runs wherever the asset that it is of does."""
    return Node(
        name=check.to_user_string(),
        crons=runs.get(check.asset_key, ()),
        jobs=frozenset(jobs.get(check.asset_key, ())),
        inputs={key.to_user_string(): tolerance for key, tolerance in tolerances.items()},
    )


def _crons(schedule: dg.ScheduleDefinition) -> list[Cron]:
    given = schedule.cron_schedule
    return [
        Cron(cron_schedule=each, timezone=schedule.execution_timezone or "UTC", name=schedule.name)
        for each in ([given] if isinstance(given, str) else given)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Automation:
    crons: Sequence[Cron] = ()
    follows: bool = False


def _automation(condition: dg.AutomationCondition[Any] | None) -> _Automation:
    """What an automation condition says of when: the ticks in it, and whether it waits for inputs to be renewed."""
    if condition is None:
        return _Automation()
    return _Automation(
        crons=[
            Cron(cron_schedule=each.cron_schedule, timezone=each.cron_timezone, name=AUTOMATION)
            for each in _parts(condition)
            if hasattr(each, "cron_schedule") and hasattr(each, "cron_timezone")
        ],
        # eager and on_cron look whether inputs are newly updated; these operands have no public names
        follows=any(
            type(part).__name__ == "NewlyUpdatedCondition"
            for each in _parts(condition)
            if type(each).__name__ in {"AnyDepsCondition", "AllDepsCondition"}
            for part in _parts(each)
        ),
    )


def _parts(condition: Any) -> Iterator[Any]:
    yield condition
    children: Iterable[Any] = getattr(condition, "children", ())
    for each in children:
        yield from _parts(each)
