"""The YAML form makes the same asset as the decorator, and says what is wrong with its attributes."""

from datetime import time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest

from offpeak import BatchAsset, BatchAssetComponent, Budget, Chat, Embedding, NoticeKind, Sample
from offpeak.errors import DefinitionError, PlanError
from offpeak.ledger.lane import Lane

ATTRIBUTES: dict[str, Any] = {
    "key": "support/ticket_topics",
    "model_ref": "openai/gpt-5-mini",
    "source": "support_tickets",
    "key_column": "ticket_id",
    "prompt": "$subject: ${body} for $$5",
    "system": "Sort it.",
    "output_fields": {"topic": ["billing", "bug"], "reason": "text", "score": "number"},
    "waiting": "nobody",
    "deadline_hours": 12,
    "valid_for_hours": 37,
    "group_name": "support",
}
TICKETS = pd.DataFrame({"ticket_id": ["T-1"], "subject": ["Help"], "body": ["It crashes."]})


def built(**changes: Any) -> BatchAsset:
    component = BatchAssetComponent.resolve_from_dict({**ATTRIBUTES, **changes})
    (asset,) = component.build_defs(None).assets or ()  # type: ignore[arg-type]
    assert isinstance(asset, BatchAsset)
    return asset


def test_a_row_becomes_a_request() -> None:
    assert built().plan(TICKETS) == [Chat(key="T-1", system="Sort it.", prompt="Help: It crashes. for $5")]


def test_a_prefix_and_a_task_are_those_of_the_request() -> None:
    (asked,) = built(prefix="The rules.", task_column="subject").plan(TICKETS)
    assert asked == Chat(key="T-1", task="Help", prefix="The rules.", system="Sort it.", prompt=asked.prompt)  # type: ignore[union-attr]
    with pytest.raises(PlanError, match="support_tickets has no column owner"):
        built(task_column="owner").plan(TICKETS)


def test_a_text_can_be_embedded_instead() -> None:
    asset = built(ask="embedding", model_ref="openai/text-embedding-3-small", output_fields=None, system=None)
    assert asset.plan(TICKETS) == [Embedding(key="T-1", text="Help: It crashes. for $5")]


def test_the_asset_reads_the_source_and_keeps_its_place_in_the_ui() -> None:
    (spec,) = built(owners=["team:support"]).specs
    assert spec.key == dg.AssetKey(["support", "ticket_topics"])
    assert [dep.asset_key for dep in spec.deps] == [dg.AssetKey("support_tickets")]
    assert spec.group_name == "support"
    assert spec.owners == ["team:support"]


def test_fields_in_yaml_become_the_output_schema() -> None:
    output = built().declaration.output
    assert output is not None
    assert output.model_json_schema()["properties"]["topic"]["enum"] == ["billing", "bug"]
    assert output.model_validate({"topic": "bug", "reason": "", "score": 1}).model_dump()["score"] == 1.0


def test_a_warning_before_the_promise_ends_can_be_asked_for() -> None:
    contract = built(warn_after_hours=24).declaration.contract
    assert contract.warn_after == timedelta(hours=24)
    with pytest.raises(DefinitionError, match="warn_after="):
        built(warn_after_hours=40)


def test_a_source_that_is_a_batch_asset_is_tolerated_for_so_many_hours() -> None:
    (spec,) = built(tolerates_hours=38).specs
    (dep,) = spec.deps
    assert dep.metadata["offpeak/tolerance"]["max_staleness_seconds"] == 38 * 3600


def test_the_way_to_wait_is_the_decorators() -> None:
    assert built().declaration.wait == "park"
    assert built(wait="run").declaration.wait == "run"


def test_a_numeric_key_is_written_as_text() -> None:
    tickets = TICKETS.assign(ticket_id=[7])
    assert built().plan(tickets)[0].key == "7"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"output_model": "no.such.Model", "output_fields": None}, "cannot be imported"),
        ({"output_model": "datetime.datetime", "output_fields": None}, "is not a pydantic model"),
        ({"output_model": "a.B"}, "give output_model or output_fields, not both"),
        ({"output_fields": {"score": "decimal"}}, "output_fields.score is 'decimal'"),
        ({"prompt": "for $5"}, "prompt cannot be read. Write $column"),
        ({"model_ref": "gpt-5-mini"}, "does not name its provider"),
    ],
)
def test_attributes_that_cannot_work_are_refused_naming_the_asset(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        built(**changes)
    assert str(refused.value).startswith("support/ticket_topics: ")
    assert told in str(refused.value)


def test_a_column_that_the_source_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(PlanError, match=r"support_tickets has no column title.*ticket_id, subject, body"):
        built(prompt="$title").plan(TICKETS)


def test_a_sample_is_declared_as_the_decorator_has_it() -> None:
    assert built().declaration.sample is None
    assert built(sample_rows=20).declaration.sample == Sample(rows=20)
    declared = built(sample_rows=20, sample_max_failures=0.05).declaration.sample
    assert declared == Sample(rows=20, max_failures=0.05)
    with pytest.raises(DefinitionError, match=r"sample_max_failures=0\.05 goes with sample_rows"):
        built(sample_max_failures=0.05)
    with pytest.raises(DefinitionError, match="rows=0 is not a whole number"):
        built(sample_rows=0)


def test_who_is_told_is_declared_as_the_decorator_has_it() -> None:
    assert not built().declaration.notify
    assert built(notify=["ops"]).declaration.notify.of(NoticeKind.FAILED) == ("ops",)
    declared = built(notify=["support"], notify_on=["landed"]).declaration.notify
    assert (declared.of(NoticeKind.LANDED), declared.of(NoticeKind.FAILED)) == (("support",), ())
    with pytest.raises(DefinitionError, match=r"notify_on=\['landed'\] goes with notify"):
        built(notify_on=["landed"])
    with pytest.raises(DefinitionError, match="on='arrived' is nothing that can be told"):
        built(notify=["ops"], notify_on=["arrived"])


def test_a_deadline_may_be_a_time_of_day_and_a_lane_be_forced() -> None:
    declaration = built(deadline_hours=None, deadline="09:00 Europe/Berlin", lane="batch", volume=300).declaration

    assert declaration.workload.deadline == time(9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert (declaration.workload.volume, declaration.lane) == (300, Lane.BATCH)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"deadline_hours": None}, "give either deadline_hours"),
        ({"deadline": "09:00 Europe/Berlin"}, "give either deadline_hours"),
        ({"deadline_hours": None, "deadline": "nine"}, "deadline: 'nine' is no time of day"),
    ],
)
def test_a_deadline_that_is_missing_double_or_unreadable_is_refused_naming_the_asset(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(DefinitionError, match=rf"^support/ticket_topics: {said}"):
        built(**changes)


def test_a_budget_is_the_decorators() -> None:
    assert built().declaration.budget is None
    given = built(budget_job="0.10", budget_day=5, budget_pay_twice="1", over_budget="refuse").declaration.budget
    assert given == Budget(job=Decimal("0.10"), day=Decimal(5), pay_twice=Decimal(1), over="refuse")
    with pytest.raises(DefinitionError, match="it names no amount"):
        built(over_budget="refuse")
    with pytest.raises(DefinitionError, match="support/ticket_topics: budget: day='much' is no amount"):
        built(budget_day="much")
