"""A version of a table at a cost that does not grow with it."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from offpeak import ChangedRows, SourceTables
from offpeak.errors import ConfigurationError, CouldNotRead
from offpeak.sources.changed import SINCE_KEY, Versioned

from .conftest import Application


@pytest.fixture
def indexed(application: Application) -> Application:
    """A table that is not watched, with an index on `updated_at`."""
    application.run(
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, body TEXT, updated_at TEXT)",
        "CREATE INDEX posts_updated ON posts (updated_at, body)",
        "INSERT INTO posts VALUES (1, 'a', '2026-01-01'), (2, 'b', NULL)",
    )
    return application


def test_the_resource_is_what_cheap_versions_are_asked_of() -> None:
    assert isinstance(SourceTables(url="folder:x"), Versioned)


def test_a_watched_table_has_the_same_version_until_it_changes(application: Application) -> None:
    version = application.version()

    assert [application.version(since=version) for _ in range(3)] == [version] * 3
    application.run("DELETE FROM tickets WHERE id = 3")
    changed = application.version(since=version)
    assert changed != version
    assert application.version(since=changed) == changed


def test_what_others_change_leaves_a_version_as_it_is(application: Application) -> None:
    application.run("CREATE TABLE notes (note TEXT PRIMARY KEY)")
    application.source.watch("notes")
    version = application.version()

    application.run("INSERT INTO notes VALUES ('n')")

    assert application.version(since=version) == version


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE posts SET updated_at = '2026-02-01' WHERE id = 1",
        "INSERT INTO posts VALUES (3, 'c', NULL)",
    ],
)
def test_an_index_on_updated_at_tells_a_version(indexed: Application, change: str) -> None:
    version = indexed.version(table="posts")
    assert indexed.version(since=version, table="posts") == version

    indexed.run(change)

    assert indexed.version(since=version, table="posts") != version


def test_a_version_of_an_index_reads_a_row_each(indexed: Application) -> None:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        indexed.version(table="posts")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)

    (query,) = [each for each in seen if "ORDER BY posts.updated_at DESC" in each]
    assert query.count("LIMIT") == 2


@pytest.mark.parametrize(
    "index",
    [
        None,
        "CREATE INDEX i ON plain (id, updated_at)",
        "CREATE INDEX i ON plain (updated_at) WHERE id > 0",
        "CREATE INDEX i ON plain (lower(updated_at))",
    ],
)
def test_a_table_without_either_is_refused_with_both_remedies(application: Application, index: str | None) -> None:
    application.run("CREATE TABLE plain (id INTEGER PRIMARY KEY, updated_at TEXT)", *([index] if index else []))

    with pytest.raises(ConfigurationError, match="offpeak sources watch plain") as refused:
        application.version(table="plain")
    assert "updated_at" in str(refused.value)
    # The button in the UI reads it whole.
    assert application.tables.version("plain") == application.tables.version("plain")


def test_a_broken_log_tells_no_version(application: Application) -> None:
    version = application.version()
    application.run("DROP TABLE tickets", "CREATE TABLE tickets (id INTEGER PRIMARY KEY, body TEXT)")

    with pytest.raises(ConfigurationError, match="offpeak sources watch tickets") as refused:
        application.version(since=version)
    assert "its log cannot be used (its triggers are missing" in str(refused.value)


def test_a_folder_has_a_version_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("word\nhello\n", "utf-8")
    tables = SourceTables(url=f"folder:{tmp_path}")
    version = tables.data_version(dg.AssetKey("words"))

    assert tables.data_version(dg.AssetKey("words"), since=version) == version
    (tmp_path / "words.csv").write_text("word\nhello\nagain\n", "utf-8")
    assert tables.data_version(dg.AssetKey("words"), since=version) != version


def test_a_folder_gives_every_row_by_its_first_column(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("word,count\nhello,3\n", "utf-8")
    changed = SourceTables(url=f"folder:{tmp_path}").changed("words", since="anything")
    told: list[str] = []
    changed.tell(told.append)

    assert [row.count for row in changed] == ["3"]
    assert (told, changed.complete, changed.position) == (["hello"], True, None)


def test_a_view_gives_every_row_by_its_first_column(application: Application) -> None:
    application.run("CREATE VIEW bodies AS SELECT body, id FROM tickets")
    reader = application.reader("bodies")

    assert set(reader.read()) == {"one", "two", "three"}
    assert (reader.complete, reader.position) == (True, None)


def test_a_row_that_nothing_names_is_an_error_and_never_a_row_that_is_gone(application: Application) -> None:
    application.run("CREATE TABLE words (word TEXT, count INTEGER)", "INSERT INTO words VALUES (NULL, 1)")

    with pytest.raises(CouldNotRead, match=r"words .* has a row whose word is NULL"):
        application.reader("words").read()


def test_a_parameter_annotated_as_changed_rows_gets_what_changed_since(application: Application) -> None:
    """The position comes with the input, as an IO manager of any kind gets it."""
    first = _load(application, {})
    rows = [row.body for row in first]
    application.run("UPDATE tickets SET body = 'new' WHERE id = 2", "DELETE FROM tickets WHERE id = 1")
    told: list[str] = []
    second = _load(application, {SINCE_KEY: first.position})
    second.tell(told.append)

    assert (first.complete, rows) == (True, ["one", "two", "three"])
    assert ([row.body for row in second], sorted(told), second.complete) == (["new"], ["1", "2"], False)


def _load(application: Application, metadata: dict[str, Any]) -> ChangedRows:
    tickets = dg.AssetsDefinition(specs=[dg.AssetSpec("tickets").with_io_manager_key("source_tables")])
    made = dg.Definitions(assets=[tickets], resources={"source_tables": application.tables})
    with dg.DagsterInstance.ephemeral() as instance, made.get_asset_value_loader(instance) as loader:
        loaded: ChangedRows = loader.load_asset_value(
            dg.AssetKey("tickets"), python_type=ChangedRows, input_definition_metadata=metadata
        )
    return loaded
