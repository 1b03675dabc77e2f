"""`offpeak adopt`: a copied ledger takes its original's place or one of its own, and never by mistake."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from offpeak.cli import build_app
from offpeak.errors import LedgerUnreadable, PlanError

from ...conftest import LocalProvider, Place, Shop, tickets

Run = Callable[..., str]


@pytest.fixture
def copied(shop: Shop, place: Place, tmp_path: Path, local_provider: LocalProvider) -> Place:
    """A copy of a ledger that has rows, and a batch on its way."""
    shop.buy(tickets(2))
    local_provider.settings(latency_seconds=3600)
    shop.leave(tickets(5))
    shop.ledger.database.checkpoint()
    folder = tmp_path / "copy"
    shutil.copytree(place.spool, folder / "spool")
    for path in place.spool.parent.glob("ledger.db*"):
        shutil.copy2(path, folder)
    return Place(f"sqlite:///{folder / 'ledger.db'}", folder / "spool")


@pytest.fixture
def run(copied: Place) -> Run:
    """Runs a command against the copy and gives what it printed on stdout; errors pass through."""

    def command(*arguments: str) -> str:
        given = [*arguments, "--database-url", copied.url]
        result = CliRunner().invoke(build_app(), given, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return command


def test_a_copy_lists_its_jobs_and_approves_none(run: Run) -> None:
    assert len(json.loads(run("jobs", "--json"))["jobs"]) == 2
    with pytest.raises(LedgerUnreadable, match="offpeak adopt"):
        run("jobs", "approve", "1")


def test_beside_its_original_it_says_what_it_left_and_what_to_delete(run: Run, shop: Shop, copied: Place) -> None:
    told = run("adopt", "--beside-original")
    assert f"beside {shop.ledger.identity}" in told
    assert "1 open jobs are cancelled here; 3 requests" in told
    assert str(copied.spool) in told
    with copied.open() as ledger:
        assert ledger.identity != shop.ledger.identity
        ledger.require_home()


def test_in_its_place_it_keeps_the_identity(run: Run, shop: Shop, copied: Place) -> None:
    document = json.loads(run("adopt", "--original-gone", "--json"))
    assert (document["identity"], document["was"], document["jobs"]) == (shop.ledger.identity,) * 2 + (0,)
    with copied.open() as ledger:
        ledger.require_home()


@pytest.mark.parametrize("wrong", [(), ("--original-gone", "--beside-original"), ("--original-gone", "--undetected")])
def test_it_has_to_be_said_which(wrong: tuple[str, ...]) -> None:
    assert CliRunner().invoke(build_app(), ["adopt", *wrong]).exit_code == 2


def test_the_original_itself_is_not_adopted_unless_somebody_insists(run: Run, shop: Shop, place: Place) -> None:
    def adopt(*more: str) -> object:
        given = ["adopt", "--beside-original", *more, "--database-url", place.url]
        return CliRunner().invoke(build_app(), given, catch_exceptions=False).exit_code

    with pytest.raises(PlanError, match="--undetected"):
        adopt()
    with place.open() as ledger:
        assert ledger.identity == shop.ledger.identity
    assert adopt("--undetected") == 0
    with place.open() as ledger:
        assert ledger.identity != shop.ledger.identity
