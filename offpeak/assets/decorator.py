"""`@batch_asset`: a software-defined asset whose rows are bought on the provider's batch tier.

The decorated function takes its inputs and yields requests. What is declared wrongly fails here, when definitions load,
naming the asset and the field.
"""

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import dagster as dg
from pydantic import BaseModel

from offpeak.assets.declaration import (
    ANSWERS_CHECK,
    WAYS_TO_WAIT,
    Declaration,
    DeclaredInput,
    attach,
    check_contract,
    check_model,
    check_output,
    declaration_of,
    declared_lane,
    without_beta_warnings,
)
from offpeak.assets.fresh import fresh_check_spec
from offpeak.assets.materialize import materialize_batch
from offpeak.assets.plan import PlanContext, plan
from offpeak.assets.resources import API_KEY
from offpeak.errors import DefinitionError, did_you_mean
from offpeak.freshness.contract import FreshnessContract, native_policy
from offpeak.lanes.workload import Workload
from offpeak.ledger.deadline import OnDeadline, OnUnresolved, declared_on_deadline, declared_on_unresolved
from offpeak.ledger.notify import Notify, declared_routes
from offpeak.ledger.policy import FailurePolicy, failure_policy
from offpeak.ledger.sampling import Sample, declared_sample
from offpeak.money.budget import Budget, declared_budget
from offpeak.notifier import NOTIFIER_KEY
from offpeak.queue.policy import QueuePolicy, queue_policy
from offpeak.requests import Request
from offpeak.results.io_manager import RESULTS_KEY
from offpeak.results.producer import PRODUCER_KEY, Producer, register
from offpeak.sources.changed import ChangedRows


class BatchAsset(dg.AssetsDefinition):
    """What `@batch_asset` makes of a function: an asset definition that can also be planned by hand."""

    @property
    def declaration(self) -> Declaration:
        """What was declared."""
        found = declaration_of(self)
        if found is None:
            raise DefinitionError(f"{self} carries no batch declaration; build it with @batch_asset.")
        return found

    def plan(self, *inputs: Any, context: PlanContext | None = None, **named_inputs: Any) -> list[Request]:
        """The requests that the function makes of these inputs, without Dagster or a ledger; nothing is bought.

        Inputs are given as the function takes them. Raises InvalidRequest for a null, empty, over-long or repeated key.
        """
        return plan(self.declaration, self.key.to_user_string(), inputs, named_inputs, context or PlanContext())

    @staticmethod
    def dagster_internal_init(**attributes: Any) -> "BatchAsset":
        """Dagster copies a definition through this; a copy stays a BatchAsset."""
        with without_beta_warnings():
            return BatchAsset(**attributes)


