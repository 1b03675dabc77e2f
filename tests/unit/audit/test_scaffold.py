"""The scaffold of a job: files that are as the project's own, that load, and that run."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from datetime import time, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest

from offpeak import BatchApi, BatchAsset, offpeak_resources, with_offpeak
from offpeak.audit.audit import audit
from offpeak.audit.case import Case
from offpeak.audit.from_usage import cadence
from offpeak.audit.move import move
from offpeak.audit.scaffold import Scaffold, scaffold
from offpeak.errors import ConfigurationError
from offpeak.lanes.workload import Waiting

from ...conftest import LocalProvider, Place
from .jobs import NOW, judged, prices

SAMPLE = Path(__file__).parents[3] / "sample_data"
ROOT = SAMPLE.parent


@pytest.fixture(scope="module")
def digest() -> Scaffold:
    """That of the nine o'clock digest, as the sample log and the sample application show it."""
    found = audit(usage=[SAMPLE / "llm_calls.jsonl.gz"], code=[SAMPLE / "app"], zone="Europe/Berlin", now=NOW)
    return scaffold(found.move(found.job("morning_digest")), package="scaffolded_assets")


def loaded(text: str, name: str, folder: Path) -> ModuleType:
    path = folder / f"{name.rpartition('.')[2]}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def assets(digest: Scaffold, tmp_path: Path) -> Iterator[ModuleType]:
    package = ModuleType("scaffolded_assets")
    sys.modules["scaffolded_assets"] = package
    yield loaded(digest.asset, "scaffolded_assets.morning_digest", tmp_path)
    for name in [each for each in sys.modules if each.startswith("scaffolded_")]:
        del sys.modules[name]


def test_the_digest_runs_as_it_stands(assets: ModuleType, place: Place, local_provider: LocalProvider) -> None:
    api = BatchApi(openai_api_key="test-key", openai_base_url=f"{local_provider.url}/v1", poll_seconds=0.05)
    resources = {**offpeak_resources(database_url=place.url, spool_dir=str(place.spool)), "batch_api": api}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [assets.morning_digest_rows, assets.morning_digest], resources=resources, instance=instance
        )
    assert result.success
    (landed,) = result.asset_materializations_for_node("morning_digest")
    assert landed.metadata["rows"].value == 1
    assert len(local_provider.purchases()) == 1


def test_the_digest_is_due_at_nine_and_submitted_the_evening_before(
    digest: Scaffold, assets: ModuleType, tmp_path: Path
) -> None:
    asset = assets.morning_digest
    assert isinstance(asset, BatchAsset)
    declared = asset.declaration
    assert declared.model == "openai/gpt-5.4-mini"
    assert declared.workload.deadline == time(9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert declared.workload.waiting is Waiting.NOBODY
    assert digest.schedule is not None
    schedule = loaded(digest.schedule, "scaffolded_schedules.morning_digest", tmp_path).morning_digest_schedule
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 21 * * *", "Europe/Berlin")
    # the ages of the whole chain fit: with_offpeak refuses a contract that the schedule cannot keep
    with_offpeak(
        dg.Definitions(
            assets=[assets.morning_digest_rows, asset],
            schedules=[schedule],
            resources=dict(offpeak_resources(database_url=f"sqlite:///{tmp_path / 'ledger.db'}")),
        )
    )


KINDS: dict[str, dict[str, Any]] = {
    "once": {"once": True},
    "polled": {"case": Case.POLLING},
    "asked for": {"waiting": Waiting.WALKED_AWAY, "deadline": timedelta(hours=26)},
    "an hour to keep": {"deadline": time(9, tzinfo=ZoneInfo("Europe/Berlin"))},
    "a long name by the clock": {
        "name": "refresh of all the recommendations of every tenant in the whole of northern and southern europe",
        "cadence": cadence("weekdays at 09:00 Europe/Berlin"),
        "deadline": time(9, tzinfo=ZoneInfo("Europe/Berlin")),
    },
    "a name that says too much": {"name": 'Tell "them" {{ all }} \\ of the news'},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [None, "support_tickets"])
def test_whatever_the_job_the_files_are_as_the_projects_own(kind: str, rows: str | None, tmp_path: Path) -> None:
    made = scaffold(move(judged(**KINDS[kind]), prices(), now=NOW), rows=rows, key="ticket_id", text="body")
    folder = tmp_path / "ai_assets"
    folder.mkdir()
    (folder / f"{made.name}.py").write_text(made.asset, encoding="utf-8")
    if made.schedule:
        (folder / f"{made.name}_schedule.py").write_text(made.schedule, encoding="utf-8")
    for command in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        settings = ("--config", str(ROOT / "pyproject.toml"), "--config", f"src = ['{ROOT}', '{tmp_path}']")
        ruff = [sys.executable, "-m", "ruff", *command, *settings, str(folder)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{made.asset}"
    module = loaded(made.asset, f"scaffolded_{made.name}", tmp_path)
    table = pd.DataFrame({"ticket_id": ["T-1"], "body": ["Charged twice"]})
    (request,) = getattr(module, made.name).plan(table)
    assert (request.key, request.prompt) == ("T-1", "Charged twice")


@pytest.mark.parametrize(
    ("option", "given"), [("--rows", {"rows": "a b"}), ("--key", {"key": "ticket-id"}), ("--text", {"text": "1st"})]
)
def test_a_name_that_python_does_not_take_is_refused(option: str, given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=f"{option} '.*' is no name that Python takes"):
        scaffold(move(judged(), prices(), now=NOW), **given)  # type: ignore[arg-type]


def test_what_a_person_watches_is_no_batch_asset() -> None:
    with pytest.raises(ConfigurationError, match="digest is no work for a batch asset: a person would be watching"):
        scaffold(move(judged(waiting=Waiting.WATCHING), prices(), now=NOW))
