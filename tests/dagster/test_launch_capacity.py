"""`launch_capacity`, materialised: its checks are red until what a launch needs is allowed, and green from then on."""

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

import dagster as dg
import pytest

from offpeak import (
    BatchApi,
    Chat,
    FreshnessContract,
    Waiting,
    Workload,
    batch_asset,
    launch_capacity,
    offpeak_resources,
)
from offpeak.assets import materialize
from offpeak.clock import SystemClock
from offpeak.errors import ConfigurationError
from offpeak.ledger import limits_seen
from offpeak.ledger.ledger import Ledger
from resources import batch_api as deployment

from ..conftest import ROOT, LocalProvider, Place

STARTS = datetime(2027, 3, 9, 8, tzinfo=UTC)
EARLY = STARTS - timedelta(days=100)

LAUNCHES = """\
launches:
  - name: spring_release
    starts: 2027-03-09 09:00
    ends: 2027-03-09 21:00
    zone: Europe/Berlin
    peak_users: 900
    session: {minutes: 12, requests: 8, input_tokens: 9600, output_tokens: 2400}
    precomputed_share: 0.7
    models: {openai/gpt-5-mini: 0.8, anthropic/claude-haiku-5-5: 0.2}
"""
SUMMER = LAUNCHES.split("\n", 1)[1].replace("spring_release", "summer_sale").replace("2027-03", "2027-06")
TERMS = """\
[[terms]]
model = "{model}"
source = "the limits page"
requests_per_minute = {requests}
tokens_per_minute = {tokens}

"""
MINI = TERMS.format(model="openai/gpt-5-mini", requests=500, tokens=500_000)
HAIKU = "anthropic/claude-haiku-5-5"


def haiku(requests: int, tokens: int) -> str:
    return TERMS.format(model=HAIKU, requests=requests, tokens=tokens)


class Project:
    """The project's asset over a list, a price sheet and a ledger of its own."""

    def __init__(self, folder: Path, place: Place, provider: LocalProvider) -> None:
        self.launches, self.prices, self.place = folder / "launches.yaml", folder / "price_sheet.toml", place
        self.launches.write_text(LAUNCHES)
        self.prices.write_text(MINI + haiku(50, 50_000))
        self.provider = provider
        self.now = EARLY
        self.ticking_since: float | None = None
        """While it is None, time stands still."""
        self.module: ModuleType | None = None

    def clock(self) -> datetime:
        since = self.ticking_since
        return self.now if since is None else self.now + timedelta(seconds=monotonic() - since)

    @property
    def api(self) -> BatchApi:
        return BatchApi(
            openai_api_key="local",
            openai_base_url=f"{self.provider.url}/v1",
            anthropic_api_key="local",
            anthropic_base_url=self.provider.url,
            price_sheet=str(self.prices),
            launches=str(self.launches),
        )

    def load(self) -> ModuleType:
        """The definitions of the asset, as a process has them that begins now."""
        spec = importlib.util.spec_from_file_location("launch_plans_of_a_test", ROOT / "ai_assets" / "launch_plans.py")
        assert spec is not None
        assert spec.loader is not None
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        return self.module

    def materialise(self) -> dict[str, Any]:
        """The asset in the definitions that are loaded; its checks by name, and its metadata as `metadata`."""
        module = self.module or self.load()
        result = self.run(module.launch_capacity)
        (landed,) = result.asset_materializations_for_node("launch_capacity")
        checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
        return {**checks, "metadata": {name: each.value for name, each in landed.metadata.items()}}

    def run(self, *assets: Any) -> dg.ExecuteInProcessResult:
        resources = offpeak_resources(database_url=self.place.url, spool_dir=str(self.place.spool), batch_api=self.api)
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([*assets], resources=resources, instance=instance)
        assert result.success
        return result