def batch_asset(
    *,
    model: str,
    workload: Workload,
    contract: FreshnessContract,
    output: type[BaseModel] | None = None,
    wait: Literal["park", "run"] = "park",
    lane: Literal["batch", "background"] | None = None,
    on_deadline: Literal["rescue", "serve_last_good", "fail"] = "rescue",
    on_unresolved: Literal["wait", "pay_twice"] = "wait",
    on_failure: Literal["surface", "drop", "fail"] | FailurePolicy = "surface",
    sample: int | Sample | None = None,
    notify: str | Notify | Sequence[str | Notify] | None = None,
    queue: QueuePolicy | None = None,
    budget: Budget | None = None,
    ins: Mapping[str, dg.AssetIn] | None = None,
    io_manager_key: str | None = None,
    **asset_arguments: Any,
) -> Callable[[Callable[..., Any]], BatchAsset]:
    """Declare an asset that is bought in batches.

    `model` is "provider/model". `output` is a pydantic model that every answer has to fit; None asks for plain text
    (and embeddings and moderations need none). `workload` says who waits and until when, `contract` how old rows may
    get. `wait="park"`: while its batches are on their way a run is held without a process, where Dagster's queue allows
    it; "run": the run waits for them. `on_deadline` says what is done about batches that may not make the deadline:
    "rescue" cancels them at the last safe moment and buys what they leave at realtime price; "serve_last_good"
    materialises at the deadline what has landed, and the other rows keep the answers from before; "fail" fails the run
    then. `on_unresolved` says what a rescue does about a batch of which nobody can know in time what it has bought:
    "wait", and be late, or "pay_twice" within `Budget(pay_twice=...)`. `on_failure` says what becomes of requests
    without a usable answer, once they have been tried again: "surface" them as dead letters, "drop" them on record,
    "fail" the run, or a `FailurePolicy`. `sample=20` buys 20 rows first where the prompt, model or schema is new, shows
    them, and holds the others until somebody approves, or as a `Sample` says. `notify="support"` tells that destination
    of the resource `notifier` what needs a person; a `Notify`, or a list of them, says who is told of what. `queue`
    says how important its requests are where room at the provider is short, and what becomes of them where there is
    none. `budget` bounds the dollars of one materialization, or of all within a UTC day.
    `io_manager_key` sends the result frame to an IO manager of your own.
    `lane` forces one, "batch" or "background", whatever the rule makes of the workload.
    `ins` gives parameters another key, partition mapping or a tolerance. Everything else is `dg.asset`'s own.

    Every parameter of the function is an upstream asset, loaded while planning, except a first one called `context`,
    which is a PlanContext. The function is called once for each partition.

    Raises DefinitionError for a declaration that cannot work.
    """

    def decorate(function: Callable[..., Any]) -> BatchAsset:
        name = _asset_name(function, asset_arguments)
        check_model(name, model)
        check_output(name, output, provider=model.partition("/")[0])
        check_contract(name, workload, contract)
        check_wait(name, wait)
        policy, drawn = failure_policy(name, on_failure), declared_sample(name, sample)
        routes = declared_routes(name, notify)
        queued = queue_policy(name, queue, model=model)
        bounds = declared_budget(name, budget)
        at_deadline, unresolved = declared_on_deadline(name, on_deadline), declared_on_unresolved(name, on_unresolved)
        _check_pay_twice(name, at_deadline, unresolved, bounds)
        _check_arguments(name, asset_arguments)
        parameters, takes_context = _parameters(function, name)
        dependencies = _dependencies(name, parameters, ins or {})
        _check_changed_rows(name, parameters)
        declaration = Declaration(
            function=function,
            takes_context=takes_context,
            inputs=[
                DeclaredInput(
                    parameter=parameter,
                    op_input="_".join(dependencies[parameter].asset_key.path),
                    annotation=annotation,
                )
                for parameter, annotation in parameters.items()
            ],
            model=model,
            output=output,
            workload=workload,
            contract=contract,
            code_version=asset_arguments.get("code_version"),
            io_manager_key=io_manager_key,
            wait=wait,
            on_deadline=at_deadline,
            on_unresolved=unresolved,
            on_failure=policy,
            lane=declared_lane(name, lane),
            sample=drawn,
            notify=routes,
            queue=queued,
            budget=bounds,
        )
        return _build(declaration, name, dependencies, asset_arguments)

    return decorate


def check_wait(asset: str, wait: object) -> None:
    """Raise DefinitionError for what is no way to wait."""
    if wait not in WAYS_TO_WAIT:
        raise DefinitionError(
            f'{asset}: wait={wait!r} is not a way to wait. Use wait="park" (no process is held while a batch is on its '
            'way) or wait="run" (the run waits for it).'
        )


