"""What is pre-computed for launches: bought once, in the quiet days, and fresh until the launch is over."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from ai_assets import sources
from ai_assets.launches import launch_catalog_summaries, launch_embeddings, launch_examples, launch_starters
from offpeak.launches.traffic import read_traffic
from resources import sample_data
from resources.sources import SourceTables
from schedules.launch_precompute import launch_checks, launch_precompute, launch_watch

from ..conftest import ROOT, LocalProvider
from .conftest import OfflineProvider, Project, age
from .held_launch import Time, holding

ROWS = {"launch_starters": 24, "launch_examples": 20, "launch_catalog_summaries": 60, "launch_embeddings": 60}
FAMILY = tuple(ROWS)
SPRING = "spring_release"
FIRST_NIGHT, LAST_NIGHT = datetime(2027, 3, 3, 2, 30, tzinfo=UTC), datetime(2027, 3, 9, 2, 30, tzinfo=UTC)
STARTS, ENDS = datetime(2027, 3, 9, 8, tzinfo=UTC), datetime(2027, 3, 9, 20, tzinfo=UTC)
NOBODY = "No launch is in its quiet days, and none is planned after that."
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@dataclass
class Launching:
    """The family with its checks and schedules, over a copy of its tables, at a moment of one's choice."""

    project: Project
    provider: LocalProvider
    tables: Path
    time: Time

    def bought(self, *assets: str) -> dict[str, int]:
        landed = self.project.landed(*(assets or FAMILY), partition=SPRING)
        return {asset: each.metadata["bought"] for (asset, _), each in landed.items()}

    def rows(self, asset: str) -> pd.DataFrame:
        defs, instance = self.project.defs, self.project.instance
        frame: pd.DataFrame = defs.load_asset_value(asset, partition_key=SPRING, instance=instance)
        return frame.set_index("key")

    def edit(self, table: str, old: str, new: str) -> None:
        file = self.tables / f"{table}.csv"
        assert file.read_text().count(old) == 1
        file.write_text(file.read_text().replace(old, new))

    def look(self) -> dict[str, Any]:
        """The checks alone, by asset, as the schedule `launch_watch` runs them."""
        result = self.project.defs.resolve_job_def("launch_look").execute_in_process(instance=self.project.instance)
        return {each.asset_key.to_user_string(): each for each in result.get_asset_check_evaluations()}

    def tick(self, schedule: str, at: datetime) -> Any:
        self.time.to(at)
        made = self.project.defs.resolve_schedule_def(schedule)
        api = (self.project.defs.resources or {})["batch_api"]
        with dg.build_schedule_context(
            instance=self.project.instance,
            scheduled_execution_time=at,
            resources={"batch_api": api},
            repository_def=self.project.defs.get_repository_def(),
        ) as context:
            return made.evaluate_tick(context)


@pytest.fixture
def launching(
    project: Any, provider: OfflineProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Launching]:
    for table in ("catalog_items", "launch_prompts"):
        shutil.copy(sample_data.FOLDER / f"{table}.csv", tmp_path)
    made = project(
        *(sources.catalog_items, sources.launch_prompts),
        *(launch_starters, launch_examples, launch_catalog_summaries, launch_embeddings),
        asset_checks=launch_checks,
        schedules=[launch_precompute, launch_watch],
        resources={
            "source_tables": SourceTables(url=f"folder:{tmp_path}"),
            "batch_api": provider.api(launches=str(ROOT / "launches.yaml"), keep=True),
        },
    )
    seller = LocalProvider(provider.url)
    with holding(seller, FIRST_NIGHT, monkeypatch) as time:
        yield Launching(made, seller, tmp_path, time)


def test_every_row_is_bought_on_batch_and_is_something_that_a_visitor_can_use(launching: Launching) -> None:
    assert launching.bought() == ROWS
    assert len(launching.provider.batches()) == len(FAMILY)
    assert launching.provider.tally("openai")["realtime_answers"] == 0
    starter = launching.rows("launch_starters").loc["S-01"]
    assert starter["headline"] == "A poster invites people to a trial class"
    assert "The class is on Saturday at ten and costs nothing." in starter["body"]
    example = launching.rows("launch_examples").loc["E-01"]
    assert "Clay House in Leeds had four guests in each trial class." in example["lesson"]
    assert 1 <= len(example["steps"]) <= 3
    item = launching.rows("launch_catalog_summaries").loc["I-001"]
    told = [item["summary"], *item["good_for"]]
    assert "A tall poster for an evening event, with a glowing kiln at its foot and room for three lines." in told
    for asset in FAMILY[:3]:
        assert launching.rows(asset).drop(columns="rescued").map(bool).all(axis=None), asset


