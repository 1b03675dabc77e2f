"""A night on a scale of seconds: eight assets of eight batches each, due three minutes after their run was created.

They share one model, and so one realtime limit.
"""

import os
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from offpeak import (
    BatchApi,
    BatchAsset,
    Chat,
    FreshnessContract,
    OffpeakResults,
    Waiting,
    Workload,
    batch_asset,
    lifecycle_sensor,
    with_offpeak,
)
from resources.batch_api import batch_api

ASSETS = 8
BATCHES = 8
PER_BATCH = 5
MODEL = "openai/gpt-5-mini"
DEADLINE = timedelta(seconds=180)
API = BatchApi(
    **{
        **batch_api().model_dump(exclude_none=True),
        "max_requests_per_batch": PER_BATCH,
        "rescue_margin_minutes": 0.7,
        # the local provider ends a cancelled batch after a tenth of what it would have taken: 23 s of the slowest one
        "cancel_minutes": 0.4,
        "keep_provider_files": True,
        "flex": False,
    }
)
CONTRACT = FreshnessContract(valid_for=timedelta(hours=49))


def night(name: str) -> BatchAsset:
    @batch_asset(
        name=name,
        model=MODEL,
        workload=Workload(waiting=Waiting.NOBODY, deadline=DEADLINE),
        lane="batch",
        contract=CONTRACT,
    )
    def asked() -> Iterator[Chat]:
        """A few texts in a sentence each."""
        for number in range(BATCHES * PER_BATCH):
            yield Chat(
                key=f"K{number:02}", system="Sum it up.", prompt=f"{name} tells in chapter {number} of a journey."
            )

    return asked


@batch_asset(
    model=MODEL,
    workload=Workload(waiting=Waiting.WALKED_AWAY, deadline=timedelta(minutes=10)),
    contract=CONTRACT,
)
def asked_before() -> Iterator[Chat]:
    """Calls by which the limit of the model is known."""
    for number in range(10):
        yield Chat(key=f"K{number}", prompt=f"Greet guest number {number}.")


defs = with_offpeak(
    dg.Definitions(
        assets=[asked_before, *(night(f"night_{number}") for number in range(1, ASSETS + 1))],
        sensors=[lifecycle_sensor(minimum_interval_seconds=3)],
        resources={"batch_api": API, "offpeak_results": OffpeakResults(spool_dir=os.environ["PARKED_SPOOL"])},
        executor=dg.in_process_executor,
    )
)
