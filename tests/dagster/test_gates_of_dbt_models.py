"""A dbt model or test declares in its `meta` what it tolerates, and is gated by what dbt itself made of that.

The project is parsed and run by dbt, on DuckDB, through dagster-dbt. It is parsed once: dbt copies `meta` as it is, so
tests that are about other `meta` change it in the manifest.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster_dbt import DbtCliResource, dbt_assets

from offpeak.errors import DefinitionError, StaleInput

from .conftest import age, read_partitions
from .labels import OLDER, labels

DBT = str(Path(sys.executable).with_name("dbt"))
OFFLINE = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
DECLARED = """
        meta:
          offpeak:
            tolerates:
              labels: {max_staleness_hours: 38, min_coverage: 0.99}
"""
PROJECT = {
    "dbt_project.yml": "name: shop\nversion: '1.0'\nprofile: shop\n",
    "profiles.yml": "shop: {target: test, outputs: {test: {type: duckdb, path: shop.duckdb}}}\n",
    "models/by_category.sql": "select * from {{ source('offpeak', 'labels') }}",
    "models/joined.sql": "select 'a' as key",
    "models/other.sql": "select 1 as number",
    "models/schema.yml": f"""
sources:
  - name: offpeak
    schema: main
    tables:
      - name: labels
        meta: {{dagster: {{asset_key: [labels]}}}}
models:
  - name: by_category
    config:{DECLARED}
  - name: joined
    columns:
      - name: key
        data_tests:
          - relationships:
              name: every_key_is_labelled
              arguments: {{to: "source('offpeak', 'labels')", field: key}}
              config:{DECLARED.replace(chr(10), chr(10) + "        ")}
""",
}
MODEL, TEST = "model.shop.by_category", "test.shop.every_key_is_labelled"


@pytest.fixture(scope="session")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, as dbt left it when it had parsed it."""
    folder = tmp_path_factory.mktemp("dbt") / "shop"
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run([DBT, "parse", "--quiet"], cwd=folder, check=True, env={**os.environ, **OFFLINE})
    return folder


@pytest.fixture
def shop(parsed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, with a table of labels in its database."""
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    folder = Path(shutil.copytree(parsed, tmp_path / "shop"))
    monkeypatch.chdir(folder)
    with duckdb.connect("shop.duckdb") as connection:
        connection.execute("create table labels as select 'a' as key")
    return folder


def load(project: Any, folder: Path, ran: list[str] | None = None) -> Any:
    @dbt_assets(manifest=folder / "target" / "manifest.json")
    def models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
        if ran is not None:
            ran.extend(sorted(key.to_user_string() for key in context.selected_asset_keys))
        yield from dbt.cli(["build"], context=context).stream()

    return project(labels, models, resources={"dbt": DbtCliResource(project_dir=str(folder), dbt_executable=DBT)})


def redeclare(folder: Path, node: str, declared: object) -> None:
    """Change what a model or test declares."""
    path = folder / "target" / "manifest.json"
    manifest = json.loads(path.read_text())
    found = next(value for name, value in manifest["nodes"].items() if name.startswith(node))
    found["meta"] = found["config"]["meta"] = {} if declared is None else {"offpeak": declared}
    path.write_text(json.dumps(manifest))


@pytest.mark.slow
def test_models_and_tests_are_refused_before_dbt_runs_and_others_are_not(
    shop: Path, project: Any, resources: dict[str, Any]
) -> None:
    ran: list[str] = []
    made = load(project, shop, ran)
    made.run("labels", "other")
    assert read_partitions(resources) == []
    ran.clear()
    assert made.run("labels", "by_category", "joined", "other").success
    assert ran == ["by_category", "joined", "other"]
    assert read_partitions(resources) == [""]
    age(resources, "labels", OLDER)
    assert made.run("other").success
    ran.clear()
    with pytest.raises(StaleInput, match=r"^by_category tolerates rows of labels up to 1 d 14 h old"):
        made.run("by_category", "other")
    with pytest.raises(StaleInput, match=r"^joined:every_key_is_labelled tolerates rows of labels"):
        made.run("joined")
    assert ran == []


def test_a_model_without_a_tolerance_fails_at_load_with_the_line_to_add(shop: Path, project: Any) -> None:
    redeclare(shop, MODEL, None)
    with pytest.raises(DefinitionError) as refused:
        load(project, shop)
    message = str(refused.value)
    assert message.startswith("by_category reads the batch asset labels")
    assert "config: {meta: {offpeak: {tolerates: {labels: {max_staleness_hours: ...}}}}} in its YAML" in message


def test_a_test_without_a_tolerance_fails_at_load(shop: Path, project: Any) -> None:
    redeclare(shop, TEST, None)
    with pytest.raises(DefinitionError, match="joined:every_key_is_labelled reads the batch asset labels"):
        load(project, shop)


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ([], "meta: offpeak: [] is not a mapping"),
        ({"tolerate": {}}, "meta: offpeak: tolerate: unknown. Did you mean tolerates?"),
        ({}, "meta: offpeak: tolerates: None is not a mapping"),
        ({"tolerates": {"labels": 38}}, "tolerates: labels: 38 is not a mapping"),
        ({"tolerates": {"labels": {}}}, "labels: max_staleness_hours: None is not a number of hours"),
        ({"tolerates": {"labels": {"max_staleness_hours": "38"}}}, "max_staleness_hours: '38' is not a number"),
        ({"tolerates": {"labels": {"max_staleness_hours": -1}}}, "max_staleness_hours: -1 is not a number"),
        ({"tolerates": {"labels": {"max_staleness_hours": 1e300}}}, "max_staleness_hours: 1e+300 is not a number"),
        ({"tolerates": {"labels": {"max_staleness_hours": 38, "min_coverage": 99}}}, "tolerates(min_coverage=99)"),
        ({"tolerates": {"labels": {"max_staleness_hours": 38, "coverage": 1}}}, "coverage: unknown. Did you mean min_"),
        ({"tolerates": {"labels": {"max_staleness_hours": 38, "on_stale": "skip"}}}, "tolerates(on_stale='skip')"),
        ({"tolerates": {"labels": {"max_staleness_hours": 38, "rows": "drop_stale"}}}, "the rows are loaded by dbt"),
    ],
)
def test_meta_that_makes_no_sense_fails_at_load_naming_the_model_and_the_field(
    declared: Mapping[str, Any], says: str, shop: Path, project: Any
) -> None:
    redeclare(shop, MODEL, declared)
    with pytest.raises(DefinitionError) as refused:
        load(project, shop)
    assert str(refused.value).startswith("dbt model by_category, meta: offpeak")
    assert says in str(refused.value)


def test_a_tolerance_for_what_a_model_does_not_read_fails_at_load(shop: Path, project: Any) -> None:
    redeclare(shop, MODEL, {"tolerates": {"lables": {"max_staleness_hours": 38}}})
    with pytest.raises(DefinitionError, match=r"by_category .* lables, which it does not read\. Did you mean labels"):
        load(project, shop)