def _build(
    declaration: Declaration, name: str, dependencies: Mapping[str, dg.AssetDep], arguments: Mapping[str, Any]
) -> BatchAsset:
    function = declaration.function

    def compute(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        yield from materialize_batch(declaration, context)

    compute.__name__ = function.__name__
    compute.__qualname__ = function.__qualname__
    compute.__module__ = function.__module__
    attach(declaration, compute)
    declared_in = f"{function.__module__}.{function.__qualname__}"
    if not declared_in.endswith(f".{name}"):  # a factory makes several assets of one function
        declared_in = f"{declared_in} ({name})"
    register(declared_in, Producer(output=declaration.output, valid_for=declaration.contract.valid_for))
    passed = {
        "kinds": {"offpeak", declaration.provider},
        "description": inspect.getdoc(function),
        **arguments,
        "metadata": {**(arguments.get("metadata") or {}), **_metadata(declaration), PRODUCER_KEY: declared_in},
        "check_specs": [*(arguments.get("check_specs") or ()), *_own_checks(name, arguments)],
        "deps": [*(arguments.get("deps") or ()), *dependencies.values()],
        "code_version": declaration.effective_code_version,
        "freshness_policy": native_policy(
            declaration.contract, deadline=declaration.workload.longest(now=datetime.now(UTC))
        ),
        "io_manager_key": declaration.io_manager_key or RESULTS_KEY,
        "output_required": False,  # a run that is parked makes nothing yet
        "required_resource_keys": {
            *(arguments.get("required_resource_keys") or ()),
            API_KEY,
            RESULTS_KEY,
            *({declaration.io_manager_key} if declaration.io_manager_key else ()),
            *({NOTIFIER_KEY} if declaration.notify else ()),
        },
    }
    if arguments.get("partitions_def") is not None:
        # one run for a range is one job, whose requests share their batches
        passed.setdefault("backfill_policy", dg.BackfillPolicy.single_run())
    with without_beta_warnings():
        asset = dg.asset(**passed)(compute)
        attributes = asset.get_attributes_dict()
        attributes["node_def"] = _without_required_outputs(attributes["node_def"])
        return BatchAsset(**attributes)


def _without_required_outputs(op: dg.OpDefinition) -> dg.OpDefinition:
    """The same op, none of whose outputs has to be yielded: checks are told in the run that plans, rows in a later one.

    Dagster has `output_required=False` for the asset alone, not for the checks in its `check_specs`.
    """
    outs = {name: dg.Out.from_definition(each) for name, each in op.output_dict.items()}
    return op.with_replaced_properties(
        name=op.name, outs={name: out._replace(is_required=False) for name, out in outs.items()}
    )


def _metadata(declaration: Declaration) -> dict[str, str | int]:
    return {
        "offpeak/model": declaration.model,
        "offpeak/waiting": declaration.workload.waiting.value,
        "offpeak/deadline": _deadline(declaration.workload),
        "offpeak/on_deadline": declaration.on_deadline.value,
        "offpeak/valid_for": str(declaration.contract.valid_for),
        **({} if declaration.lane is None else {"offpeak/lane": declaration.lane.value}),
        **({} if declaration.workload.volume is None else {"offpeak/volume": declaration.workload.volume}),
    }


def _deadline(workload: Workload) -> str:
    return str(workload.deadline) if isinstance(workload.deadline, timedelta) else str(workload)


def _own_checks(name: str, arguments: Mapping[str, Any]) -> list[dg.AssetCheckSpec]:
    """The checks that every batch asset has. Raises DefinitionError where the user's have one of their names."""
    key = dg.AssetKey.from_user_string(name)
    own = [
        dg.AssetCheckSpec(
            ANSWERS_CHECK,
            asset=key,
            description="Every row has a usable answer of its own; warns while some failed for good.",
        ),
        fresh_check_spec(key),
    ]
    taken = {check.name for check in arguments.get("check_specs") or ()}
    for check in own:
        if check.name in taken:
            raise DefinitionError(
                f"{name}: check_specs= names a check {check.name!r}, which every batch asset has already. Rename yours."
            )
    return own


def _asset_name(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    """The asset's key as Dagster prints it."""
    if arguments.get("key") is not None:
        return dg.AssetKey.from_coercible(arguments["key"]).to_user_string()
    prefix = arguments.get("key_prefix") or []
    own = arguments.get("name") or function.__name__
    return dg.AssetKey([*([prefix] if isinstance(prefix, str) else prefix), own]).to_user_string()


def _check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    for field in arguments.keys() - inspect.signature(dg.asset).parameters.keys() - {"freshness_policy"}:
        known = [name for name in inspect.signature(batch_asset).parameters if name != "asset_arguments"]
        hint = did_you_mean(field, [*known, *inspect.signature(dg.asset).parameters], nothing="")
        raise DefinitionError(f"{name}: neither @batch_asset nor dg.asset takes {field}=. {hint}".rstrip())
    refused = {
        "freshness_policy": "contract= already gives the asset its freshness policy (and the gate its promise): leave "
        "freshness_policy= out. A freshness_sla belongs on an asset that reads this one.",
        "io_manager_def": "give the IO manager a resource key and name it with io_manager_key=.",
        "config_schema": "run config does not reach the plan function: use the run's tags (context.run_tags) instead.",
        "dagster_type": "the output is described by output=, a pydantic model.",
        "output_required": "whether a run yields the asset is decided by whether its batches have landed.",
    }
    for field, remedy in refused.items():
        if arguments.get(field) is not None:
            raise DefinitionError(f"{name}: {field}= is not for a batch asset: {remedy}")


def _parameters(function: Callable[..., Any], name: str) -> tuple[dict[str, Any], bool]:
    """The parameters that are upstream assets with their annotations, and whether a context comes first."""
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters:
        if parameter.kind not in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            raise DefinitionError(
                f"{name}: the parameter {parameter} of {function.__name__} names no asset. Every parameter is an "
                "upstream asset, except a first one called `context`."
            )
    takes_context = bool(parameters) and parameters[0].name == "context"
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # an annotation of a name that only a type checker imports
        hints = {}
    return {each.name: hints.get(each.name) for each in parameters[takes_context:]}, takes_context


def _check_pay_twice(name: str, on_deadline: OnDeadline, on_unresolved: OnUnresolved, budget: Budget | None) -> None:
    """Raise DefinitionError where paying twice has no bound, or no occasion."""
    if on_unresolved is OnUnresolved.WAIT:
        return
    if on_deadline is not OnDeadline.RESCUE:
        raise DefinitionError(
            f'{name}: on_unresolved="pay_twice" is what a rescue may do, and on_deadline="{on_deadline}" has none. '
            'Leave one of them out, or use on_deadline="rescue".'
        )
    if budget is None or budget.pay_twice is None:
        raise DefinitionError(
            f'{name}: on_unresolved="pay_twice" without a bound. Say how many dollars a day may be paid twice: '
            'budget=Budget(pay_twice="5").'
        )


def _check_changed_rows(name: str, parameters: Mapping[str, Any]) -> None:
    """Raise DefinitionError where more than one input is to be read as changed rows."""
    changed = [parameter for parameter, annotation in parameters.items() if annotation is ChangedRows]
    if len(changed) > 1:
        raise DefinitionError(
            f"{name}: {' and '.join(changed)} are all annotated ChangedRows. One input can be: its rows are the "
            "asset's rows. Annotate the others as pandas.DataFrame; when one of those changes, every row is planned."
        )


def _dependencies(name: str, parameters: Mapping[str, Any], ins: Mapping[str, dg.AssetIn]) -> dict[str, dg.AssetDep]:
    """Each parameter as a dependency: it is loaded by the plan, not by Dagster before the body."""
    unknown = sorted(set(ins) - set(parameters))
    if unknown:
        raise DefinitionError(
            f"{name}: ins= names {', '.join(unknown)}, which the function does not take. Its inputs are "
            f"{', '.join(parameters) or 'none'}."
        )
    dependencies = {}
    for parameter in parameters:
        given = ins.get(parameter) or dg.AssetIn()
        if given.input_manager_key is not None:
            raise DefinitionError(
                f"{name}: ins={{{parameter!r}: ...}} sets input_manager_key=, but a batch asset loads an input "
                "through the IO manager of the asset that wrote it. Leave it out."
            )
        dependencies[parameter] = dg.AssetDep(
            given.resolve_key(parameter),
            partition_mapping=given.partition_mapping,
            metadata=dict(given.metadata or {}),
        )
    return dependencies
