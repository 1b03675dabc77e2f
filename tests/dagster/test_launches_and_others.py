"""Pre-computation where something is in its way: another launch, a contract that is too short, an edited list."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from offpeak import FreshnessContract, fresh_to_the_end, launch_partitions, launches_due
from offpeak.assets.resources import BatchApi
from offpeak.errors import DefinitionError
from offpeak.launches.listed import Launches, read_launches

from ..conftest import LocalProvider
from .code_location import CodeLocation
from .conftest import OfflineProvider
from .held_launch import Stage, Time, holding
from .parked_assets import labels

FAIR = datetime(2027, 3, 8, 9, tzinfo=UTC)
"""When the first launch starts. It lasts 30 hours, and so over the last night before the second one."""
SPRING, ENDS = datetime(2027, 3, 9, 18, tzinfo=UTC), datetime(2027, 3, 9, 22, tzinfo=UTC)
NIGHT = datetime(2027, 3, 9, 2, 30, tzinfo=UTC)
FAIR_ENDS = datetime(2027, 3, 9, 15, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

LIST = """\
launches:
  - name: fair
    starts: 2027-03-08 09:00
    ends: 2027-03-09 15:00
    zone: UTC
    peak_users: 100
    session: {minutes: 10, requests: 5, input_tokens: 5000, output_tokens: 1000}
    models: openai/gpt-5-mini
  - name: spring
    starts: 2027-03-09 18:00
    ends: 2027-03-09 22:00
    zone: UTC
    peak_users: 100
    session: {minutes: 10, requests: 5, input_tokens: 5000, output_tokens: 1000}
    models: openai/gpt-5-mini