@pytest.fixture
def project(tmp_path: Path, place: Place, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path, place, local_provider)
    place.open().close()
    monkeypatch.setattr(SystemClock, "now", lambda self: made.clock())
    # Dagster's own clock goes on, so the moment at which it created a run is not one of this time
    monkeypatch.setattr(materialize, "_created", lambda context, clock: clock.now())
    monkeypatch.setattr(deployment, "LAUNCHES", made.launches)
    monkeypatch.setattr(deployment, "PRICES", made.prices)
    return made


def test_the_check_is_red_until_the_limit_is_raised_in_the_price_sheet(project: Project) -> None:
    check = project.materialise()["fits_spring_release"]
    assert not check.passed
    assert check.description == (
        "Raise `anthropic/claude-haiku-5-5` from 50,000 to 68,000 tokens a minute: 54,000 are needed at the peak, and "
        "40,000 are usable. Ask for it by 2027-02-23 09:00 Europe/Berlin, in 86 d."
    )
    assert {name: each.value for name, each in check.metadata.items()} == {
        "raise_by": "2027-02-23T08:00:00+00:00",
        "headroom": pytest.approx(-0.35),
        "binding": "anthropic/claude-haiku-5-5 tokens",
        "raise_to/anthropic/claude-haiku-5-5/tokens": 68_000,
    }

    project.prices.write_text(MINI + haiku(50, 68_000))  # nothing is loaded anew
    check = project.materialise()["fits_spring_release"]
    assert check.passed
    assert check.description.startswith(
        "It fits. The tightest limit is that of `anthropic/claude-haiku-5-5`: 54,000 of"
    )


def talks(rows: int) -> dg.AssetsDefinition:
    """What calls the realtime endpoints of one of the launch's models."""

    @batch_asset(
        model=HAIKU,
        workload=Workload(waiting=Waiting.WALKED_AWAY, deadline=timedelta(minutes=30)),
        contract=FreshnessContract(valid_for=timedelta(days=30)),
        lane="background",
    )
    def talk():  # type: ignore[no-untyped-def]
        for number in range(rows):
            yield Chat(key=f"T{number}", prompt=f"Say hello to visitor {number}.")

    return talk


def test_the_check_turns_with_the_limits_in_the_headers_of_answers(project: Project) -> None:
    project.ticking_since = monotonic()  # who calls within rate limits waits for time to pass
    project.provider.settings(model_limits={HAIKU: {"requests_per_minute": 600, "tokens_per_minute": 60_000}})
    project.run(talks(1))
    shown = project.materialise()
    check = shown["fits_spring_release"]
    assert not check.passed
    assert "from 60,000 to 68,000 tokens a minute" in check.description
    assert "| 60,000 | the provider, 2026-11-29 08:00 UTC |" in shown["metadata"]["launch/spring_release"]

    project.provider.settings(model_limits={HAIKU: {"requests_per_minute": 600, "tokens_per_minute": 100_000}})
    project.run(talks(2))
    assert project.materialise()["fits_spring_release"].passed


def test_what_a_run_declared_to_the_ledger_is_not_what_a_provider_said(project: Project) -> None:
    with project.place.open() as ledger:
        realm = project.api.realm("anthropic")
        for limits in (project.api.realtime_limits(HAIKU), {}):
            limits_seen.declare(ledger, realm=realm, model="claude-haiku-5-5", limits=limits)
            assert limits_seen.said(ledger, realm=realm, model="claude-haiku-5-5") == {}


def test_of_a_model_that_nobody_knows_it_says_what_to_write(project: Project) -> None:
    project.prices.write_text(MINI)
    shown = project.materialise()
    check = shown["fits_spring_release"]
    assert not check.passed
    assert "Nobody has said yet what `anthropic/claude-haiku-5-5` allows in a minute" in check.description
    assert check.metadata["unknown"].value == HAIKU
    text = shown["metadata"]["launch/spring_release"]
    assert f'```toml\n[[terms]]\nmodel = "{HAIKU}"\n' in text