def test_a_search_finds_the_item_that_was_meant(launching: Launching) -> None:
    launching.bought("launch_embeddings")
    frame = launching.rows("launch_embeddings")
    vectors = np.stack(list(frame["embedding"]))
    likeness = pd.Series(vectors @ vectors[list(frame.index).index("I-042")], index=frame.index)
    assert frame.index.str.startswith("I-").all()
    assert likeness.drop("I-042").idxmax() in {f"I-{number:03d}" for number in range(41, 47)}, "another font"


def test_a_second_night_buys_nothing_and_makes_the_rows_a_day_younger(launching: Launching) -> None:
    launching.bought()
    launching.time.to(FIRST_NIGHT + DAY)
    assert launching.bought() == dict.fromkeys(FAMILY, 0)
    for asset in FAMILY:
        assert (launching.rows(asset)["as_of"] == FIRST_NIGHT + DAY).all(), asset


def test_a_changed_item_is_one_summary_and_one_vector_and_a_changed_price_nothing(launching: Launching) -> None:
    launching.bought()
    launching.edit("catalog_items", "It prints on A3 and A2 without a change.", "It prints on A2 alone.")
    assert launching.bought() == {**dict.fromkeys(FAMILY, 0), "launch_catalog_summaries": 1, "launch_embeddings": 1}
    launching.edit("catalog_items", 'It prints on A2 alone.",9.00', 'It prints on A2 alone.",11.00')
    assert launching.bought() == dict.fromkeys(FAMILY, 0)


def test_a_changed_starter_is_one_answer_and_no_example(launching: Launching) -> None:
    launching.bought("launch_starters", "launch_examples")
    launching.edit("launch_prompts", "Twelve people can take part.", "Ten people can take part.")
    assert launching.bought("launch_starters", "launch_examples") == {"launch_starters": 1, "launch_examples": 0}


def test_what_is_bought_in_the_first_night_lasts_to_the_end_of_the_launch(launching: Launching) -> None:
    launching.bought()
    for moment in (FIRST_NIGHT, LAST_NIGHT, STARTS, ENDS - MINUTE):
        launching.time.to(moment)
        found = launching.look()
        assert set(found) == set(FAMILY)
        assert all(each.passed for each in found.values()), moment
    figures = {name: each.value for name, each in found["launch_starters"].metadata.items()}
    assert (figures["launches"], figures["rows"], figures["missing"]) == (SPRING, 24, 0)
    assert figures["first_to_get_stale"] == "S-01"
    assert ENDS.timestamp() < figures["gets_stale_at"] < (FIRST_NIGHT + 9 * DAY + MINUTE).timestamp()