"""

Made = Callable[..., Stage]


@pytest.fixture
def time(local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    with holding(local_provider, NIGHT - DAY, monkeypatch) as held:
        yield held


@pytest.fixture
def stage(code_location: Callable[..., CodeLocation], time: Time, local_provider: LocalProvider, tmp_path: Path) -> Any:
    """Labels that are pre-computed every night, with their check, on a list of launches."""

    def make(text: str = LIST, *, valid_for: timedelta = timedelta(days=9)) -> Stage:
        listed = tmp_path / "launches.yaml"
        listed.write_text(text)
        partitions = launch_partitions(read_launches(listed))
        starters = labels("starters", contract=FreshnessContract(valid_for=valid_for), partitions_def=partitions)

        @dg.schedule(
            name="nightly", job=dg.define_asset_job("nightly_job", selection=["starters"]), cron_schedule="30 2 * * *"
        )
        def nightly(context: dg.ScheduleEvaluationContext, batch_api: dg.ResourceParam[BatchApi]) -> Any:
            yield from launches_due(context, starters, batch_api.planned_launches())

        here = code_location(
            starters,
            asset_checks=[fresh_to_the_end(starters)],
            schedules=[nightly],
            resources={"batch_api": OfflineProvider(local_provider.url).api(keep=True, launches=str(listed))},
        )
        return Stage(here, time, local_provider)

    return make


def landed(made: Stage) -> dict[str, int]:
    """How often each partition has landed, after what the daemon does of itself."""
    made.time.to(made.time.now + HOUR / 2)
    made.turn()
    found = made.here.instance.fetch_materializations(dg.AssetKey("starters"), limit=100).records
    return dict(Counter(str(each.partition_key) for each in found))


def checked(made: Stage) -> dg.AssetCheckEvaluation:
    """The check, evaluated now and alone."""
    key = dg.AssetCheckKey(dg.AssetKey("starters"), "fresh_to_the_end")
    job = made.here.repository.get_job("__ASSET_JOB").get_subset(asset_selection=set(), asset_check_selection={key})
    (found,) = job.execute_in_process(instance=made.here.instance).get_asset_check_evaluations()
    return found


def test_a_night_that_falls_into_another_launch_is_skipped_and_made_up_for_what_is_still_ahead(stage: Made) -> None:
    made = stage()
    made.after()
    assert len(made.schedule("nightly", NIGHT - DAY)) == 2
    assert landed(made) == {"fair": 1, "spring": 1}
    assert made.schedule("nightly", NIGHT) == []
    assert made.skipped == [
        ("nightly", "Skipped for the launch fair, until 2027-03-09 15:00 UTC. It is made up after that.")
    ]
    made.time.to(FAIR_ENDS)
    (request,) = made.after().run_requests or []
    assert request.partition_key == "spring", "there is nothing to be done for the fair any more"
    assert request.run_key == "nightly 2027-03-09T02:30:00+00:00 spring at 2027-03-09T02:30:00+00:00"
    assert landed(made) == {"fair": 1, "spring": 2}
    assert made.batches() == 2, "and it bought nothing"


def test_what_cannot_be_made_up_before_the_launch_is_not_made_up_after_it(stage: Made) -> None:
    made = stage()
    made.after()
    assert made.schedule("nightly", NIGHT) == []
    for moment in (SPRING + HOUR, ENDS, ENDS + HOUR):
        made.time.to(moment)
        assert not made.after().run_requests, moment
    assert made.batches() == 0


def test_what_was_bought_before_lasts_through_the_launch_that_holds_it_up(stage: Made) -> None:
    made = stage()
    made.schedule("nightly", NIGHT - DAY)
    assert made.here.evaluated("starters:fresh_to_the_end") == [], "a run that is parked has not looked yet"
    landed(made)
    assert [passed for _, passed in made.here.evaluated("starters:fresh_to_the_end")][-1]
    made.time.to(SPRING)
    found = checked(made)
    assert found.passed
    assert found.description == (
        "spring: 4 rows, effective until 2027-03-17 02:30 UTC or longer; it ends at 2027-03-09 22:00 UTC."
    )


def test_each_launch_that_needs_its_rows_is_told_of(stage: Made) -> None:
    made = stage()
    made.time.to(FAIR + HOUR)
    found = checked(made)
    assert not found.passed
    assert found.metadata["launches"].value == "fair, spring"
    assert found.description == (
        "fair: nothing of starters is pre-computed. It is open, so nothing is bought: materialise the partition fair "
        "with the run tag offpeak/during_launch: send. spring: nothing of starters is pre-computed. The next run is "
        "due at 2027-03-09 15:00 UTC; to be sooner, materialise the partition spring."
    )


def test_a_contract_that_no_night_can_keep_to_the_end_is_told_with_the_one_that_would(stage: Made) -> None:
    made = stage(LIST.replace("ends: 2027-03-09 22:00", "ends: 2027-03-12 22:00"), valid_for=49 * HOUR)
    made.schedule("nightly", NIGHT - DAY)
    landed(made)
    found = checked(made)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR), "no night mends it"
    assert str(found.description).endswith(
        "spring: Row T0 is effective until 2027-03-10 03:30 UTC, and the launch ends at 2027-03-12 22:00 UTC. The next "
        "run is due at 2027-03-09 15:00 UTC; to be sooner, materialise the partition spring. The contract is too short "
        "for this launch: what the last run before it, at 2027-03-09 15:00 UTC, looks at is effective for 49 h. Make "
        "it FreshnessContract(valid_for=timedelta(hours=79)) or longer."
    )


def test_a_launch_that_is_put_off_counts_at_once_and_a_new_one_once_definitions_are_loaded(
    stage: Made, tmp_path: Path
) -> None:
    made = stage()
    later = LIST.replace("2027-03-09 18", "2027-04-09 18").replace("2027-03-09 22", "2027-04-09 22")
    (tmp_path / "launches.yaml").write_text(later)
    (run,) = made.schedule("nightly", NIGHT - DAY)
    assert run.tags["dagster/partition"] == "fair"
    (tmp_path / "launches.yaml").write_text(LIST.replace("name: fair", "name: market"))
    assert [each.tags["dagster/partition"] for each in made.schedule("nightly", NIGHT - DAY)] == ["spring"]


@pytest.mark.parametrize("text", ["launches: []\n", LIST.replace("2027-", "2026-")])
def test_without_a_launch_or_with_past_ones_nothing_is_requested_and_the_check_passes(stage: Made, text: str) -> None:
    made = stage(text)
    assert made.schedule("nightly", NIGHT - DAY) == []
    found = checked(made)
    assert found.passed
    assert found.description == "No launch is in its quiet days, and none is planned after that."


def test_the_check_is_one_of_a_batch_asset_that_is_partitioned_by_launches() -> None:
    @dg.asset(partitions_def=launch_partitions(Launches()))
    def plain() -> None: ...

    with pytest.raises(DefinitionError, match=r"fresh_to_the_end: plain is no batch asset"):
        fresh_to_the_end(plain)
    with pytest.raises(DefinitionError, match=r"labels is not partitioned by launches.*launch_partitions"):
        fresh_to_the_end(labels())
