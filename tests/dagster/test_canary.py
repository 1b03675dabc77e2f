"""A sample is shown among the asset's events, and the rest of its plan waits with the parked run for its release."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import dagster as dg
import pytest
from pydantic import BaseModel, field_validator
from typer.testing import CliRunner

from offpeak import BatchAsset, Chat, Sample, batch_asset
from offpeak.cli import build_app
from offpeak.errors import SampleHeld
from offpeak.ledger import samples
from offpeak.ledger.states import ParkedState, SampleState

from ..conftest import MODELS, LocalProvider, Place
from .code_location import CodeLocation
from .conftest import OfflineProvider
from .parked_assets import DAILY, hold, labels, let_end, sold, view

Made = Callable[..., CodeLocation]
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
ROWS = 12


def sampled(**arguments: Any) -> Any:
    return labels(rows=ROWS, **{"sample": 3, **arguments})


def hard_to_please() -> BatchAsset:
    """Labels of which the first that comes does not fit."""
    looked_at = itertools.count()

    class Pleased(BaseModel):
        category: Literal["billing", "bug", "other"]

        @field_validator("category")
        @classmethod
        def is_not_the_first(cls, found: str) -> str:
            if next(looked_at) == 0:
                raise ValueError("the first is never right")
            return found

    sample = Sample(rows=3, max_failures=0.3)

    @batch_asset(name="labels", model=MODELS["openai"], output=Pleased, sample=sample, **DAILY)
    def asked() -> Iterator[Chat]:
        for number in range(ROWS):
            yield Chat(key=f"T{number}", prompt=f"Invoice {number} is wrong.")

    return asked


def shown(here: CodeLocation | dg.DagsterInstance, asset: str = "labels") -> list[dg.AssetObservation]:
    """The asset's observations, oldest first."""
    instance = here.instance if isinstance(here, CodeLocation) else here
    records = instance.fetch_observations(dg.AssetKey.from_user_string(asset), limit=10).records
    return [record.asset_observation for record in reversed(records) if record.asset_observation is not None]


def figures(observation: dg.AssetObservation) -> dict[str, Any]:
    return {name: value.value for name, value in observation.metadata.items()}


@pytest.fixture
def offpeak(place: Place) -> Callable[..., str]:
    """Runs the command line on the ledger."""

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(build_app(), [*arguments, "--database-url", place.url], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.output)

    return run


def wait_for_somebody(here: CodeLocation, local_provider: LocalProvider) -> dg.DagsterRun:
    """The run that is parked until somebody decides; the one that planned has bought the sample and shown it."""
    submitting = here.run("labels", "view")
    assert here.now(submitting).status is SUCCESS
    assert local_provider.batches() == []
    assert here.tick().run_requests == []
    return here.parked()


def test_the_run_that_plans_shows_the_sample_and_waits_for_approval(
    code_location: Made, local_provider: LocalProvider, offpeak: Callable[..., str]
) -> None:
    here = code_location(sampled(), view())
    waiting = wait_for_somebody(here, local_provider)
    assert sold(local_provider) == [1] * 3
    assert waiting.tags["offpeak/progress"] == "25%: 3 of 12 requests, 9 held until a sample is released"
    assert here.made("labels") == here.made("view") == []

    (observation,) = shown(here)
    found = figures(observation)
    table = found.pop("sample").splitlines()
    assert table[0] == "| key | asked | category | failure |"
    assert len(table) == 2 + 3
    assert "Invoice" in table[2]
    assert "says labels" in table[2]
    assert found == {
        "decision": "0 of 3 sampled rows have no usable answer; a person decides about the rest",
        "sampled": 3,
        "answered": 3,
        "failed": 0,
        "failed_schema": 0,
        "failed_share": 0.0,
        "sample_cost_usd": found["sample_cost_usd"],
        "possibly_paid_twice": 0,
        "held": 9,
        "held_cost_usd": pytest.approx(1.5 * found["sample_cost_usd"]),  # three times as many, at half the price
        "offpeak_job": 1,
    }
    assert found["sample_cost_usd"] > 0

    assert "9 requests wait for approval of its sample since" in offpeak("jobs")
    here.turn()
    assert here.held() == [here.now(waiting)]
    assert len(sold(local_provider)) == 3

    assert "9 requests are released. Its parked run goes on." in offpeak("jobs", "approve", "1")
    here.turn()
    if here.held():
        let_end(local_provider)
        here.turn()
    assert len(here.made("labels")) == len(here.made("view")) == 1
    assert sold(local_provider) == [1] * ROWS
    assert here.states() == ["completed"]
    assert len(shown(here)) == 1


def test_a_rejected_sample_ends_the_parked_run_and_nothing_else_is_bought(
    code_location: Made, local_provider: LocalProvider, offpeak: Callable[..., str]
) -> None:
    here = code_location(sampled(), view())
    waiting = wait_for_somebody(here, local_provider)
    assert "9 requests are not bought" in offpeak("jobs", "reject", "1")
    assert here.states() == ["in_progress"]
    here.turn()
    ended = here.now(waiting)
    assert ended.status is FAILURE
    assert "the sample of job 1 was rejected, so the rest of job 1 is not bought" in here.messages(ended)
    assert here.states() == ["cancelled"]
    assert here.held() == []
    assert len(sold(local_provider)) == 3


