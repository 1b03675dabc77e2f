"""`offpeak erase`, as somebody at a terminal sees it: what went, what is left for later, and what was never reached."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from offpeak.cli import build_app
from offpeak.errors import NotFound

from ...conftest import ROOT, LocalProvider, Place, Shop, tickets

Run = Callable[..., str]


@pytest.fixture
def run(place: Place) -> Run:
    """Runs the command against the shop's ledger and gives what it printed on stdout; errors pass through."""

    def command(*arguments: str) -> str:
        given = ["erase", *arguments, "--database-url", place.url]
        result = CliRunner().invoke(build_app(), given, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return command


def test_it_says_what_went_and_what_it_cannot_reach(shop: Shop, run: Run) -> None:
    shop.buy(tickets(3))
    told = run("labels", "T0001")
    assert "Row T0001 of labels is gone, with 1 request of its own." in told
    assert "Erased: 1 request" in told
    for place in ("the source", "io_manager_key=", "a preview of its first rows", "backups"):
        assert place in told
    assert sorted(shop.frame()["key"]) == ["T0000", "T0002"]


def test_a_program_gets_the_figures(shop: Shop, run: Run) -> None:
    shop.buy({"mine": "one text", "twin": "one text"})
    shop.buy({"mine": "another"}, asset="others")
    shown = json.loads(run("labels", "mine", "--json"))
    assert (shown["rows"], shown["requests"], shown["shared"], shown["elsewhere"]) == (1, 0, 1, ["others"])
    assert (shown["on_their_way"], shown["waiting"], shown["problems"]) == (0, {}, [])


def test_what_is_on_its_way_is_told(shop: Shop, run: Run, local_provider: LocalProvider) -> None:
    local_provider.settings(latency_seconds=3600)
    shop.leave(tickets(2))
    told = run("labels", "T0001")
    assert "On their way: 1 request." in told
    assert "offpeak_housekeeping" in told


def test_files_at_an_account_that_is_not_the_projects_are_told(shop: Shop, run: Run) -> None:
    shop.provider.keeps_files = True
    shop.buy(tickets(2))
    told = run("labels", "T0001")
    assert f"Left at {shop.provider.realm} for now: files of 1 request." in told
    shown = json.loads(run("--unwanted", "--json"))
    assert shown["waiting"] == {shop.provider.realm: 1}
    assert shop.provider.realm in shown["problems"][0]


def test_files_at_the_projects_own_account_are_deleted(shop: Shop, place: Place, local_provider: LocalProvider) -> None:
    shop.provider.keeps_files = True
    shop.buy(tickets(2))
    assert list(shop.provider.files(prefix="offpeak-"))
    ended = subprocess.run(
        [sys.executable, "-m", "offpeak.cli", "erase", "labels", "T0001", "--json", "--database-url", place.url],
        cwd=ROOT,
        env=os.environ | {"OFFPEAK_PROVIDER": "local", "OFFPEAK_LOCAL_URL": local_provider.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout)
    assert (shown["done"], shown["waiting"], shown["problems"]) == (1, {}, [])
    assert list(shop.provider.files(prefix="offpeak-")) == []


def test_what_no_row_refers_to_goes_by_itself(shop: Shop, run: Run) -> None:
    for version in ("first", "second", "third"):
        shop.buy(tickets(9) | {"row": version})
    assert "1 request that no row refers to." in run("--unwanted")
    assert json.loads(run("--unwanted", "--json"))["requests"] == 0


def test_an_unknown_row_is_refused(shop: Shop, run: Run) -> None:
    shop.buy(tickets(1))
    with pytest.raises(NotFound, match="Nothing was erased"):
        run("labels", "T9999")
    with pytest.raises(NotFound, match="Did you mean labels"):
        run("lables", "T0000")


@pytest.mark.parametrize("wrong", [(), ("labels",), ("labels", "T0000", "--unwanted")])
def test_it_has_to_be_said_what(wrong: tuple[str, ...]) -> None:
    assert CliRunner().invoke(build_app(), ["erase", *wrong]).exit_code == 2
