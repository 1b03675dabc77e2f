"""Ids are folded out of labels, and what is left is the job's name."""

import pytest

from offpeak.audit.usage.labels import first_label, fold


@pytest.mark.parametrize(
    ("label", "folded"),
    [
        ("morning digest", "morning digest"),
        ("digest-8f3a1c2e-1111-4222-8333-444455556666", "digest-*"),
        ("digest-8f3a1c2e", "digest-*"),
        ("digest_01J9ZQ4N8K3M5P7R9T1V3X5Z7B", "digest_*"),
        ("digest-2026-10-05", "digest-*"),
        ("digest 2026-10-05T09:00:00Z", "digest *"),
        ("scheduled__2026-10-05T09:00:00+00:00", "scheduled__*"),
        ("order 12 of 40", "order * of *"),
        ("shard/17/18", "shard/*"),
        ("label_v2", "label_v2"),
        ("gpt4 summary", "gpt4 summary"),
        ("facade", "facade"),
    ],
)
def test_ids_dates_and_numbers_become_a_star(label: str, folded: str) -> None:
    assert fold(label) == folded


@pytest.mark.parametrize("label", ["", "12", "2026-10-05", "8f3a1c2e-1111-4222-8333-444455556666", "***"])
def test_an_id_by_itself_is_no_label(label: str) -> None:
    assert fold(label) == ""
    assert first_label(label, "digest") == "digest"


def test_a_prompt_is_cut() -> None:
    assert len(fold("please summarise " * 50)) <= 120
