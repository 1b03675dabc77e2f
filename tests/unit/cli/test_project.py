"""Finding the project, its Dagster instance and its definitions the way `dg` finds them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from offpeak.cli.project import Project, find_project, load_definitions, prepare_dagster_home
from offpeak.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg.project]\nroot_module = "shop"\ncode_location_target_module = "where_it_meets"\n'
    )
    return tmp_path


@pytest.fixture(autouse=True)
def _forget_the_projects_modules() -> Iterator[None]:
    yield
    sys.modules.pop("where_it_meets", None)


def project_in(folder: Path, code: str) -> Project:
    (folder / "where_it_meets.py").write_text(code)
    return find_project(folder)


def test_a_project_is_found_from_a_folder_inside_it(folder: Path) -> None:
    inside = folder / "a" / "b"
    inside.mkdir(parents=True)
    assert find_project(inside).root == folder.resolve()


def test_a_pyproject_without_a_dg_table_is_passed_over(folder: Path) -> None:
    inside = folder / "library"
    inside.mkdir()
    (inside / "pyproject.toml").write_text('[project]\nname = "library"\n')
    assert find_project(inside).root == folder.resolve()


def test_a_pyproject_that_cannot_be_read_is_not_treated_as_absent(folder: Path) -> None:
    inside = folder / "torn"
    inside.mkdir()
    (inside / "pyproject.toml").write_text("[tool.dg\n")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        find_project(inside)


def test_without_a_target_module_it_is_the_one_dg_takes(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "shop"\n')
    assert find_project(folder).target_module == "shop.definitions"


def test_the_definitions_are_those_of_the_target_module(folder: Path) -> None:
    project = project_in(folder, "import dagster as dg\n\n@dg.asset\ndef sold(): ...\n\nd = dg.Definitions([sold])\n")
    assert load_definitions(project).resolve_all_asset_keys() == [dg.AssetKey("sold")]


def test_definitions_made_by_a_function_are_loaded_too(folder: Path) -> None:
    project = project_in(folder, "import dagster as dg\n\n@dg.definitions\ndef defs():\n    return dg.Definitions()\n")
    assert isinstance(load_definitions(project), dg.Definitions)


def test_a_target_that_cannot_be_imported_is_an_error_that_names_it(folder: Path) -> None:
    project = project_in(folder, "import there_is_no_such_module\n")
    with pytest.raises(ConfigurationError, match=r"where_it_meets(.|\n)*there_is_no_such_module"):
        load_definitions(project)


def test_variables_of_the_env_file_do_not_replace_those_that_are_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_A", "shell")
    monkeypatch.setenv("SHOP_B", "to be removed at the end of the test")
    monkeypatch.delenv("SHOP_B")
    (folder / ".env").write_text("SHOP_A=file\nSHOP_B=file\n")
    code = """
import os
import dagster as dg

defs = dg.Definitions(metadata={name: os.environ[name] for name in ("SHOP_A", "SHOP_B")})
"""
    project = project_in(folder, code)
    found = load_definitions(project).metadata
    assert {name: value.value for name, value in (found or {}).items()} == {"SHOP_A": "shell", "SHOP_B": "file"}


def test_the_instance_stands_outside_the_projects_root_and_reads_its_settings(folder: Path) -> None:
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    home = prepare_dagster_home(find_project(folder))
    assert home == folder / ".offpeak" / "dagster"
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    assert "true" in (home / "dagster.yaml").read_text()


def test_an_instance_the_user_chose_is_left_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    chosen = folder / "chosen"
    monkeypatch.setenv("DAGSTER_HOME", str(chosen))
    assert prepare_dagster_home(find_project(folder)) == chosen
    assert list(chosen.iterdir()) == []


class TestOnPostgres:
    URL = "postgresql://offpeak@127.0.0.1:5499/dagster"

    @pytest.fixture
    def project(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
        (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", self.URL)
        return find_project(folder)

    def test_the_instance_stores_on_postgres_and_reads_the_projects_settings(self, project: Project) -> None:
        home = prepare_dagster_home(project)
        settings = yaml.safe_load((home / "dagster.yaml").read_text())
        assert settings == {
            "telemetry": {"enabled": False},
            "storage": {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}},
        }

    def test_what_changes_in_the_projects_settings_is_there_at_the_next_start(self, project: Project) -> None:
        prepare_dagster_home(project)
        (project.root / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
        home = prepare_dagster_home(project)
        assert yaml.safe_load((home / "dagster.yaml").read_text())["telemetry"] == {"enabled": True}

    def test_without_the_variable_the_instance_is_the_one_on_sqlite_again(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepare_dagster_home(project)
        monkeypatch.delenv("DAGSTER_POSTGRES_URL")
        home = prepare_dagster_home(project)
        assert (home / "dagster.yaml").read_text() == (project.root / "dagster.yaml").read_text()

    def test_a_shell_that_has_joined_the_instance_may_start_it_too(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DAGSTER_HOME", str(project.root / ".offpeak" / "dagster"))
        assert "storage" in (prepare_dagster_home(project) / "dagster.yaml").read_text()

    def test_a_project_that_chose_its_storage_keeps_it(self, project: Project) -> None:
        (project.root / "dagster.yaml").write_text("storage:\n  sqlite:\n    base_dir: /srv/dagster\n")
        home = prepare_dagster_home(project)
        assert list(yaml.safe_load((home / "dagster.yaml").read_text())["storage"]) == ["sqlite"]

    def test_a_file_that_the_user_put_into_the_instance_is_left_alone(self, project: Project) -> None:
        home = project.root / ".offpeak" / "dagster"
        home.mkdir(parents=True)
        (home / "dagster.yaml").write_text("# mine\n")
        assert (prepare_dagster_home(project) / "dagster.yaml").read_text() == "# mine\n"
