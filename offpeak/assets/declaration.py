"""What a user declared with `@batch_asset`, and how it is found again from whatever Dagster made of the asset.

Dagster copies assets (resources, group names, key prefixes). The copies share the op, and the op's function carries the
declaration.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
from pydantic import BaseModel

from offpeak.errors import DefinitionError
from offpeak.freshness.contract import FreshnessContract
from offpeak.lanes.workload import Workload
from offpeak.ledger.deadline import OnDeadline, OnUnresolved
from offpeak.ledger.lane import Lane
from offpeak.ledger.notify import NOBODY, Routes
from offpeak.ledger.policy import SURFACE, FailurePolicy
from offpeak.ledger.sampling import Sample
from offpeak.money.budget import Budget
from offpeak.providers import NAMES
from offpeak.providers.schemas import anthropic_schema, openai_schema
from offpeak.queue.policy import DELAY, QueuePolicy
from offpeak.requests.fingerprint import canonical_json
from offpeak.requests.schema import canonical_schema

RESERVED_COLUMNS = frozenset(
    {
        "key",
        "text",
        "embedding",
        "partition_key",
        "as_of",
        "produced_at",
        "effective_until",
        "is_fresh",
        "model",
        "cost_usd",
        "rescued",
    }
)
"""The columns of a consumer's frame, and of the SQL view, that Offpeak writes itself."""

_SCHEMA_OF = {"openai": openai_schema, "anthropic": anthropic_schema}
"""How each provider would be sent an output model; refuses what it cannot take."""

WAYS_TO_WAIT = ("park", "run")
"""A run that is parked holds no process while its batches are on their way; or it waits for them itself."""

ANSWERS_CHECK = "usable_answers"
"""The name of the check that every batch asset has."""

_ATTRIBUTE = "__offpeak_declaration__"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredInput:
    """One parameter of the user's function: an upstream asset that is loaded while planning."""

    parameter: str
    op_input: str
    """The op's name for the dependency; the asset's key may change in a copy, this does not."""
    annotation: Any
    """The parameter's type, None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A batch asset as its author wrote it."""

    function: Callable[..., Any]
    takes_context: bool
    inputs: Sequence[DeclaredInput]
    model: str
    output: type[BaseModel] | None
    workload: Workload
    contract: FreshnessContract
    code_version: str | None
    """The author's own."""
    io_manager_key: str | None
    """Where the result frame goes instead of Offpeak's store."""
    wait: str = "park"
    """One of WAYS_TO_WAIT."""
    on_failure: FailurePolicy = SURFACE
    lane: Lane | None = None
    """The one that is chosen whatever the rule says; None leaves it to the rule."""
    sample: Sample | None = None
    """What is bought first where the question is new."""
    notify: Routes = NOBODY
    """Who is told of what becomes of it."""
    queue: QueuePolicy = DELAY
    """How important it is, and what is done where there is no room for it."""
    on_deadline: OnDeadline = OnDeadline.RESCUE
    """What is done about what has not landed by its deadline."""
    on_unresolved: OnUnresolved = OnUnresolved.WAIT
    """What is done where nobody can know by then whether something was bought."""
    budget: Budget | None = None
    """What it may cost, amounts as Decimal."""

    @property
    def provider(self) -> str:
        return self.model.partition("/")[0]

    @property
    def pay_twice(self) -> Decimal:
        """Dollars that may be paid twice on purpose in a UTC day."""
        return Decimal(0) if self.budget is None or self.budget.pay_twice is None else Decimal(self.budget.pay_twice)

    @property
    def effective_code_version(self) -> str:
        """The author's version and a digest of model and output schema: what Dagster shows and compares."""
        schema = canonical_schema(self.output) if self.output is not None else None
        digest = hashlib.blake2b(canonical_json([self.model, schema]), digest_size=4).hexdigest()
        return f"{self.code_version}-{digest}" if self.code_version else digest