def test_before_anything_is_there_the_check_warns_and_says_when_the_next_run_is_due(launching: Launching) -> None:
    launching.time.to(STARTS - 7 * DAY)
    found = launching.look()["launch_starters"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == (
        "spring_release: nothing of launch_starters is pre-computed. The next run is due at 2027-03-03 02:30 UTC; to "
        "be sooner, materialise the partition spring_release."
    )


def test_it_is_an_error_once_the_first_night_is_due_to_have_landed(launching: Launching) -> None:
    for moment, severity in (
        (FIRST_NIGHT + DAY - MINUTE, dg.AssetCheckSeverity.WARN),
        (FIRST_NIGHT + DAY, dg.AssetCheckSeverity.ERROR),
        (STARTS + MINUTE, dg.AssetCheckSeverity.ERROR),
    ):
        launching.time.to(moment)
        found = launching.look()["launch_starters"]
        assert (found.passed, found.severity) == (False, severity), moment


def test_in_the_last_night_it_says_that_nothing_is_scheduled_any_more(launching: Launching) -> None:
    launching.time.to(LAST_NIGHT + MINUTE)
    said = str(launching.look()["launch_starters"].description)
    assert "No run is scheduled before it starts at 2027-03-09 08:00 UTC: materialise the partition" in said


def test_a_launch_whose_quiet_days_lie_ahead_or_that_is_over_is_not_looked_at(launching: Launching) -> None:
    launching.time.to(STARTS - 7 * DAY - MINUTE)
    found = launching.look()["launch_starters"]
    assert found.passed
    assert found.description == (
        "No launch is in its quiet days. Those of spring_release begin at 2027-03-02 08:00 UTC."
    )
    launching.time.to(ENDS)
    found = launching.look()["launch_starters"]
    assert (found.passed, found.description) == (True, NOBODY)


def test_a_row_that_gets_stale_before_the_end_fails_and_a_night_without_a_purchase_mends_it(
    launching: Launching, resources: dict[str, Any]
) -> None:
    launching.bought()
    age(resources, "launch_starters", 5 * DAY)
    launching.time.to(FIRST_NIGHT + DAY - MINUTE)
    found = launching.look()
    assert {asset for asset, each in found.items() if not each.passed} == {"launch_starters"}
    assert found["launch_starters"].description == (
        "spring_release: Row S-01 is effective until 2027-03-07 02:30 UTC, and the launch ends at 2027-03-09 20:00 "
        "UTC. The next run is due at 2027-03-04 02:30 UTC; to be sooner, materialise the partition spring_release."
    )
    launching.time.to(FIRST_NIGHT + DAY)
    assert launching.bought() == dict.fromkeys(FAMILY, 0)
    assert launching.look()["launch_starters"].passed


def test_a_row_without_an_answer_is_named_with_the_reason_and_counted(launching: Launching) -> None:
    launching.provider.fault("error_lines", share=0.5, code="invalid_request")
    launching.bought("launch_starters")
    launching.provider.call("DELETE", "/local/faults")
    launching.time.to(STARTS + MINUTE)
    found = launching.look()["launch_starters"]
    missing = found.metadata["missing"].value
    assert not found.passed
    assert 5 < missing < 24
    assert f"{missing} of 24 rows have no answer: S-" in str(found.description)
    assert f"(dead letter, invalid_request_error); and {missing - 5} more." in str(found.description)
    assert "materialise the partition spring_release with the run tag offpeak/during_launch: send" in str(
        found.description
    )


def test_the_check_fresh_counts_a_launch_while_it_needs_its_rows(launching: Launching, sensor_of: Any) -> None:
    launching.bought()
    sensor = sensor_of(launching.project)
    sensor.tick(FIRST_NIGHT)
    told = sensor.tick(ENDS + 30 * DAY)
    assert {(passed, why) for _, passed, why in told} == {(True, NOBODY)}, "they are stale, and nobody waits for them"


def test_every_night_of_the_quiet_days_requests_the_launch_and_no_other_night_does(launching: Launching) -> None:
    nights = [FIRST_NIGHT + number * DAY for number in range(-2, 9)]
    requested = [night for night in nights if launching.tick("launch_precompute", night).run_requests]
    assert requested == [FIRST_NIGHT + number * DAY for number in range(7)]
    (request,) = launching.tick("launch_precompute", LAST_NIGHT).run_requests
    assert (request.partition_key, request.run_key) == (SPRING, "spring_release at 2027-03-09T02:30:00+00:00")
    assert "begin at 2027-03-02 08:00 UTC" in launching.tick("launch_precompute", FIRST_NIGHT - DAY).skip_message


def test_a_look_is_taken_from_the_first_quiet_day_to_the_end(launching: Launching) -> None:
    looked = [
        moment
        for moment in (STARTS - 7 * DAY - MINUTE, STARTS - 7 * DAY, STARTS, ENDS - MINUTE, ENDS)
        if launching.tick("launch_watch", moment).run_requests
    ]
    assert looked == [STARTS - 7 * DAY, STARTS, ENDS - MINUTE]


def test_about_three_in_ten_requests_of_past_traffic_are_for_what_nobody_precomputes(launching: Launching) -> None:
    launching.bought()
    traffic = read_traffic(SourceTables(url=f"folder:{sample_data.FOLDER}").source().open)
    there = {(asset, key) for asset in FAMILY for key in launching.rows(asset).index}
    weights = dict(zip(traffic.rows, np.diff(traffic.up_to, prepend=0), strict=True))
    hits = sum(weight for row, weight in weights.items() if row in there)
    assert 0.68 < hits / sum(weights.values()) < 0.72
    assert there <= set(weights), "each row was asked for"
