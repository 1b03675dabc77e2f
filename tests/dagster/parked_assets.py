"""Assets for tests of parked runs, and the local provider's batches that they buy."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

import dagster as dg
import pandas as pd
from pydantic import BaseModel

from offpeak import (
    BatchAsset,
    Chat,
    FreshnessContract,
    PlanContext,
    Waiting,
    Workload,
    batch_asset,
    tolerates,
)

from ..conftest import MODELS, LocalProvider, until

DAILY: dict[str, Any] = {
    "workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    "lane": "batch",
    "contract": FreshnessContract(valid_for=timedelta(hours=37)),
}
TOLERATED = timedelta(hours=38)
ROWS = 4


class Label(BaseModel):
    category: Literal["billing", "bug", "other"]


def labels(
    name: str = "labels", *, provider: str = "openai", about: str | None = None, rows: int = ROWS, **arguments: Any
) -> BatchAsset:
    """A batch asset of a few rows, by default of texts that no other asset asks about."""

    @batch_asset(name=name, model=MODELS[provider], output=Label, **{**DAILY, **arguments})
    def asked(context: PlanContext) -> Iterator[Chat]:
        for number in range(rows):
            part = context.partition_key or "this year"
            yield Chat(key=f"T{number}", prompt=f"Invoice {number} of {part} is wrong, says {about or name}.")

    return asked


def view(name: str = "view", *parents: str, **arguments: Any) -> dg.AssetsDefinition:
    """An ordinary asset that reads batch assets, by default "labels"."""

    @dg.asset(name=name, ins={parent: tolerates(TOLERATED) for parent in parents or ("labels",)}, **arguments)
    def seen(**frames: pd.DataFrame) -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult(metadata={parent: len(frame) for parent, frame in frames.items()})

    return seen


def plain(name: str, *deps: str, **arguments: Any) -> dg.AssetsDefinition:
    """An ordinary asset that reads none."""

    @dg.asset(name=name, deps=list(deps), **arguments)
    def made() -> None: ...

    return made


def hold(
    local_provider: LocalProvider, *, share: float = 0, model: str | None = None, times: int | None = None
) -> None:
    """Let batches (of one model, or so many) answer this share of their requests, and then go on without end."""
    match = {"match": {"model": model.partition("/")[2]}} if model else {}
    local_provider.fault("never_end", share=share, times=times, **match)


def let_end(local_provider: LocalProvider, *ids: str) -> None:
    """Let open batches end, by default all, and wait until they have."""
    local_provider.call("DELETE", "/local/faults")
    chosen = [batch["id"] for batch in local_provider.batches() if batch["id"] in ids or not ids]
    for batch_id in chosen:
        if outcome(local_provider, batch_id) is None:
            local_provider.heal(batch_id)
    until(lambda: all(outcome(local_provider, each) for each in chosen), what="the end of the batches")


def outcome(local_provider: LocalProvider, batch_id: str) -> str | None:
    """How a batch ended; None while it is open."""
    (found,) = [batch for batch in local_provider.batches() if batch["id"] == batch_id]
    return None if found["outcome"] is None else str(found["outcome"])


def sold(local_provider: LocalProvider) -> list[int]:
    """For each distinct request that was answered: how often it was."""
    return [row["answered"] for row in local_provider.answered()]
