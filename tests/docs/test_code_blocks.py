"""Every code block of the pages does what it says: Python is run, YAML and TOML are loaded, text is what is printed.

Python blocks of one page share a namespace, in a throwaway project whose providers are the local one. An asset that a
page declares is bought there, as its reader would buy it.
"""

import re
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml

from offpeak import BatchAsset, with_offpeak
from offpeak.assets import parking
from offpeak.assets.declaration import declaration_of
from offpeak.cli.project import find_project, load_definitions
from offpeak.money.sheet import read_sheet
from resources.sources import SourceTables

from ..conftest import LocalProvider
from .pages import PAGES, ROOT, blocks, first_column, name, prose, section

HOW_TO = ROOT / "docs" / "how-to"
YAML_PAGE = HOW_TO / "write-assets-in-yaml.md"
POSTGRES_PAGE = HOW_TO / "use-postgres.md"
SEPARATE = {YAML_PAGE, POSTGRES_PAGE, HOW_TO / "move-a-realtime-asset-to-batch.md"}
"""The last has a test of its own in tests/dagster/test_adoption.py."""

BUYING = {
    "README.md",
    "docs/quickstart.md",
    "docs/how-to/approve-a-surge.md",
    "docs/how-to/backfill-partitions.md",
    "docs/how-to/get-told.md",
    "docs/how-to/send-results-elsewhere.md",
    "docs/how-to/wake-on-data.md",
    "docs/how-to/try-a-prompt-first.md",
    "docs/how-to/limit-the-queue.md",
    "docs/how-to/keep-a-budget.md",
    "docs/how-to/keep-a-deadline.md",
    "docs/how-to/pre-compute-for-a-launch.md",
}
READING = {"docs/how-to/read-from-outside.md"}
"""Pages that read what the README's example buys."""

PROJECT = """\
[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
"""


