"""`offpeak sources` on databases of its own: what it installs, shows, prints and refuses."""

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from offpeak.cli import build_app
from offpeak.errors import ConfigurationError, CouldNotRead
from offpeak.sources.tables import SOURCE_VARIABLE, SourceTables

MODULE = "sources_command_project"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE tickets (id TEXT PRIMARY KEY, body TEXT);"
            "CREATE TABLE posts (id TEXT PRIMARY KEY, updated_at TEXT);"
            "CREATE INDEX posts_updated ON posts (updated_at);"
            "CREATE TABLE visits (who TEXT, at TEXT);"
            "INSERT INTO tickets VALUES ('T-1', 'one');"
        )
    return path


@pytest.fixture
def ask(database: Path) -> Callable[..., Any]:
    """Run a command on the database; what it printed, or the error that it raised."""

    def run(*arguments: str, url: str = f"sqlite:///{database}") -> str:
        ended = CliRunner().invoke(build_app(), ["sources", *arguments, "--url", url])
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        assert ended.exit_code == 0, ended.output
        return ended.output

    return run


def changes(database: Path) -> SourceTables:
    return SourceTables(url=f"sqlite:///{database}")


def test_a_watched_table_gives_its_changes(database: Path, ask: Callable[..., str]) -> None:
    assert "tickets is watched from now on" in ask("watch", "tickets")
    position = changes(database).changed("tickets").position

    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO tickets VALUES ('T-2', 'two')")

    changed = changes(database).changed("tickets", since=position)
    assert [row.id for row in changed] == ["T-2"]
    assert not changed.complete


def test_watching_again_changes_nothing_and_says_so(database: Path, ask: Callable[..., str]) -> None:
    ask("watch", "tickets")
    position = changes(database).changed("tickets").position

    assert "watched already" in ask("watch", "tickets")

    assert not changes(database).changed("tickets", since=position).complete


def test_unwatching_ends_the_log(database: Path, ask: Callable[..., str]) -> None:
    ask("watch", "tickets", "posts")
    ask("unwatch", "tickets")
    assert changes(database).changed("tickets").position is None
    assert changes(database).changed("posts").position is not None

    ask("unwatch", "posts")
    with sqlite3.connect(database) as connection:
        assert not connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'offpeak%'").fetchall()


def test_every_table_is_shown_with_how_its_changes_are_known(ask: Callable[..., str]) -> None:
    ask("watch", "tickets")

    shown = ask("show")
    for line in (
        "tickets  its log ",
        "posts    its index on updated_at, deletions unseen",
        "visits   reading every row",
    ):
        assert line in shown
    found = json.loads(ask("show", "tickets", "--json"))["tables"]
    assert [(each["table"], each["how"], each["key_column"]) for each in found] == [("tickets", "log", "id")]


def test_a_log_that_cannot_be_used_is_shown_with_its_remedy(database: Path, ask: Callable[..., str]) -> None:
    ask("watch", "tickets")
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TRIGGER offpeak_insert_tickets")

    shown = ask("show", "tickets")

    assert "watch it again" in shown
    assert "reading every row" in shown
    ask("watch", "tickets")
    assert "its log" in ask("show", "tickets")


def test_the_sql_does_what_the_command_does(database: Path, ask: Callable[..., str]) -> None:
    script = ask("watch", "tickets", "posts", "--sql")
    assert changes(database).changed("tickets").position is None

    with sqlite3.connect(database) as connection:
        connection.executescript(script)

    assert ask("show").count("its log") == 2
    with sqlite3.connect(database) as connection:
        connection.executescript(ask("unwatch", "tickets", "--sql"))
    assert ask("show").count("its log") == 1
    assert "nothing to do" in ask("watch", "posts", "--sql")


def test_json_says_what_was_done(ask: Callable[..., str]) -> None:
    ask("watch", "tickets")

    watched = json.loads(ask("watch", "tickets", "posts", "--json"))["watched"]

    assert watched == [{"table": "tickets", "new": False}, {"table": "posts", "new": True}]
    assert json.loads(ask("unwatch", "posts", "--json"))["unwatched"] == ["posts"]
    assert list(json.loads(ask("watch", "posts", "--sql", "--json"))["sql"]) == ["posts"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("watch", "tickets", "nowhere"), "no table of that name"),
        (("watch", "tickets", "visits"), "no primary key of one column"),
        (("watch", "tickets", "--reader", "plans"), "knows no roles"),
        (("unwatch", "tickets"), "is not watched"),
        (("show", "nowhere"), "no table of that name"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_touched(
    database: Path, ask: Callable[..., str], arguments: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        ask(*arguments)

    assert changes(database).changed("tickets").position is None


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path, ask: Callable[..., str]) -> None:
    with pytest.raises(ConfigurationError, match="a folder, which logs no changes"):
        ask("watch", "tickets", url=f"folder:{tmp_path}")
    with pytest.raises(ConfigurationError, match="no such file"):
        ask("watch", "tickets", url=f"sqlite:///{tmp_path / 'missing.db'}")
    with pytest.raises(CouldNotRead, match="cannot be read") as refused:
        ask("watch", "tickets", url="postgresql+psycopg://me:hunter2@127.0.0.1:1/app")
    assert "hunter2" not in str(refused.value)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Write a project with these resources around the current folder."""

    def write(resources: str) -> None:
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "pyproject.toml").write_text(
            f'[tool.dg.project]\nroot_module = "{MODULE}"\ncode_location_target_module = "{MODULE}"\n'
        )
        (folder / f"{MODULE}.py").write_text(
            f"import dagster as dg\nfrom offpeak import SourceTables\ndefs = dg.Definitions(resources={resources})\n"
        )
        monkeypatch.chdir(folder)

    yield write
    sys.modules.pop(MODULE, None)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build_app(), ["sources", *arguments])


@pytest.mark.parametrize(
    "resources",
    ["{'mine': SourceTables(url=dg.EnvVar('APP_DATABASE'))}", "{'source_tables': SourceTables()}"],
)
def test_without_an_address_it_is_the_database_that_the_projects_assets_read(
    project: Callable[[str], None], database: Path, resources: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_DATABASE", f"sqlite:///{database}")
    monkeypatch.setenv(SOURCE_VARIABLE, f"sqlite:///{database}")
    project(resources)

    assert run("watch", "tickets").exit_code == 0

    assert changes(database).changed("tickets").position is not None


@pytest.mark.parametrize(
    ("resources", "why"),
    [
        ("{}", "has no SourceTables"),
        ("{'a': SourceTables(), 'b': SourceTables()}", "has 2 SourceTables"),
        ("{'source_tables': SourceTables()}", f"set {SOURCE_VARIABLE}"),
    ],
)
def test_a_project_that_names_no_database_is_told_how_to(
    project: Callable[[str], None], resources: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SOURCE_VARIABLE, raising=False)
    project(resources)

    assert why in str(run("show").exception)
