"""The housekeeping job, as the project's schedule runs it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import BatchApi, Chat, OffpeakResults, batch_asset, with_offpeak
from offpeak.assets.housekeeping import HOUSEKEEPING_JOB
from offpeak.errors import ConfigurationError
from offpeak.ledger import erasing
from offpeak.ledger.ledger import Ledger

from ..conftest import LocalProvider
from .test_materialize import CONTRACT, NIGHTLY, TICKETS


@dg.asset
def support_tickets() -> pd.DataFrame:
    return TICKETS


@batch_asset(model="openai/gpt-5-mini", workload=NIGHTLY, lane="batch", contract=CONTRACT)
def ticket_labels(support_tickets: pd.DataFrame) -> Iterator[Chat]:
    ticket: Any
    for ticket in support_tickets.itertuples():
        yield Chat(key=ticket.ticket_id, prompt=ticket.body)


@pytest.fixture
def house(resources: dict[str, Any], provider: Any, tmp_path: Path) -> dg.Definitions:
    """A project that keeps what providers have, and no file of its own."""
    url = f"sqlite:///{tmp_path / 'house' / 'offpeak.db'}"
    own = {"batch_api": provider.api(keep=True), "offpeak_results": OffpeakResults(database_url=url, keep_files_days=0)}
    return with_offpeak(dg.Definitions(assets=[support_tickets, ticket_labels], resources={**resources, **own}))


def run(defs: dg.Definitions, job: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(instance=instance)


def files_at(provider: Any) -> list[str]:
    """The uploads that are still at the provider."""
    account = LocalProvider(provider.url).open("openai")
    try:
        return [name for _, name in account.files(prefix="offpeak-")]
    finally:
        account.close()


def test_it_deletes_old_files_and_what_is_left_at_providers(
    house: dg.Definitions, provider: Any, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    spool = tmp_path / "house" / "spool"
    house.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    before = len(files_at(provider))
    assert before
    assert len(list(spool.iterdir())) == 2
    run(house, HOUSEKEEPING_JOB, instance)
    assert list(spool.iterdir()) == []
    assert len(files_at(provider)) == before, "they are to be kept"

    resources = {**(house.resources or {}), "batch_api": provider.api()}
    run(with_offpeak(dg.Definitions(assets=house.assets, resources=resources)), HOUSEKEEPING_JOB, instance)
    assert len(files_at(provider)) == before - 1


def test_an_account_that_is_not_configured_is_told_and_the_rest_is_done(
    house: dg.Definitions,
    provider: Any,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    house.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    elsewhere = BatchApi(openai_api_key="local", openai_base_url="http://127.0.0.1:9/v1")
    resources = {**(house.resources or {}), "batch_api": elsewhere}
    defs = with_offpeak(dg.Definitions(assets=house.assets, resources=resources))
    assert run(defs, HOUSEKEEPING_JOB, instance).success
    assert "is configured to be reached at openai:127.0.0.1:9" in capfd.readouterr().err
    assert list((tmp_path / "house" / "spool").iterdir()) == []


def test_days_that_are_none_are_refused(house: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'house' / 'offpeak.db'}"
    wrong = {**(house.resources or {}), "offpeak_results": OffpeakResults(database_url=url, keep_files_days=-1)}
    with pytest.raises(ConfigurationError, match=r"keep_files_days=-1 .* Nothing was deleted"):
        run(with_offpeak(dg.Definitions(assets=house.assets, resources=wrong)), HOUSEKEEPING_JOB, instance)


def test_the_projects_own_schedule_runs_it_every_night() -> None:
    from definitions import defs

    schedule = defs.resolve_schedule_def("housekeeping")
    assert (schedule.job_name, schedule.execution_timezone) == (HOUSEKEEPING_JOB, "UTC")
    assert defs.resolve_job_def(schedule.job_name)


def test_it_finishes_what_somebody_asked_to_be_erased(
    house: dg.Definitions, provider: Any, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    house.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    before = len(files_at(provider))
    url = f"sqlite:///{tmp_path / 'house' / 'offpeak.db'}"
    with Ledger.open(url) as ledger:
        erasing.erase(ledger, "ticket_labels", "T-1", who="a test")
        assert erasing.finish(ledger, []).waiting
    run(house, HOUSEKEEPING_JOB, instance)
    with Ledger.open(url) as ledger:
        assert erasing.realms(ledger) == []
    assert len(files_at(provider)) == before - 1, "also where files are to be kept"
