"""A value is loaded as Dagster's own loader does it, and without another instance of Dagster."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from offpeak.assets.loading import AssetLoader

SEEN: list[dict[str, Any]] = []
OPENED: list[str] = []
DAYS = dg.StaticPartitionsDefinition(["monday", "tuesday"])


@dg.resource
def connection(_: dg.InitResourceContext) -> Iterator[str]:
    OPENED.append("opened")
    yield "the connection"
    OPENED.append("closed")


class Table(dg.IOManager):
    """Tells what it was asked."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise NotImplementedError

    def load_input(self, context: dg.InputContext) -> str:
        upstream = context.upstream_output
        assert upstream is not None
        SEEN.append(
            {
                "asset": context.asset_key.to_user_string(),
                "partitions": list(context.asset_partition_keys) if context.has_asset_partitions else None,
                "type": context.dagster_type.typing_type,
                "metadata": dict(context.definition_metadata or {}),
                "upstream": (upstream.name, dict(upstream.definition_metadata or {}), upstream.op_def.name),
                "config": context.resource_config,
                "resource": context.resources.connection,
                "instance": context.instance,
            }
        )
        context.log.info("read")
        return str(context.resources.connection)


@dg.io_manager(required_resource_keys={"connection"}, config_schema={"limit": dg.Field(int, default_value=7)})
def table(_: dg.InitResourceContext) -> Table:
    return Table()


@dg.asset(io_manager_key="table", metadata={"kind": "plain"})
def rows() -> None: ...


@dg.asset(io_manager_key="other_table", partitions_def=DAYS)
def daily() -> None: ...


@pytest.fixture
def assets() -> dict[dg.AssetKey, dg.AssetsDefinition]:
    SEEN.clear()
    OPENED.clear()
    resources = {"table": table, "other_table": table, "connection": connection}
    graph = dg.Definitions(assets=[rows, daily], resources=resources).resolve_asset_graph()
    return {key: graph.get(key).assets_def for key in graph.get_all_asset_keys()}


def test_an_io_manager_is_asked_as_by_the_loader_of_dagster(
    assets: dict[dg.AssetKey, dg.AssetsDefinition],
) -> None:
    wanted: list[tuple[str, str | None]] = [("rows", None), ("daily", "tuesday")]
    with dg.DagsterInstance.ephemeral() as instance:
        with dg.AssetValueLoader(assets, instance=instance) as theirs:
            for name, partition in wanted:
                theirs.load_asset_value(
                    name, python_type=str, partition_key=partition, input_definition_metadata={"of": "the input"}
                )
        expected = SEEN.copy()
        SEEN.clear()
        ours = AssetLoader(assets, instance)
        for name, partition in wanted:
            key = dg.AssetKey(name)
            assert ours.load(key, python_type=str, partition_key=partition, metadata={"of": "the input"}) == (
                "the connection"
            )
        ours.close()
        assert expected == SEEN
    assert [each["partitions"] for each in SEEN] == [None, ["tuesday"]]
    assert SEEN[0]["config"] == {"limit": 7}


def test_a_resource_is_opened_once_and_closed_with_the_loader(
    assets: dict[dg.AssetKey, dg.AssetsDefinition],
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        loader = AssetLoader(assets, instance)
        for day in (*DAYS.get_partition_keys(), None):
            name = "rows" if day is None else "daily"
            loader.load(dg.AssetKey(name), python_type=str, partition_key=day, metadata={})
        assert OPENED == ["opened"]
        loader.close()
    assert OPENED == ["opened", "closed"]


def test_no_other_instance_of_dagster_is_made(
    assets: dict[dg.AssetKey, dg.AssetsDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, making = [], dg.DagsterInstance.ephemeral

    def counted(*given: Any, **named: Any) -> dg.DagsterInstance:
        made.append(making(*given, **named))
        return made[-1]

    with dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setattr(dg.DagsterInstance, "ephemeral", counted)
        with dg.AssetValueLoader(assets, instance=instance) as theirs:
            theirs.load_asset_value("rows")
        assert len(made) == 2
        loader = AssetLoader(assets, instance)
        assert loader.load(dg.AssetKey("rows"), python_type=str, partition_key=None, metadata={})
        loader.close()
    assert len(made) == 2


def test_an_asset_without_an_io_manager_is_read_from_the_file_that_dagster_wrote() -> None:
    @dg.asset
    def plain() -> list[int]:
        return [1, 2, 3]

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([plain], instance=instance)
        key = dg.AssetKey("plain")
        loader = AssetLoader({key: dg.Definitions(assets=[plain]).resolve_asset_graph().get(key).assets_def}, instance)
        assert loader.load(key, python_type=list, partition_key=None, metadata={}) == [1, 2, 3]
        loader.close()
