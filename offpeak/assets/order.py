"""What one materialization asks the ledger to buy, and what it is told afterwards: plain values, no Dagster."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from pydantic import BaseModel

from offpeak.lanes.rescue import TERMS, RescueTerms
from offpeak.lanes.rule import Due, Forced
from offpeak.lanes.workload import Waiting
from offpeak.ledger.deadline import OnDeadline
from offpeak.ledger.lane import Lane
from offpeak.ledger.policy import SURFACE, FailurePolicy
from offpeak.ledger.readings import Reading
from offpeak.ledger.sampling import Sample
from offpeak.money.budget import Allowance, Budget
from offpeak.providers.base import BATCH_WINDOW
from offpeak.queue.policy import DELAY, QueuePolicy
from offpeak.requests import Request

UNPARTITIONED = ""
"""The partition key of an asset that has no partitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlan:
    """The wanted rows of one partition. `requests` is a stream, read once."""

    partition_key: str
    as_of: datetime
    """The age of what the requests were made from: the moment before the inputs were read, or older."""
    requests: Iterable[Request]
    reading: Reading | None = None
    """How far the inputs are read, where the next plan can go on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One materialization of one asset, over one or many partitions.

    `partitions` is a stream: the inputs of a partition may be loaded when it is reached.
    """

    asset: str
    """The asset key as Dagster prints it: "group/name"."""
    model: str
    """"provider/model"."""
    output: type[BaseModel] | None
    code_version: str | None
    """The user's own; raising it says that changed fingerprints are meant."""
    valid_for: timedelta
    deadline: timedelta
    partitions: Iterable[PartitionPlan]
    run_id: str
    approved: bool = False
    """The run carries the approval of a held surge."""
    waiting: Waiting = Waiting.NOBODY
    dues: Sequence[Due] = ()
    """The deadlines that its lane has to leave room for; none: `deadline` alone."""
    forced: Forced | None = None
    """The lane that somebody chose."""
    smallest_saving: Decimal = Decimal(0)
    """In dollars: where batch saves less, it is not waited for."""
    volume: int | None = None
    """Requests that a run usually asks."""
    one_off: bool = False
    """A person launched it, and nothing schedules it."""
    policy: FailurePolicy = SURFACE
    over_all_rows: Callable[[], Iterable[PartitionPlan]] | None = None
    """The same partitions over every row, where `partitions` may be over changed rows alone."""
    sample: Sample | None = None
    """What is bought before the rest, where the question is new."""
    sample_known: bool = False
    """The run asks for a sample although the question may be known."""
    releases_sample: bool = False
    """The run carries the approval of a sample that waits for one."""
    queue: QueuePolicy = DELAY
    """How important it is where room is short, and what is done where there is none."""
    on_deadline: OnDeadline = OnDeadline.RESCUE
    """What is done about what has not landed by then."""
    rescue: RescueTerms = TERMS
    """How much time is left for a rescue before each deadline."""
    budget: Budget | None = None
    """What it may cost."""
    window: timedelta = BATCH_WINDOW
    """What the provider may take for a batch of its model."""
    budget_per_day: Decimal | None = None
    """Dollars that all assets may cost within a UTC day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What an order would buy; nothing was sent and nothing was written. rows = new + joined + reused + dead."""

    asset: str
    model: str
    rows: int
    changed_only: bool
    """`rows` are those that changed since the plan that is valid now; the others stay as they are."""
    new: int
    volume: int | None
    """Requests that a run usually asks, where the asset says so."""
    joined: int
    reused: int
    dead: int
    """Rows whose request has failed for good: they are not bought again."""
    removed: int
    """Rows that the plan no longer wants."""
    estimated_input_tokens: int
    estimated_output_tokens: int
    estimated_from: str
    """What the tokens are estimated from, in words."""
    estimated_cost: Decimal
    """Dollars at the rate of its lane."""
    estimated_batch_cost: Decimal
    estimated_realtime_cost: Decimal
    lane: Lane
    lane_reason: str
    lands_by: datetime
    lands_by_why: str
    other_lane: Lane
    """The one that was not chosen, for comparison."""
    other_lands_by: datetime
    other_lands_by_why: str
    surge: str | None
    """Why the plan would be held, or None."""
    prefix_requests: int = 0
    """New requests that have a prefix."""
    prefix_requests_cached: int = 0
    """Those of them whose prefix the provider would be asked to cache."""
    prefix_caching: str | None = None
    """When a prefix is cached, and why; None where there is none."""
    sample_keys: Sequence[str] = ()
    """The rows that would be bought before the rest, in key order; none where all is sent at once."""
    estimated_sample_cost: Decimal = Decimal(0)
    """Dollars at realtime price, for those alone: somebody may wait to look at them."""
    budgets: Sequence[Allowance] = ()
    """What it is measured by, as that stands now."""
    over_budget: str | None = None
    """Why the plan would be held or refused for its price, or None."""
    refused: bool = False
    """It would be refused for its price, and not held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReceipt:
    """One partition after collecting."""

    partition_key: str
    rows: int
    """Wanted rows that have an answer."""
    missing: int
    """Wanted rows that have none to serve."""
    removed: int
    """Rows that this plan no longer wants."""
    as_of: datetime
    produced_at: datetime | None
    """The oldest answer's time; None for an empty partition."""
    effective_until: datetime
    data_version: str
    """A digest of the live rows: equal when nothing that a consumer can see has changed, re-verification aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a finished order bought, summed over its partitions. Counts are requests, money is dollars."""

    job_id: int
    rows: int
    bought: int
    """Sent to the provider for this job."""
    joined: int
    """Already on their way for another job."""
    reused: int
    """Answered before this job began."""
    failed: int
    """Wanted rows whose own request has no answer (dead letters). Some may still serve the answer of a former one."""
    dropped: int
    """Wanted rows that were let go, by the asset's policy or by a person; not counted in `failed`."""
    degraded: int
    """Rows that serve the answer of another model until the next run, because the queue was full; in no other count."""
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    cost: Decimal
    realtime_cost: Decimal
    cache_saved: Decimal
    """What `cost` would have been more without a cache; below nought where writing one cost more than it saved."""
    rescued: int
    """Rows whose answer was bought at realtime price because its batch would have been late."""
    late: int
    """Rows whose request was still on its way at the deadline; not counted in `failed`."""
    estimated_cost: Decimal | None
    """Of what was to be bought, when it was planned."""
    estimate_error: float | None
    """By which share of `cost` the estimate was too high, or too low where negative; None where nothing was bought."""
    estimated_from: str | None
    """What the tokens were estimated from, in words."""
    possibly_paid_twice: int
    """Requests that were bought again although the first time may have been billed; it may be on the bill."""
    lane: str
    lane_reason: str
    """Why it was bought in that lane, with the arithmetic."""
    batch_ids: Sequence[str]
    landed_at: datetime
    """When the job was closed."""
    partitions: Sequence[PartitionReceipt]

    @property
    def saved(self) -> Decimal:
        return self.realtime_cost - self.cost

    @property
    def cache_hit_share(self) -> float | None:
        """Of the tokens that were read from a cache or written to it, those that were read; None where there are none.

        Where no write was reported, of all input tokens: some models write without saying so.
        """
        if not self.cached_tokens and not self.cache_write_tokens:
            return None
        touched = self.cached_tokens + self.cache_write_tokens
        return self.cached_tokens / (touched if self.cache_write_tokens else max(self.input_tokens, touched))
