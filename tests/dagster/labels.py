"""A batch asset that others read, and what they tolerate of it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg

from offpeak import BatchAsset, Chat, FreshnessContract, Waiting, Workload, batch_asset

STALENESS = timedelta(hours=38)
OLDER = timedelta(hours=39)
DAYS = dg.StaticPartitionsDefinition(["mon", "tue", "wed"])


def labels_of(**arguments: Any) -> BatchAsset:
    """The labels: two rows in each partition."""

    @batch_asset(
        name="labels",
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=37)),
        **arguments,
    )
    def labels() -> Iterator[Chat]:
        yield Chat(key="a", prompt="?")
        yield Chat(key="b", prompt="!")

    return labels


labels = labels_of()
