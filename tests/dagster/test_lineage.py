"""A batch asset that reads an ordinary one is as old as the batch rows which that one was made of."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates
from offpeak.assets import lineage
from offpeak.assets.lineage import Lineage
from offpeak.ledger import tables
from offpeak.ledger.ledger import Ledger

DAYS = dg.StaticPartitionsDefinition(["mon", "tue"])
BATCH: dict[str, Any] = {
    "model": "openai/gpt-5-mini",
    "workload": Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
    "lane": "batch",
    "contract": FreshnessContract(valid_for=timedelta(hours=37)),
}
TOLERANCE = tolerates(timedelta(hours=38))


@batch_asset(**BATCH)
def labels() -> Iterator[Chat]:
    """Bought first."""
    yield Chat(key="K", prompt="Label it.")


@dg.asset(ins={"labels": TOLERANCE})
def counts(labels: pd.DataFrame) -> pd.DataFrame:
    return labels[["key"]]


@dg.asset
def shares(counts: pd.DataFrame) -> pd.DataFrame:
    return counts


@dg.asset
def names() -> pd.DataFrame:
    return pd.DataFrame({"key": ["K"]})


@batch_asset(**BATCH)
def comments(shares: pd.DataFrame, names: pd.DataFrame) -> Iterator[Chat]:
    """Bought of what was made of the first."""
    for key in shares["key"]:
        yield Chat(key=key, prompt="Comment on it.")


@batch_asset(**BATCH, partitions_def=DAYS)
def daily_labels(context: Any) -> Iterator[Chat]:
    """Bought for each day."""
    yield Chat(key="K", prompt=f"Label {context.partition_key}.")


@dg.asset(ins={"daily_labels": TOLERANCE}, partitions_def=DAYS)
def daily_counts(daily_labels: pd.DataFrame) -> pd.DataFrame:
    return daily_labels[["key"]]


@batch_asset(**BATCH, partitions_def=DAYS)
def daily_comments(daily_counts: pd.DataFrame) -> Iterator[Chat]:
    """Bought of what was made of a day's first ones."""
    for key in daily_counts["key"]:
        yield Chat(key=key, prompt="Comment on it.")


def as_of(landed: Any) -> datetime:
    return datetime.fromtimestamp(landed.metadata["as_of"], UTC)


def last(project: Any, asset: str, partition: str | None = None) -> dg.EventLogRecord:
    chosen = dg.AssetRecordsFilter(
        asset_key=dg.AssetKey(asset), asset_partitions=None if partition is None else [partition]
    )
    record: dg.EventLogRecord = project.instance.fetch_materializations(chosen, limit=1).records[0]
    return record


def test_an_age_is_carried_through_ordinary_assets(project: Any) -> None:
    chain = project(labels, counts, shares, names, comments)
    (bought,) = chain.landed("labels").values()
    for asset in ("counts", "shares", "names"):
        chain.run(asset)
    (commented,) = chain.landed("comments").values()
    assert as_of(commented) == as_of(bought)
    assert as_of(bought).timestamp() < last(chain, "counts").timestamp


def test_the_age_at_landing_is_told_in_hours(project: Any, resources: dict[str, Any]) -> None:
    (bought,) = project(labels).landed("labels").values()
    job, mine = tables.job, tables.job_target
    query = sa.select(job.c.closed_at - mine.c.landed_as_of).join(mine, mine.c.job_id == job.c.id)
    with Ledger.open(resources["offpeak_results"].database_url) as ledger, ledger.database.read() as connection:
        micros = connection.execute(query).scalar_one()
    assert bought.metadata["age_hours"] == round(micros / 3_600_000_000, 4)


def test_it_is_the_age_of_the_rows_that_were_read_and_not_of_those_that_landed_since(project: Any) -> None:
    chain = project(labels, counts, shares, names, comments)
    (read,) = chain.landed("labels").values()
    for asset in ("counts", "names"):
        chain.run(asset)
    (since,) = chain.landed("labels").values()
    chain.run("shares")
    (commented,) = chain.landed("comments").values()
    assert as_of(read) < as_of(since)
    assert as_of(commented) == as_of(read)


def test_one_run_of_the_whole_chain_is_as_old_as_its_first_read(project: Any) -> None:
    chain = project(labels, counts, shares, names, comments)
    landed = {
        asset: each for (asset, _), each in chain.landed("labels", "counts", "shares", "names", "comments").items()
    }
    assert as_of(landed["comments"]) == as_of(landed["labels"])


def test_what_was_made_of_no_batch_rows_is_as_old_as_its_materialization(project: Any) -> None:
    chain = project(names)
    chain.run("names")
    assert Lineage(chain.instance).as_of(last(chain, "names")) is None


def test_a_partition_is_as_old_as_the_same_partition_above(project: Any) -> None:
    days = project(daily_labels, daily_counts, daily_comments)
    bought = {day: as_of(*days.landed("daily_labels", partition=day).values()) for day in ("mon", "tue")}
    for day in ("mon", "tue"):
        days.run("daily_counts", partition=day)
    commented = days.landed("daily_comments", partitions=("mon", "tue"))
    assert {partition: as_of(each) for (_, partition), each in commented.items()} == bought


def test_an_asset_that_reads_its_own_past_ends_the_search_there(project: Any) -> None:
    days = dg.DailyPartitionsDefinition("2026-11-01", end_date="2026-11-04")

    @dg.asset(
        partitions_def=days,
        deps=[
            dg.AssetDep(
                "running_total", partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
            )
        ],
    )
    def running_total() -> None: ...

    totals = project(running_total)
    for day in (1, 2, 3):
        totals.run("running_total", partition=f"2026-11-0{day}")
    assert Lineage(totals.instance).as_of(last(totals, "running_total")) is None


def test_the_search_is_bounded(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = project(labels, counts, shares)
    chain.run("labels", "counts", "shares")
    found = Lineage(chain.instance)
    assert found.as_of(last(chain, "shares")) is not None
    monkeypatch.setattr(lineage, "EVENTS_FOLLOWED", 1)
    assert found.as_of(last(chain, "shares")) is None
