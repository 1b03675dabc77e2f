"""A batch asset from its inputs to its consumer, in one process against the offline provider."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import dagster as dg
import pandas as pd
import pytest
from pydantic import BaseModel

from offpeak import Chat, FreshnessContract, PlanContext, Waiting, Workload, batch_asset, tolerates
from offpeak.errors import ConfigurationError, DefinitionError

NIGHTLY = Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=12))
CONTRACT = FreshnessContract(valid_for=timedelta(hours=37))
TICKETS = pd.DataFrame({"ticket_id": ["T-1", "T-2"], "body": ["Refund my invoice.", "The app crashes."]})


class Label(BaseModel):
    category: Literal["billing", "bug"]


@dg.asset
def support_tickets() -> pd.DataFrame:
    return TICKETS


@batch_asset(model="openai/gpt-5-mini", output=Label, workload=NIGHTLY, lane="batch", contract=CONTRACT)
def ticket_labels(support_tickets: pd.DataFrame) -> Iterator[Chat]:
    """Category of every ticket."""
    ticket: Any
    for ticket in support_tickets.itertuples():
        yield Chat(key=ticket.ticket_id, system="Sort it.", prompt=ticket.body)


@dg.asset(ins={"ticket_labels": tolerates(timedelta(hours=38))})
def dashboard(ticket_labels: pd.DataFrame) -> pd.DataFrame:
    return ticket_labels


def test_the_whole_lifecycle_runs_in_dg_materialize(resources: dict[str, Any], provider: Any) -> None:
    before = datetime.now(UTC)
    result = dg.materialize([support_tickets, ticket_labels, dashboard], resources=resources)
    frame = result.output_for_node("dashboard")
    assert list(frame.columns) == [
        "key",
        "category",
        "as_of",
        "produced_at",
        "effective_until",
        "model",
        "cost_usd",
        "rescued",
    ]
    assert list(frame["key"]) == ["T-1", "T-2"]
    assert set(frame["category"]) <= {"billing", "bug"}
    assert (frame["as_of"] >= before).all()
    assert (frame["effective_until"] == frame["as_of"] + timedelta(hours=37)).all()
    assert provider.batches() == 1


def test_a_materialization_tells_figures_as_numbers_and_times_as_timestamps(project: Any) -> None:
    landed = project(support_tickets, ticket_labels).landed("support_tickets", "ticket_labels")
    metadata = landed["ticket_labels", None].metadata
    counts = {"rows": 2, "bought": 2, "joined": 0, "reused": 0, "failed": 0, "missing": 0, "removed": 0}
    assert {name: metadata[name] for name in counts} == counts
    assert metadata["input_tokens"] > 0
    assert metadata["output_tokens"] > 0
    assert metadata["cached_tokens"] == 0
    assert 0 < metadata["cost_usd"] == pytest.approx(metadata["saved_usd"])
    assert metadata["realtime_cost_usd"] == pytest.approx(2 * metadata["cost_usd"])
    assert metadata["effective_until"] - metadata["as_of"] == pytest.approx(37 * 3600)
    assert metadata["produced_at"] >= int(metadata["as_of"])
    assert metadata["batch_ids"].startswith("batch_")
    assert "| T-1 |" in metadata["preview"]


def test_an_unchanged_night_buys_nothing_and_keeps_the_data_version(project: Any, provider: Any) -> None:
    made = project(support_tickets, ticket_labels)
    first = made.landed("support_tickets", "ticket_labels")["ticket_labels", None]
    second = made.landed("support_tickets", "ticket_labels")["ticket_labels", None]
    assert (second.metadata["bought"], second.metadata["reused"]) == (0, 2)
    assert second.data_version == first.data_version
    assert second.metadata["as_of"] > first.metadata["as_of"]
    assert provider.batches() == 1


def test_rows_are_as_old_as_the_input_was_when_it_was_materialised(project: Any, instance: dg.DagsterInstance) -> None:
    made = project(support_tickets, ticket_labels)
    made.run("support_tickets")
    materialised = instance.get_latest_materialization_event(dg.AssetKey("support_tickets"))
    assert materialised is not None
    landed = made.landed("ticket_labels")["ticket_labels", None]
    assert landed.metadata["as_of"] == pytest.approx(materialised.timestamp, abs=1e-3)


def test_a_batch_asset_is_no_younger_than_the_batch_asset_it_reads(project: Any) -> None:
    @batch_asset(
        model="openai/gpt-5-mini",
        workload=NIGHTLY,
        lane="batch",
        contract=CONTRACT,
        ins={"ticket_labels": tolerates(timedelta(hours=38))},
    )
    def summaries(ticket_labels: pd.DataFrame) -> Iterator[Chat]:
        row: Any
        for row in ticket_labels.itertuples():
            yield Chat(key=row.key, prompt=f"Why {row.category}?")

    landed = project(support_tickets, ticket_labels, summaries).landed("support_tickets", "ticket_labels", "summaries")
    assert landed["summaries", None].metadata["as_of"] == landed["ticket_labels", None].metadata["as_of"]
    assert landed["summaries", None].metadata["rows"] == 2


def test_the_function_is_told_the_runs_tags(project: Any) -> None:
    @batch_asset(model="openai/gpt-5-mini", workload=NIGHTLY, lane="batch", contract=CONTRACT)
    def asked(context: PlanContext) -> Iterator[Chat]:
        context.log.info("planning")
        yield Chat(key=context.run_tags["team"], prompt="?")

    made = project(asked)
    made.run("asked", team="support")
    assert list(made.defs.load_asset_value("asked", instance=made.instance)["key"]) == ["support"]


def test_a_row_stream_is_asked_of_the_io_manager_by_its_annotation(project: Any) -> None:
    class Rows(dg.IOManager):
        def handle_output(self, context: dg.OutputContext, obj: object) -> None: ...

        def load_input(self, context: dg.InputContext) -> Iterator[str]:
            assert context.dagster_type.typing_type == Iterator[str]
            return iter(["a", "b"])

    @batch_asset(model="openai/gpt-5-mini", workload=NIGHTLY, lane="batch", contract=CONTRACT)
    def asked(rows: Iterator[str]) -> Iterator[Chat]:
        for row in rows:
            yield Chat(key=row, prompt=row)

    rows = dg.AssetSpec("rows").with_io_manager_key("rows_io")
    landed = project(rows, asked, resources={"rows_io": Rows()}).landed("asked")
    assert landed["asked", None].metadata["rows"] == 2


def test_checks_that_the_function_yields_are_reported(project: Any) -> None:
    @batch_asset(
        model="openai/gpt-5-mini",
        workload=NIGHTLY,
        lane="batch",
        contract=CONTRACT,
        check_specs=[dg.AssetCheckSpec("has_input", asset="asked")],
    )
    def asked() -> Iterator[Any]:
        yield dg.AssetCheckResult(check_name="has_input", passed=False)
        yield Chat(key="a", prompt="?")

    checks = project(asked).run("asked").get_asset_check_evaluations()
    assert {check.check_name: check.passed for check in checks} == {
        "has_input": False,
        "usable_answers": True,
        "fresh": True,
    }


def test_a_check_of_its_own_reads_the_rows_without_a_tolerance(project: Any) -> None:
    @dg.asset_check(asset=ticket_labels)
    def all_labelled(ticket_labels: pd.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=len(ticket_labels) == 2)

    made = project(support_tickets, ticket_labels, asset_checks=[all_labelled])
    checks = made.run("support_tickets", "ticket_labels").get_asset_check_evaluations()
    assert {check.check_name: check.passed for check in checks} == {
        "all_labelled": True,
        "usable_answers": True,
        "fresh": True,
    }


def test_rows_without_a_usable_answer_make_the_check_of_every_batch_asset_warn(project: Any, provider: Any) -> None:
    provider.fault("unusable_lines", share=0.5, how="refused")
    made = project(support_tickets, ticket_labels)
    checks = made.run("support_tickets", "ticket_labels").get_asset_check_evaluations()
    (check,) = [each for each in checks if each.check_name == "usable_answers"]

    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "1 of 2 rows have no usable answer of their own" in (check.description or "")
    assert check.metadata["failed"].value == 1


def test_a_missing_key_is_told_before_any_input_is_read(
    resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from offpeak import BatchApi

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="^ticket_labels: no API key for openai"):  # noqa: RUF043
        dg.materialize([ticket_labels], resources={**resources, "batch_api": BatchApi()})


def test_a_way_to_wait_that_there_is_not_is_refused_with_the_ways_there_are(project: Any, provider: Any) -> None:
    with pytest.raises(DefinitionError, match=r"offpeak/wait='sleep' is not a way to wait.*'park' or 'run'"):
        project(support_tickets, ticket_labels).run("support_tickets", "ticket_labels", offpeak__wait="sleep")
    assert provider.batches() == 0


def test_a_prompt_that_changed_unmeant_is_held_until_a_run_approves_it(project: Any, provider: Any) -> None:
    from offpeak.errors import SurgeHeld

    def labels_asked(system: str) -> Any:
        def labels(support_tickets: pd.DataFrame) -> Iterator[Chat]:
            ticket: Any
            for ticket in support_tickets.itertuples():
                yield Chat(key=ticket.ticket_id, system=system, prompt=ticket.body)

        return batch_asset(model="openai/gpt-5-mini", output=Label, workload=NIGHTLY, lane="batch", contract=CONTRACT)(
            labels
        )

    project(support_tickets, labels_asked("Sort it.")).run("support_tickets", "labels")
    changed = project(support_tickets, labels_asked("Sort it, please."))
    with pytest.raises(SurgeHeld):
        changed.run("labels")
    assert provider.batches() == 1
    assert changed.landed("labels", offpeak__approve="true")["labels", None].metadata["bought"] == 2
    assert provider.batches() == 2
