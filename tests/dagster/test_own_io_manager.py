"""`io_manager_key=`: the result frame goes to an IO manager of the user's own, here one that writes Parquet."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from upath import UPath

from offpeak import BatchAsset, Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates
from offpeak.errors import StaleInput

from .conftest import age
from .labels import labels as labels_asset

DAYS = dg.StaticPartitionsDefinition(["mon", "tue"])


class Parquet(dg.UPathIOManager):
    """One file for each asset and partition."""

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: pd.DataFrame, path: UPath) -> None:
        obj.to_parquet(str(path))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pd.DataFrame:
        return pd.read_parquet(str(path))


class Table(dg.IOManager):
    """The application's rows, which the test changes between runs."""

    def __init__(self) -> None:
        self.keys = ["a", "b"]

    def handle_output(self, context: dg.OutputContext, obj: object) -> None: ...

    def load_input(self, context: dg.InputContext) -> list[str]:
        return list(self.keys)


rows = dg.AssetSpec("rows").with_io_manager_key("table")


def answers_of(**arguments: Any) -> BatchAsset:
    def answers(rows: list[str]) -> Iterator[Chat]:
        for row in rows:
            yield Chat(key=row, prompt=f"What is {row}?")

    return batch_asset(
        model="openai/gpt-5-mini",
        workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12)),
        lane="batch",
        contract=FreshnessContract(valid_for=timedelta(hours=37)),
        io_manager_key="parquet",
        **arguments,
    )(answers)


@dg.asset(ins={"answers": tolerates(timedelta(hours=38))})
def reader(answers: pd.DataFrame) -> list[str]:
    return list(answers["key"])


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def own(table: Table, tmp_path: Path) -> dict[str, Any]:
    return {"table": table, "parquet": Parquet(base_path=UPath(tmp_path / "parquet"))}


def test_consumers_read_the_frame_from_that_io_manager(project: Any, own: dict[str, Any], tmp_path: Path) -> None:
    result = project(rows, answers_of(), reader, resources=own).run("answers", "reader")
    assert result.output_for_node("reader") == ["a", "b"]
    assert (tmp_path / "parquet" / "answers.parquet").is_file()


def test_a_delivery_replaces_the_one_before_and_leaves_no_phantom_rows(
    project: Any, own: dict[str, Any], table: Table, provider: Any
) -> None:
    made = project(rows, answers_of(), reader, resources=own)
    made.run("answers")
    table.keys = ["b", "c"]
    assert made.run("answers", "reader").output_for_node("reader") == ["b", "c"]
    assert made.run("answers", "reader").output_for_node("reader") == ["b", "c"]
    assert provider.batches() == 2


def test_a_range_is_handed_over_partition_by_partition(project: Any, own: dict[str, Any], tmp_path: Path) -> None:
    made = project(rows, answers_of(partitions_def=DAYS), resources=own)
    made.run("answers", partitions=("mon", "tue"))
    made.run("answers", partitions=("mon", "tue"))
    written = sorted((tmp_path / "parquet" / "answers").iterdir())
    assert [path.name for path in written] == ["mon.parquet", "tue.parquet"]
    assert [list(pd.read_parquet(path)["key"]) for path in written] == [["a", "b"], ["a", "b"]]


class Sizes(dg.IOManager):
    """Loads how many labels there are, and does not ask how old they are."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None: ...

    def load_input(self, context: dg.InputContext) -> int:
        return 1


def test_an_input_manager_of_ones_own_does_not_get_past_the_gate(project: Any, resources: dict[str, Any]) -> None:
    declared = dg.AssetIn(input_manager_key="sizes", metadata=tolerates(timedelta(hours=38)).metadata)

    @dg.asset(ins={"labels": declared})
    def counting(labels: int) -> None: ...

    made = project(labels_asset, counting, resources={"sizes": Sizes()})
    made.run("labels", "counting")
    age(resources, "labels", timedelta(hours=39))
    with pytest.raises(StaleInput, match="^counting tolerates rows of labels up to"):  # noqa: RUF043
        made.run("counting")


def test_its_consumers_are_gated_all_the_same(project: Any, own: dict[str, Any], resources: dict[str, Any]) -> None:
    @dg.asset(ins={"answers": tolerates(timedelta(hours=38))})
    def impatient(answers: pd.DataFrame) -> None: ...

    made = project(rows, answers_of(), impatient, resources=own)
    made.run("answers", "impatient")
    age(resources, "answers", timedelta(hours=39))
    with pytest.raises(StaleInput, match="^impatient tolerates rows of answers up to"):  # noqa: RUF043
        made.run("impatient")
