"""What is asked of a document in each language."""

import importlib
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from ai_assets.translation import LANGUAGES, TRANSLATE, document_translations
from offpeak import Chat, PlanContext

DOCUMENTS = pd.DataFrame({"document_id": ["D-1"], "title": ["Refunds"], "body": ["Within *14* days.\n\n- by card"]})

NIGHT = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)
"""Of no launch."""


def planned(language: str) -> Chat:
    (request,) = document_translations.plan(DOCUMENTS, context=PlanContext(partition_key=language))
    assert isinstance(request, Chat)
    return request


def test_a_document_is_sent_whole_with_its_title_as_a_heading() -> None:
    assert planned("fr") == Chat(
        key="D-1",
        system=TRANSLATE.format(language="French"),
        prompt="# Refunds\n\nWithin *14* days.\n\n- by card",
        max_tokens=8_000,
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_partition_asks_for_its_own_language_and_names_no_other(language: str) -> None:
    system = str(planned(language).system)
    assert [name for name in LANGUAGES.values() if name in system] == [LANGUAGES[language]]
    assert "{" not in system


def test_every_night_all_languages_are_one_run() -> None:
    schedule: Any = importlib.import_module("definitions").defs.resolve_schedule_def("nightly_translations")
    with dg.build_schedule_context(scheduled_execution_time=NIGHT) as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    assert document_translations.partitions_def is not None
    asked = document_translations.partitions_def.get_partition_keys_in_range(
        dg.PartitionKeyRange(
            request.tags["dagster/asset_partition_range_start"], request.tags["dagster/asset_partition_range_end"]
        )
    )
    assert list(asked) == list(LANGUAGES)
