"""The project's own definitions: they load, and every asset says what it is and who owns it."""

import re

import dagster as dg
import pytest

from resources.batch_api import batch_api

from ..conftest import ROOT


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    from definitions import defs

    return defs


def test_the_definitions_load(defs: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(defs)


def test_every_asset_has_a_description_an_owner_a_group_and_kinds(defs: dg.Definitions) -> None:
    bare = [
        spec.key.to_user_string()
        for spec in defs.resolve_all_asset_specs()
        if not (spec.description and spec.owners and spec.group_name and spec.kinds)
    ]
    assert bare == []


def test_what_is_made_of_other_assets_says_which_code_made_it(defs: dg.Definitions) -> None:
    """Without a code_version Dagster takes every materialization for new data, and wakes what stands below."""
    own_version = {"document_chunks"}  # of the keys, whatever was observed of the documents
    specs = [spec for spec in defs.resolve_all_asset_specs() if spec.deps]
    assert {spec.key.to_user_string() for spec in specs if not spec.code_version} == own_version


NIGHTLY = {
    "ticket_labels",
    "support_dashboard",
    "document_chunks",
    "document_embeddings",
    "embedding_neighbours",
    "document_section_summaries",
    "document_summaries",
    "label_quality",
    "record_fields",
    "image_alt_text",
    "log_events",
}


@pytest.mark.parametrize(
    ("name", "time_zone", "selected"),
    [
        ("nightly", "UTC", NIGHTLY),
        ("nightly_translations", "UTC", {"document_translations"}),
        ("weekly", "Europe/Berlin", {"weekly_digests", "digest_outbox"}),
        ("before_nine", "Europe/Amsterdam", {"moderation_flags", "moderation_queue"}),
        (
            "weekly_evals",
            "UTC",
            {
                "eval_outputs",
                "candidate_outputs",
                "eval_grades",
                "eval_comparisons",
                "eval_calibration",
                "prompt_regression",
            },
        ),
        ("follow_ups", "UTC", {"follow_up_results"}),
        ("weekly_drift", "UTC", {"embedding_drift"}),
        ("quarterly_review", "UTC", {"embedding_baseline", "workload_audit"}),
        ("hourly", "UTC", {"batch_operations"}),
        ("weekly_spend", "UTC", {"spend_report"}),
        ("launch_plans", "UTC", {"launch_capacity", "launch_coverage", "launch_report"}),
        (
            "launch_precompute",
            "UTC",
            {"launch_starters", "launch_examples", "launch_catalog_summaries", "launch_embeddings"},
        ),
        ("launch_watch", "UTC", set()),  # its checks alone
    ],
)
def test_a_schedule_materialises_its_assets_in_a_named_time_zone(
    defs: dg.Definitions, name: str, time_zone: str, selected: set[str]
) -> None:
    schedule = defs.resolve_schedule_def(name)
    assert schedule.execution_timezone == time_zone
    job = defs.resolve_job_def(schedule.job_name)
    assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == selected


def test_the_local_provider_is_only_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFPEAK_PROVIDER", "local")
    monkeypatch.setenv("OFFPEAK_LOCAL_URL", "http://127.0.0.1:9000/")
    local = batch_api()
    assert (local.openai_base_url, local.anthropic_base_url) == ("http://127.0.0.1:9000/v1", "http://127.0.0.1:9000")
    monkeypatch.setenv("OFFPEAK_PROVIDER", "live")
    assert (batch_api().openai_base_url, batch_api().anthropic_api_key) == (None, None)


def test_a_provider_that_is_neither_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFPEAK_PROVIDER", "remote")
    with pytest.raises(Exception, match="OFFPEAK_PROVIDER is 'remote': it is either local or live"):
        batch_api()


def test_every_family_reads_in_under_150_lines() -> None:
    longest = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "ai_assets").glob("*.py")}
    assert {name: lines for name, lines in longest.items() if lines >= 150} == {}


def test_every_batch_asset_is_planned_in_a_unit_test_as_a_user_would(defs: dg.Definitions) -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "unit" / "ai_assets").glob("*.py"))
    bought = [spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if "offpeak" in spec.kinds]
    assert len(bought) > 10
    assert [name for name in bought if not re.search(rf"\b{name}\.plan\(", tests)] == []
