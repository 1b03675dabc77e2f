"""What tests of the command line share: a command that is run against a ledger, in this process."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from offpeak.cli import build_app

from ...conftest import Place

Run = Callable[..., str]
"""Runs a command against the test's ledger and gives what it printed on stdout; errors pass through."""


@pytest.fixture
def run(place: Place, monkeypatch: pytest.MonkeyPatch) -> Run:
    return _running(place, monkeypatch)


@pytest.fixture
def any_run(any_place: Place, monkeypatch: pytest.MonkeyPatch) -> Run:
    return _running(any_place, monkeypatch)


def _running(place: Place, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("OFFPEAK_DATABASE_URL", place.url)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: str) -> str:
        result = CliRunner().invoke(build_app(), list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return command
