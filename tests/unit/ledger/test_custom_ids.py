"""A custom_id proves whose line it is, in a form that both providers accept."""

import base64
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpeak.ledger import custom_ids

LEDGER, PRINT = "abcdefgh", bytes(range(20))
PREFIX = LEDGER + custom_ids.submission_token(7) + custom_ids.base32(PRINT)


def test_a_custom_id_has_fixed_width_and_only_characters_that_both_providers_accept() -> None:
    custom_id = f"{PREFIX}{12:06d}{3:02d}"

    assert len(custom_id) == custom_ids.WIDTH
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", custom_id)
    assert custom_ids.parse(custom_id) == (
        LEDGER, custom_ids.submission_token(7), custom_ids.base32(PRINT), 12, 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    "foreign",
    ["", "request-1", PREFIX, f"{PREFIX}00001203x", f"{PREFIX}0000120x", f"{PREFIX}00001２03", "x" * 56],
)
def test_what_has_another_form_is_somebody_elses(foreign: str) -> None:
    assert custom_ids.parse(foreign) is None or len(foreign) == custom_ids.WIDTH


@given(st.lists(st.binary(min_size=20, max_size=20), max_size=5))
def test_fingerprints_are_written_in_standard_base32(prints: list[bytes]) -> None:
    expected = "".join(base64.b32encode(print_).decode().lower() for print_ in prints)

    assert custom_ids.base32(b"".join(prints)) == expected


@given(st.integers(min_value=0, max_value=2**40 - 1))
def test_a_submission_token_leads_back_to_its_id(number: int) -> None:
    token = custom_ids.submission_token(number)

    assert len(token) == 8
    assert custom_ids.submission_id(token) == number


def test_a_token_of_other_letters_is_refused() -> None:
    with pytest.raises(ValueError, match="not found"):
        custom_ids.submission_id("ABCDEFG1")


def test_one_letter_of_another_fingerprint_is_another_custom_id() -> None:
    assert custom_ids.base32(os.urandom(20)) != custom_ids.base32(PRINT)
