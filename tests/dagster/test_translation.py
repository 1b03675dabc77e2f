"""The translations of the project, landed through Dagster from documents that the test writes."""

from pathlib import Path
from typing import Any

import pytest

from ai_assets.sources import documents
from ai_assets.translation import document_translations

from .source_tables import bought, reading, write_table

DOCUMENTS = [
    {"document_id": f"D-{n}", "title": "Your class", "body": f"You book {n} seats.\n\n- the waiting list\n- the desk"}
    for n in range(1, 7)
]
ALL = ("de", "ja")


@pytest.fixture
def translating(project: Any, tmp_path: Path) -> Any:
    write_table(tmp_path, "documents", DOCUMENTS)
    return project(documents, document_translations, resources=reading(tmp_path))


def frame(made: Any, language: str) -> Any:
    loaded = made.defs.load_asset_value("document_translations", partition_key=language, instance=made.instance)
    return loaded.set_index("key")


def test_all_languages_are_one_batch_and_each_is_in_its_own(translating: Any, provider: Any) -> None:
    assert bought(translating, "document_translations", partitions=ALL) == {"document_translations": 24}
    assert provider.batches() == 1
    expected = {
        "de": "# Ihr Kurs\n\nSie ",
        "fr": "# Votre cours\n\nVous ",
        "es": "# Su clase\n\n",
        "ja": "# あなたの クラス",
    }
    for language, beginning in expected.items():
        text = frame(translating, language).text["D-3"]
        assert text.startswith(beginning)
        assert len(text.splitlines()) == 6


def test_again_nothing_is_bought_and_an_edited_document_once_a_language(translating: Any, tmp_path: Path) -> None:
    bought(translating, "document_translations", partitions=ALL)
    assert bought(translating, "document_translations", partitions=ALL) == {"document_translations": 0}
    write_table(tmp_path, "documents", [{**DOCUMENTS[0], "body": "The class is full."}, *DOCUMENTS[1:]])
    assert bought(translating, "document_translations", partitions=ALL) == {"document_translations": 4}
    assert frame(translating, "fr").text["D-1"] == "# Votre cours\n\nLe cours est full."


def test_a_document_that_is_gone_is_gone_in_the_language_that_is_refreshed(translating: Any, tmp_path: Path) -> None:
    bought(translating, "document_translations", partitions=ALL)
    write_table(tmp_path, "documents", DOCUMENTS[1:])
    assert bought(translating, "document_translations", partition="de") == {"document_translations": 0}
    assert "D-1" not in frame(translating, "de").index
    assert "D-1" in frame(translating, "fr").index