def test_terminating_the_parked_run_leaves_nothing_bought_beyond_the_sample(
    code_location: Made, local_provider: LocalProvider
) -> None:
    here = code_location(sampled(), view())
    here.terminate(wait_for_somebody(here, local_provider))
    here.turn()
    here.turn()
    assert here.states() == ["cancelled"]
    assert here.parked_states()[-1] is ParkedState.STOPPED
    found = samples.get(here.ledger, 1)
    assert found is not None
    assert found.state is SampleState.WITHDRAWN
    assert len(sold(local_provider)) == 3


def test_failures_within_the_declared_share_release_the_rest_in_the_same_run(
    code_location: Made, local_provider: LocalProvider
) -> None:
    here = code_location(sampled(sample=Sample(rows=3, max_failures=0.0)))
    hold(local_provider)
    here.run("labels")
    (observation,) = shown(here)
    assert figures(observation)["decision"].endswith("the asset accepts 0%, so the rest is released")
    assert [batch["requests"] for batch in local_provider.batches()] == [9]
    assert len(sold(local_provider)) == 3
    assert len(here.held()) == 1
    let_end(local_provider)
    here.turn()
    assert len(here.made("labels")) == 1
    assert sold(local_provider) == [1] * ROWS
    here.run("labels")
    assert sold(local_provider) == [1] * ROWS


def test_more_failures_than_the_declared_share_wait_for_somebody(
    code_location: Made, local_provider: LocalProvider
) -> None:
    here = code_location(hard_to_please())
    here.run("labels")
    assert len(here.held()) == 1
    (observation,) = shown(here)
    found = figures(observation)
    assert (found["failed"], found["failed_schema"], found["held"]) == (1, 1, 9)
    said = "1 of 3 sampled rows have no usable answer: invalid_output (1); the asset accepts 30%, so a person decides"
    assert found["decision"].startswith(said)
    assert "invalid_output" in found["sample"].splitlines()[2]  # failures come first


def test_calls_that_may_have_been_paid_twice_are_told(code_location: Made, local_provider: LocalProvider) -> None:
    here = code_location(sampled())
    local_provider.fault("realtime_reset", times=2)
    here.run("labels")
    (observation,) = shown(here)
    found = figures(observation)
    assert (found["possibly_paid_twice"], found["answered"], found["failed"]) == (2, 3, 0)
    samples.approve(here.ledger, 1, who="me")
    for _ in range(2):
        here.turn()
        let_end(local_provider)
    here.turn()
    (record,) = here.instance.fetch_materializations(dg.AssetKey("labels"), limit=2).records
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["possibly_paid_twice"].value == 2


def test_a_second_run_waits_for_the_same_sample(code_location: Made, local_provider: LocalProvider) -> None:
    here = code_location(sampled(), view())
    wait_for_somebody(here, local_provider)
    here.run("labels")
    assert len(here.held()) == 2
    here.turn()
    assert len(here.held()) == 2
    assert len(shown(here)) == 1
    samples.approve(here.ledger, 2, who="me")
    for _ in range(3):
        here.turn()
        let_end(local_provider)
    assert here.held() == []
    assert sold(local_provider) == [1] * ROWS
    assert set(here.states()) <= {"completed", "superseded"}


def test_a_tag_samples_one_run_of_an_asset_that_declares_nothing(
    code_location: Made, local_provider: LocalProvider
) -> None:
    here = code_location(labels(rows=ROWS))
    here.run("labels", tags={"offpeak/sample": "5"})
    assert (len(sold(local_provider)), local_provider.batches()) == (5, [])
    refused = here.run("labels", tags={"offpeak/sample": "few"})
    assert refused.status is FAILURE
    assert "the run tag offpeak/sample='few' is not a number of rows from 1 to 1,000" in here.messages(refused)


# In a run that waits in place


def test_a_run_in_place_fails_with_the_price_and_the_next_one_goes_on(project: Any, provider: OfflineProvider) -> None:
    here = project(sampled())
    with pytest.raises(SampleHeld, match=r"9 requests that are held would cost about .* `offpeak jobs approve 1`"):
        here.run("labels")
    assert len(sold(LocalProvider(provider.url))) == 3
    (observation,) = shown(here.instance)
    assert figures(observation)["held"] == 9
    with pytest.raises(SampleHeld):
        here.run("labels")
    assert len(sold(LocalProvider(provider.url))) == 3

    (landed,) = here.landed("labels", offpeak__approve="true").values()
    assert landed.metadata["rows"] == ROWS
    assert sold(LocalProvider(provider.url)) == [1] * ROWS
    assert len(shown(here.instance)) == 1


def test_a_retry_of_an_approved_run_approves_no_sample(project: Any, provider: OfflineProvider) -> None:
    here = project(sampled())
    with pytest.raises(SampleHeld):
        here.run("labels", offpeak__approve="true")
    with pytest.raises(SampleHeld):
        here.run("labels", offpeak__approve="true", dagster__parent_run_id="the-first")
    assert len(sold(LocalProvider(provider.url))) == 3


def test_a_run_in_place_goes_on_by_itself_within_the_declared_share(project: Any, provider: OfflineProvider) -> None:
    here = project(sampled(sample=Sample(rows=3, max_failures=0.1)))
    (landed,) = here.landed("labels").values()
    assert landed.metadata["rows"] == ROWS
    assert sold(LocalProvider(provider.url)) == [1] * ROWS


def test_the_sample_of_a_partition_is_shown_on_it(project: Any) -> None:
    here = project(sampled(partitions_def=dg.StaticPartitionsDefinition(["mon", "tue"])))
    with pytest.raises(SampleHeld):
        here.run("labels", partition="tue")
    (observation,) = shown(here.instance)
    assert observation.partition == "tue"
