"""`batch_operations`, materialised over a ledger with jobs: what the UI shows of it, and its check."""

from collections.abc import Callable

import dagster as dg

from ai_assets.operations import batch_operations
from offpeak import OffpeakResults
from offpeak.ledger import tables
from offpeak.ledger.conditions import Condition
from offpeak.providers.base import Provider

from ...conftest import LocalProvider, Place, Shop, tickets

PICTURES = ("timings", "queue_depth", "age_of_results", "age_over_time")


def materialise(place: Place) -> tuple[dict[str, object], dg.AssetCheckEvaluation]:
    """The metadata as values, and the outcome of the check."""
    resources = {"offpeak_results": OffpeakResults(database_url=place.url, spool_dir=str(place.spool))}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([batch_operations], resources=resources, instance=instance)
    (landed,) = result.asset_materializations_for_node("batch_operations")
    (check,) = result.get_asset_check_evaluations()
    return {name: value.value for name, value in landed.metadata.items()}, check


def test_it_shows_what_is_on_its_way_and_how_the_past_went(
    place: Place, local_provider: LocalProvider, open_account: Callable[..., Provider]
) -> None:
    with place.open() as ledger:
        shop = Shop(ledger, open_account())
        shop.buy(tickets(3))
        local_provider.settings(latency_seconds=3600)
        shop.leave(tickets(4, start=100), asset="summaries")
    shown, check = materialise(place)
    assert {name: shown[name] for name in ("open_jobs", "running", "stuck")} == {
        "open_jobs": 1,
        "running": 1,
        "stuck": 0,
    }
    assert {condition.value for condition in Condition} <= shown.keys()
    assert "`summaries` | **running**. | 0 of 4 requests; " in str(shown["jobs"])
    for name in PICTURES:
        assert "](data:image/png;base64," in str(shown[name])
    age = shown["age_hours/labels"]
    assert isinstance(age, float)
    assert 0 <= age < 1
    assert "age_hours/summaries" not in shown
    assert check.passed
    assert check.description == "Nothing is stuck, late, unattended, or landed and left."


def test_its_check_warns_of_a_job_that_needs_somebody(
    place: Place, local_provider: LocalProvider, open_account: Callable[..., Provider]
) -> None:
    local_provider.settings(latency_seconds=3600)
    with place.open() as ledger:
        job_id = Shop(ledger, open_account()).leave(tickets(1))
        with ledger.database.write() as connection:  # a process that is gone
            connection.execute(tables.job.update().values(owner=str(ledger.claimant).partition("#")[0] + "#1@1"))
    shown, check = materialise(place)
    assert shown["unattended"] == 1
    assert not check.passed
    assert check.metadata["jobs"].value == 1
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.description is not None
    assert check.description.startswith(f"Job {job_id} of labels is unattended: its process is gone")


def test_an_empty_ledger_is_no_failure(place: Place) -> None:
    shown, check = materialise(place)
    assert shown["open_jobs"] == 0
    assert not any("base64" in str(shown[name]) for name in PICTURES)
    assert check.passed