@pytest.mark.parametrize(
    ("days_before", "severity"),
    [(30, dg.AssetCheckSeverity.WARN), (16.9, dg.AssetCheckSeverity.ERROR), (1, dg.AssetCheckSeverity.ERROR)],
)
def test_it_warns_until_the_day_by_which_to_ask_is_near(
    project: Project, days_before: float, severity: dg.AssetCheckSeverity
) -> None:
    project.now = STARTS - timedelta(days=days_before)
    check = project.materialise()["fits_spring_release"]
    assert (check.passed, check.severity) == (False, severity)
    late = "It had to be asked for by 2027-02-23 09:00 Europe/Berlin: ask now, or pre-compute more."
    assert (late in check.description) is (days_before < 14)


def test_a_launch_that_is_over_passes_and_says_so(project: Project) -> None:
    project.load()
    project.now = STARTS + timedelta(hours=12)
    shown = project.materialise()
    check = shown["fits_spring_release"]
    assert check.passed
    assert check.description == "It has been over since 2027-03-09 21:00 Europe/Berlin."
    assert shown["metadata"]["summary"].startswith("No launch is ahead.")
    assert "launch/spring_release" not in shown["metadata"]


def test_each_launch_of_the_list_has_a_check_of_its_own(project: Project) -> None:
    project.launches.write_text(LAUNCHES + SUMMER)
    assert {name for name in project.materialise() if name.startswith("fits_")} == {
        "fits_spring_release",
        "fits_summer_sale",
    }


def test_an_empty_list_has_no_checks(project: Project) -> None:
    project.launches.write_text("launches: []\n")
    shown = project.materialise()
    assert set(shown) == {"metadata"}
    assert shown["metadata"]["summary"].startswith("No launch is ahead.")


def test_the_list_may_change_while_the_definitions_stay_loaded(project: Project) -> None:
    project.load()
    project.launches.write_text("launches:\n" + SUMMER)
    shown = project.materialise()
    assert shown["fits_spring_release"].passed
    assert shown["fits_spring_release"].description == "It is not in the list of launches any more."
    assert "`summer_sale`" in shown["metadata"]["summary"]


def test_a_list_that_cannot_be_read_is_an_error_that_names_the_field(project: Project) -> None:
    project.launches.write_text(LAUNCHES.replace("peak_users: 900", "peak_users: many"))
    with project.place.open() as ledger, pytest.raises(ConfigurationError, match="line 2, entry 1: peak_users"):
        launch_capacity(ledger, project.api)


def test_the_asset_shows_the_limits_the_guesses_and_what_precomputation_changes(project: Project) -> None:
    shown = project.materialise()["metadata"]
    text = shown["launch/spring_release"]
    assert "| `anthropic/claude-haiku-5-5` | tokens | 50,000 | price sheet | 40,000 | 54,000 | -35% | 68,000 |" in text
    assert (
        "Pre-computed results answer 70% of the requests. That shrinks the peak from 600 to 180 requests a minute, and "
        "from 900,000 to 270,000 tokens. 4 limits would have to be raised without it, and 1 with it."
    ) in text
    assert "| visitors at the peak | 900 | up to 666 (-26%) |" in text
    assert "| requests per session | 8 | not by this alone |" in text
    assert "| length of a session | 12 min | from 16.2 min (+35%) |" in text
    assert "| pre-computed share | 70% | from 78% (+11%) |" in text
    assert "](data:image/png;base64," in text
    assert shown["headroom/spring_release"] == pytest.approx(-0.35)
    assert shown["headroom_without/spring_release"] == pytest.approx(-3.5)


def test_without_the_list_there_is_no_launch(ledger: Ledger) -> None:
    report = launch_capacity(ledger, BatchApi())
    assert report.summary.startswith("No launch is ahead.")
    assert (report.launches, report.figures) == ({}, {})
