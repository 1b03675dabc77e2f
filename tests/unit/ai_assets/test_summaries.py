"""What is asked about documents: short ones at once, long ones by their sections first."""

from datetime import timedelta

import pandas as pd
import pytest

from ai_assets.summaries import LONG, SECTION, SUMMARY, document_section_summaries, document_summaries, sections
from offpeak import Chat

SHORT = "Refunds are paid within 14 days."
PARAGRAPH = "The water is measured at five in the morning. " * 40
LONG_TEXT = f"Before.\n\n## Monday\n\n{PARAGRAPH}\n\n## Tuesday\n\n{PARAGRAPH}\n\n{PARAGRAPH}"


def documents(**bodies: str) -> pd.DataFrame:
    rows = [(name, name.title(), body) for name, body in bodies.items()]
    return pd.DataFrame(rows, columns=["document_id", "title", "body"])


def said(document: pd.DataFrame, *texts: str | None) -> pd.DataFrame:
    """What came of the sections, in an order of its own; nothing came of a None."""
    keys = [key for each in document.itertuples() for key in sections(each)]
    rows = [(key, text) for key, text in zip(keys, texts, strict=True) if text is not None]
    return pd.DataFrame(sorted(rows), columns=["key", "text"])


def test_only_sections_of_long_documents_are_asked_about() -> None:
    requests = document_section_summaries.plan(documents(refunds=SHORT, baths=LONG_TEXT))
    assert len(requests) == 3
    assert all(each.key.startswith("baths/") for each in requests)
    first = Chat(key=requests[0].key, task="baths", system=SECTION, prompt="Baths\n\nBefore.", max_tokens=300)
    assert requests[0] == first


def test_a_short_document_is_summed_up_from_its_text() -> None:
    short = documents(refunds=SHORT)
    assert document_summaries.plan(short, said(short)) == [
        Chat(key="refunds", task="refunds", system=SUMMARY, prompt=f"Refunds\n\n{SHORT}", max_tokens=500)
    ]


def test_a_long_document_is_summed_up_from_what_was_said_of_its_sections_in_their_order() -> None:
    long = documents(baths=LONG_TEXT)
    (request,) = document_summaries.plan(long, said(long, "An introduction.", "Warm.", "Cold."))
    assert isinstance(request, Chat)
    assert request.prompt == "Baths\n\nAn introduction.\n\nWarm.\n\nCold."


def test_a_section_without_a_summary_is_not_passed_over_in_silence() -> None:
    long = documents(baths=LONG_TEXT)
    (request,) = document_summaries.plan(long, said(long, "An introduction.", None, "Cold."))
    assert isinstance(request, Chat)
    assert request.prompt == "Baths\n\nAn introduction.\n\n(This section could not be summed up.)\n\nCold."


def cut(text: str) -> list[str]:
    (document,) = documents(baths=text).itertuples()
    return list(sections(document).values())


def test_sections_hold_the_whole_text_and_none_is_long() -> None:
    text = LONG_TEXT + "\n\n## Wednesday\n\n" + "\n\n".join(f"{number}. {PARAGRAPH}" for number in range(5))
    parts = cut(text)
    assert "\n\n".join(parts) == text
    assert max(map(len, parts)) <= LONG
    assert len(parts) == 6


@pytest.mark.parametrize("text", ["", SHORT, "x" * LONG])
def test_a_text_that_is_not_long_has_no_sections(text: str) -> None:
    assert cut(text) == []


def test_a_new_section_leaves_the_others_as_they_are() -> None:
    before = document_section_summaries.plan(documents(baths=LONG_TEXT))
    after = document_section_summaries.plan(
        documents(baths=LONG_TEXT.replace("Before.", "Before.\n\n## Sunday\n\nRain."))
    )
    assert len(after) == 4
    assert [each for each in after if each not in before] == [after[1]]


def test_the_second_step_promises_no_more_than_both_steps_can_keep() -> None:
    deadlines = [each.declaration.workload.deadline for each in (document_section_summaries, document_summaries)]
    promised = document_summaries.declaration.contract.valid_for
    assert promised >= timedelta(hours=24) + sum(deadlines, timedelta())