@contextmanager
def without_beta_warnings() -> Iterator[None]:
    """Keep Dagster from telling users that Offpeak builds on parts of it that may still change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        yield


def attach(declaration: Declaration, compute: Callable[..., Any]) -> None:
    """Make `declaration` findable from every asset that is built on `compute`."""
    setattr(compute, _ATTRIBUTE, declaration)


def declaration_of(asset: dg.AssetsDefinition) -> Declaration | None:
    """The declaration behind an asset or a copy of it; None for any other asset."""
    if not asset.is_executable or not isinstance(asset.node_def, dg.OpDefinition):
        return None
    compute = asset.node_def.compute_fn
    found = getattr(getattr(compute, "decorated_fn", compute), _ATTRIBUTE, None)
    return found if isinstance(found, Declaration) else None


def check_model(asset: str, model: str) -> None:
    """Raise DefinitionError unless `model` is "provider/model" with a provider that Offpeak knows."""
    provider, _, name = model.partition("/") if isinstance(model, str) else ("", "", "")
    if not provider or not name:
        raise DefinitionError(
            f'{asset}: model={model!r} does not name its provider. Write "provider/model", such as '
            '"openai/gpt-5-mini"; the providers are ' + " and ".join(NAMES) + "."
        )
    if provider not in NAMES:
        raise DefinitionError(
            f"{asset}: model={model!r} names the provider {provider!r}, which Offpeak does not know. "
            f"The providers are {' and '.join(NAMES)}."
        )


def check_output(asset: str, output: object, *, provider: str) -> None:
    """Raise DefinitionError unless `output` is None or a pydantic model that the provider takes.

    Its fields must leave the reserved columns alone.
    """
    if output is None:
        return
    if not (isinstance(output, type) and issubclass(output, BaseModel)):
        raise DefinitionError(
            f"{asset}: output={output!r} is not a pydantic model. Give a subclass of pydantic.BaseModel, or None "
            "for plain text."
        )
    if not output.model_fields:
        raise DefinitionError(f"{asset}: output={output.__name__} has no fields, so there is nothing to ask for.")
    clash = sorted(RESERVED_COLUMNS & set(output.model_fields))
    if clash:
        raise DefinitionError(
            f"{asset}: output={output.__name__} has the field {', '.join(map(repr, clash))}, a column that Offpeak "
            f"writes itself. Rename it. Taken are {', '.join(sorted(RESERVED_COLUMNS))}."
        )
    try:
        _SCHEMA_OF[provider](output)
    except DefinitionError as error:
        raise DefinitionError(f"{asset}: output={output.__name__}: {error}") from error


def declared_lane(asset: str, lane: object) -> Lane | None:
    """The lane that `lane=` forces. Raises DefinitionError for what is none."""
    if lane is None or lane in set(Lane):
        return None if lane is None else Lane(str(lane))
    raise DefinitionError(
        f'{asset}: lane={lane!r} is not a lane. Use lane="batch" (half the price, within a day) or '
        'lane="background" (realtime price, within minutes), or leave it out: then the rule decides by the workload.'
    )


def check_contract(asset: str, workload: object, contract: object) -> None:
    """Raise DefinitionError for a missing, watched or impossible workload, or a contract shorter than its deadline."""
    if not isinstance(workload, Workload):
        raise DefinitionError(
            f"{asset}: workload={workload!r} is not a Workload. Say who waits and until when: "
            "workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=24))."
        )
    workload.refuse_watched(asset)
    if not isinstance(contract, FreshnessContract):
        raise DefinitionError(
            f"{asset}: contract={contract!r} is not a FreshnessContract. Promise an age: "
            "contract=FreshnessContract(valid_for=timedelta(hours=49))."
        )
    # how long it is until a time of day depends on the schedule, which only the whole graph knows
    if isinstance(workload.deadline, timedelta) and contract.valid_for <= workload.deadline:
        raise DefinitionError(
            f"{asset}: contract valid_for={contract.valid_for} does not outlast the workload's deadline "
            f"({workload.deadline}): rows that land at the deadline would be stale as they land. valid_for has to "
            "cover the time between two runs, the deadline and the collecting."
        )