class Reader:
    """Somebody who follows a page in a new folder."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.namespace: dict[str, Any] = {"__name__": "page"}
        self.instance = instance
        self.landed: dict[str, dict[str, Any]] = {}
        """The metadata of each materialization, by asset."""

    def follow(self, page: Path) -> None:
        for block in blocks(page, "python"):
            before = set(self.namespace)
            exec(compile(block.text, name(page), "exec"), self.namespace)
            new = {key: value for key, value in self.namespace.items() if key not in before}
            if "defs" in new:
                self.materialise(new["defs"])
            elif assets := [value for value in new.values() if self._over_the_sources(value)]:
                self.materialise(with_offpeak(dg.Definitions(assets=[*SOURCES, *assets], resources=SOURCE_RESOURCES)))
            for key, value in new.items():
                if key.startswith("test_"):
                    value()

    def _over_the_sources(self, value: object) -> bool:
        if not isinstance(value, BatchAsset) or value.declaration.function.__module__ != "page":
            return False
        return {each.parameter for each in value.declaration.inputs} <= {spec.key.path[-1] for spec in SOURCES}

    def materialise(self, defs: dg.Definitions) -> None:
        assets = [each for each in defs.assets or () if isinstance(each, dg.AssetsDefinition) and each.is_executable]
        days = next((each.partitions_def for each in assets if each.partitions_def), None)
        if days is None:
            self._run(defs, assets, {})
            return
        chosen = days.get_partition_keys()[:2]
        bought = [each for each in assets if declaration_of(each)]
        for day in chosen:
            self._run(defs, [each for each in assets if each not in bought], {"dagster/partition": day})
        ends = {"dagster/asset_partition_range_start": chosen[0], "dagster/asset_partition_range_end": chosen[-1]}
        self._run(defs, bought, ends)

    def _run(self, defs: dg.Definitions, assets: list[dg.AssetsDefinition], tags: dict[str, str]) -> None:
        if not assets:
            return
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance, asset_selection=[key for each in assets for key in each.keys], tags=tags
        )
        for event in result.get_asset_materialization_events():
            found = event.step_materialization_data.materialization
            metadata = {key: value.value for key, value in found.metadata.items()}
            self.landed.setdefault(found.asset_key.to_user_string(), {}).update(metadata)


SOURCES = [dg.AssetSpec(key).with_io_manager_key("source_tables") for key in ("support_tickets", "documents")]
SOURCE_RESOURCES = {"source_tables": SourceTables()}


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_provider: LocalProvider) -> Iterator[Reader]:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    for variable in ("OFFPEAK_DATABASE_URL", "DAGSTER_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-a-test")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{local_provider.url}/v1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-a-test")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", local_provider.url)
    monkeypatch.setenv("OFFPEAK_SOURCE_URL", f"folder:{ROOT / 'sample_data'}")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Reader(instance)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page not in SEPARATE], ids=name)
def test_its_python_runs_as_written(page: Path, reader: Reader, local_provider: LocalProvider) -> None:
    if name(page) in READING:
        reader.follow(ROOT / "README.md")
        local_provider.reset()
    reader.follow(page)
    assert bool(local_provider.answered()) == (name(page) in BUYING)


@pytest.mark.parametrize("database", ["SQLite", "Postgres"])
def test_the_sql_of_the_page_runs_on_each_database(
    database: str, request: pytest.FixtureRequest, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = HOW_TO / "read-from-outside.md"
    select, grant = (block.text for block in blocks(page, "sql"))
    (recent,) = re.findall(rf"^\| {database} \| `(WHERE .+)` \|$", prose(page), re.M)
    statements = [select, f"SELECT key FROM results_ticket_labels {recent}"]
    connection: Any
    if database == "SQLite":
        reader.follow(ROOT / "README.md")
        connection = sqlite3.connect(tmp_path / ".offpeak" / "offpeak.db")
    else:
        place = request.getfixturevalue("postgres_place")
        monkeypatch.setenv("OFFPEAK_DATABASE_URL", place.url)
        reader.follow(ROOT / "README.md")
        connection = psycopg.connect(place.url.replace("+psycopg", ""))
        connection.execute("CREATE ROLE dashboard")
        statements += [grant, "SET ROLE dashboard", select]
    with closing(connection):
        found = [connection.execute(each) for each in statements]
        assert sum(tickets for _, tickets, _ in found[0].fetchall()) == len(found[1].fetchall()) == 2


def test_what_stands_on_a_materialization_is_what_the_reference_lists(reader: Reader) -> None:
    page = ROOT / "docs" / "reference" / "metadata.md"
    listed = first_column(section(page, "On each materialization"))
    reader.follow(ROOT / "README.md")
    cached = {"cache_write_tokens", "cache_hit_percent", "cache_saved_usd"}  # absent where nothing touched a cache
    assert cached < listed
    assert set(reader.landed["ticket_labels"]) == listed - cached


def test_the_yaml_of_the_how_to_is_an_asset_that_can_be_bought(
    reader: Reader, local_provider: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in blocks(YAML_PAGE, "yaml", "python"):
        assert block.title
        file = tmp_path / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)
    for package in ("shop", "shop/defs"):
        (tmp_path / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    reader.materialise(load_definitions(find_project(tmp_path)))
    assert reader.landed["ticket_topics"]["bought"] == 1
    assert len(local_provider.answered()) == 1


def test_the_postgres_page_keeps_its_ledger_there(
    reader: Reader, local_provider: LocalProvider, postgres_place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFPEAK_DATABASE_URL", postgres_place.url)
    (block,) = blocks(POSTGRES_PAGE, "python")
    exec(block.text.replace("/srv/offpeak/spool", str(tmp_path / "elsewhere")), reader.namespace)
    resources = reader.namespace["defs"].resources
    (example,) = blocks(ROOT / "README.md", "python")
    whole: dict[str, Any] = {"__name__": "page"}
    exec(example.text, whole)
    for _ in range(2):
        reader.materialise(with_offpeak(dg.Definitions(assets=list(whole["defs"].assets), resources=resources)))
    assert reader.landed["ticket_labels"]["reused"] == 2
    assert len(local_provider.batches()) == 1
    assert list((tmp_path / "elsewhere").iterdir())
    assert not (tmp_path / ".offpeak").exists()


@pytest.mark.parametrize(
    ("page", "text"),
    [(page, block.text) for page in PAGES for block in blocks(page, "toml") if not block.title],
    ids=lambda value: name(value) if isinstance(value, Path) else "toml",
)
def test_its_toml_is_a_price_sheet(page: Path, text: str) -> None:
    tomllib.loads(text)
    assert read_sheet(text, name=name(page))


def test_the_project_table_of_the_how_to_is_one_that_the_commands_find(tmp_path: Path) -> None:
    (block,) = blocks(HOW_TO / "move-a-realtime-asset-to-batch.md", "toml")
    assert block.title == "pyproject.toml"
    (tmp_path / block.title).write_text(block.text)
    assert find_project(tmp_path).target_module == "reviews_project"


@pytest.mark.parametrize("page", [ROOT / "docs" / "reference" / "configuration.md", HOW_TO / "park-runs.md"], ids=name)
def test_its_dagster_settings_are_settings_of_this_project(page: Path, tmp_path: Path) -> None:
    whole = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    for block in blocks(page, "yaml"):
        assert within(yaml.safe_load(block.text), whole)
        (tmp_path / "dagster.yaml").write_text(block.text)
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            instance.get_concurrency_config()  # refuses what it does not know


def within(shown: Any, whole: Any) -> bool:
    """Whether `whole` has every setting that is shown."""
    if isinstance(shown, dict):
        return isinstance(whole, dict) and all(key in whole and within(shown[key], whole[key]) for key in shown)
    return bool(shown == whole)


def test_the_setting_that_the_how_to_asks_for_is_the_one_that_a_run_misses() -> None:
    first, *_ = blocks(HOW_TO / "park-runs.md", "yaml")
    assert yaml.safe_load(first.text) == yaml.safe_load(parking.LIMIT)


def test_the_readme_shows_the_lines_that_make_run_prints() -> None:
    lines = (ROOT / "docs" / "next-steps.txt").read_text(encoding="utf-8").strip()
    assert lines in [block.text.strip() for block in blocks(ROOT / "README.md", "text")]


def test_no_page_has_a_kind_of_block_that_nothing_looks_at() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    fences = {line for line in text.splitlines() if line.startswith("```") and line != "```"}
    languages = {fence.removeprefix("```").split(" ")[0] for fence in fences}
    assert languages <= {"python", "console", "yaml", "toml", "text", "diff", "sql", "ini"}
