"""Where the ledger is looked for, and that it is never made in the wrong place."""

from pathlib import Path

import pytest

from offpeak.errors import ConfigurationError
from offpeak.ledger.location import default_database_url


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OFFPEAK_DATABASE_URL", raising=False)


def test_it_is_beside_the_nearest_pyproject_with_a_dg_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.dg]\ndirectory_type = "project"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.ruff]\n")
    assert default_database_url(inner) == f"sqlite:///{tmp_path / '.offpeak' / 'offpeak.db'}"


def test_without_a_project_it_is_an_error_that_says_why_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="an empty ledger would buy everything again"):
        default_database_url(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_variable_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFPEAK_DATABASE_URL", "sqlite:////elsewhere.db")
    assert default_database_url(tmp_path) == "sqlite:////elsewhere.db"


def test_a_torn_pyproject_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.dg\n")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        default_database_url(tmp_path)
