"""A project that was copied with its ledger: consumers read it, and nothing of Dagster's acts on its batches."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from offpeak import OffpeakResults, lifecycle_sensor, with_offpeak
from offpeak.assets.housekeeping import HOUSEKEEPING_JOB
from offpeak.errors import LedgerUnreadable
from offpeak.ledger.adopting import set_apart
from offpeak.ledger.ledger import Ledger

from .test_materialize import dashboard, support_tickets, ticket_labels


@pytest.fixture
def copied(resources: dict[str, Any], instance: dg.DagsterInstance, tmp_path: Path) -> dg.Definitions:
    """A project over the copy of a ledger that has rows."""
    made = with_offpeak(dg.Definitions(assets=[support_tickets, ticket_labels, dashboard], resources=resources))
    assert made.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success
    (tmp_path / "copy").mkdir()
    for path in tmp_path.glob("offpeak.db*"):
        shutil.copy2(path, tmp_path / "copy")
    own = OffpeakResults(database_url=f"sqlite:///{tmp_path / 'copy' / 'offpeak.db'}")
    return with_offpeak(dg.Definitions(assets=made.assets, resources={**resources, "offpeak_results": own}))


def run(defs: dg.Definitions, instance: dg.DagsterInstance, *assets: str) -> dg.ExecuteInProcessResult:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(each) for each in assets]
    )


def test_consumers_read_it_and_nothing_acts_before_somebody_decided(
    copied: dg.Definitions, instance: dg.DagsterInstance, provider: Any, tmp_path: Path
) -> None:
    assert run(copied, instance, "dashboard").success
    for act in (
        lambda: run(copied, instance, "support_tickets", "ticket_labels"),
        lambda: copied.resolve_job_def(HOUSEKEEPING_JOB).execute_in_process(instance=instance),
        lambda: tick(copied, instance),
    ):
        with pytest.raises(LedgerUnreadable, match="offpeak adopt"):
            act()
    assert provider.batches() == 1

    with Ledger.open(f"sqlite:///{tmp_path / 'copy' / 'offpeak.db'}") as ledger:
        set_apart(ledger, who="a test")
    assert run(copied, instance, "support_tickets", "ticket_labels", "dashboard").success
    assert "parked" in tick(copied, instance)
    assert provider.batches() == 1, "what was bought before the copy was made serves both"


def tick(defs: dg.Definitions, instance: dg.DagsterInstance) -> str:
    """One evaluation of the sensor; what it says."""
    with dg.build_sensor_context(instance, resources=defs.resources) as context:
        found = lifecycle_sensor().evaluate_tick(context)
    return found.skip_message or ""
