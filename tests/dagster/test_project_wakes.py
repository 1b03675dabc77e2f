"""The project's own definitions: a change of one table wakes exactly what lies below it."""

import dagster as dg
import pytest

from .automation import Daemon

BELOW = {
    "support_tickets": {"ticket_labels", "support_dashboard", "label_quality"},
    "documents": {
        "document_chunks",
        "document_embeddings",
        "embedding_neighbours",
        "document_section_summaries",
        "document_summaries",
        "document_translations",
    },
    "submissions": {"moderation_flags", "moderation_queue"},
    "supplier_notes": {"record_fields"},
    "pictures": {"image_alt_text"},
    "log_lines": {"log_events"},
    "eval_cases": {
        "eval_outputs",
        "candidate_outputs",
        "eval_grades",
        "eval_comparisons",
        "eval_calibration",
        "prompt_regression",
    },
    "follow_up_requests": {"follow_up_results"},
    "package_descriptions": {"package_labels", "package_label_quality"},
    "product_events": set[str](),  # a week is bought when it is over, by its schedule
    "archived_tickets": set[str](),  # and a month of the archive by a backfill
    "catalog_items": set[str](),  # for a launch all is bought in its quiet days, by their schedule
    "launch_prompts": set[str](),
    "launch_traffic": set[str](),  # what a rehearsal reads
}


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    from definitions import defs

    return defs


def test_a_change_of_a_table_wakes_exactly_what_lies_below_it(defs: dg.Definitions) -> None:
    sources = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if spec.group_name == "sources"}
    assert set(BELOW) == sources
    with dg.DagsterInstance.ephemeral() as instance:

        def see(table: str, version: str) -> None:
            observed = dg.AssetObservation(table, tags={"dagster/data_version": version})
            instance.report_runless_asset_event(observed)

        for spec in defs.resolve_all_asset_specs():
            if spec.group_name == "sources":
                see(spec.key.to_user_string(), "1")
                continue
            partitions = spec.partitions_def.get_partition_keys() if spec.partitions_def else [None]
            for partition in partitions[-3:]:
                instance.report_runless_asset_event(dg.AssetMaterialization(spec.key, partition=partition))
        daemon = Daemon(defs, instance)
        assert daemon.tick() == set()
        for table, below in BELOW.items():
            see(table, "1")
            assert daemon.tick() == set(), f"{table} is as it was"
            see(table, "2")
            assert daemon.tick() == below, table
            assert daemon.tick() == set(), f"{table} has woken them already"
