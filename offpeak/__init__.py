"""Dagster assets bought on the OpenAI and Anthropic batch tiers: each request once, with a freshness contract.

The names below are what users write. They are imported at first use, because Dagster takes seconds to import and a
program that only needs a request value should not pay for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offpeak.assets.automation import fresh_first, refresh_when_stale, when_data_changes
    from offpeak.assets.catching_up import partitions_due
    from offpeak.assets.decorator import BatchAsset, batch_asset
    from offpeak.assets.definitions import with_offpeak
    from offpeak.assets.fresh_to_the_end import fresh_to_the_end
    from offpeak.assets.lifecycle import lifecycle_sensor
    from offpeak.assets.plan import PlanContext
    from offpeak.assets.resources import BatchApi, offpeak_resources
    from offpeak.audit.report import workload_audit
    from offpeak.components import BatchAssetComponent
    from offpeak.freshness.contract import FreshnessContract
    from offpeak.freshness.gate import tolerances, tolerates
    from offpeak.freshness.sla import freshness_sla
    from offpeak.lanes.workload import Waiting, Workload
    from offpeak.launches.precompute import launch_partitions, launches_due
    from offpeak.ledger.notify import NoticeKind, Notify
    from offpeak.ledger.policy import FailurePolicy
    from offpeak.ledger.sampling import Sample
    from offpeak.money.budget import Budget
    from offpeak.notifier import Notifier
    from offpeak.queue.limits import QueueLimits
    from offpeak.queue.policy import QueuePolicy
    from offpeak.reports.launches.capacity import launch_capacity
    from offpeak.reports.launches.coverage import launch_coverage
    from offpeak.reports.launches.report import launch_report
    from offpeak.reports.operations import operations_report
    from offpeak.reports.spend_report import spend_report
    from offpeak.requests import Chat, Embedding, Image, Message, Moderation
    from offpeak.results.io_manager import OffpeakResults
    from offpeak.results.reader import read
    from offpeak.sources.changed import ChangedRows
    from offpeak.sources.tables import SourceTables

_HOMES = {
    "BatchApi": "offpeak.assets.resources",
    "BatchAsset": "offpeak.assets.decorator",
    "BatchAssetComponent": "offpeak.components",
    "Budget": "offpeak.money.budget",
    "ChangedRows": "offpeak.sources.changed",
    "Chat": "offpeak.requests",
    "Embedding": "offpeak.requests",
    "FailurePolicy": "offpeak.ledger.policy",
    "FreshnessContract": "offpeak.freshness.contract",
    "Image": "offpeak.requests",
    "Message": "offpeak.requests",
    "Moderation": "offpeak.requests",
    "NoticeKind": "offpeak.ledger.notify",
    "Notifier": "offpeak.notifier",
    "Notify": "offpeak.ledger.notify",
    "OffpeakResults": "offpeak.results.io_manager",
    "PlanContext": "offpeak.assets.plan",
    "QueueLimits": "offpeak.queue.limits",
    "QueuePolicy": "offpeak.queue.policy",
    "Sample": "offpeak.ledger.sampling",
    "SourceTables": "offpeak.sources.tables",
    "Waiting": "offpeak.lanes.workload",
    "Workload": "offpeak.lanes.workload",
    "batch_asset": "offpeak.assets.decorator",
    "fresh_first": "offpeak.assets.automation",
    "fresh_to_the_end": "offpeak.assets.fresh_to_the_end",
    "freshness_sla": "offpeak.freshness.sla",
    "launch_capacity": "offpeak.reports.launches.capacity",
    "launch_coverage": "offpeak.reports.launches.coverage",
    "launch_report": "offpeak.reports.launches.report",
    "launch_partitions": "offpeak.launches.precompute",
    "launches_due": "offpeak.launches.precompute",
    "lifecycle_sensor": "offpeak.assets.lifecycle",
    "offpeak_resources": "offpeak.assets.resources",
    "operations_report": "offpeak.reports.operations",
    "refresh_when_stale": "offpeak.assets.automation",
    "partitions_due": "offpeak.assets.catching_up",
    "read": "offpeak.results.reader",
    "spend_report": "offpeak.reports.spend_report",
    "tolerances": "offpeak.freshness.gate",
    "tolerates": "offpeak.freshness.gate",
    "when_data_changes": "offpeak.assets.automation",
    "with_offpeak": "offpeak.assets.definitions",
    "workload_audit": "offpeak.audit.report",
}

__all__ = [
    "BatchApi",
    "BatchAsset",
    "BatchAssetComponent",
    "Budget",
    "ChangedRows",
    "Chat",
    "Embedding",
    "FailurePolicy",
    "FreshnessContract",
    "Image",
    "Message",
    "Moderation",
    "NoticeKind",
    "Notifier",
    "Notify",
    "OffpeakResults",
    "PlanContext",
    "QueueLimits",
    "QueuePolicy",
    "Sample",
    "SourceTables",
    "Waiting",
    "Workload",
    "batch_asset",
    "fresh_first",
    "fresh_to_the_end",
    "freshness_sla",
    "launch_capacity",
    "launch_coverage",
    "launch_partitions",
    "launch_report",
    "launches_due",
    "lifecycle_sensor",
    "offpeak_resources",
    "operations_report",
    "partitions_due",
    "read",
    "refresh_when_stale",
    "spend_report",
    "tolerances",
    "tolerates",
    "when_data_changes",
    "with_offpeak",
    "workload_audit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
