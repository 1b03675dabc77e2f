"""The `custom_id` of a request within a batch: 56 fixed-width characters that prove whose line it is.

    ledger id (8) + submission id (8) + fingerprint (32) + ordinal (6) + attempt (2)

No user text stands in it. All but the numbers is lower-case base32 (RFC 4648 letters a-z2-7), which both providers
accept. Because the width is fixed, a spool file can be given a new submission id in place.
"""

from typing import NamedTuple

import numpy as np

WIDTH = 56
LEDGER = slice(0, 8)
SUBMISSION = slice(8, 16)
FINGERPRINT = slice(16, 48)
ORDINAL = slice(48, 54)
ATTEMPT = slice(54, 56)

ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
_LETTERS = np.frombuffer(ALPHABET, dtype=np.uint8)
_WEIGHTS = np.array([16, 8, 4, 2, 1], dtype=np.uint8)


class CustomId(NamedTuple):
    """The parts of a custom_id."""

    ledger: str
    submission: str
    fingerprint: str
    ordinal: int
    attempt: int


def base32(fingerprints: bytes) -> str:
    """Many 20-byte fingerprints, joined, as base32: 32 characters each, joined."""
    bits = np.unpackbits(np.frombuffer(fingerprints, dtype=np.uint8)).reshape(-1, 5)
    text: bytes = _LETTERS[bits @ _WEIGHTS].tobytes()
    return text.decode("ascii")


def submission_token(submission_id: int) -> str:
    """A submission's row id as 8 letters."""
    return base32(submission_id.to_bytes(5, "big"))


def submission_id(token: str) -> int:
    """The row id behind a token. Raises ValueError for anything else."""
    number = 0
    for letter in token.encode("ascii"):
        number = number * 32 + ALPHABET.index(letter)
    return number


def parse(custom_id: str) -> CustomId | None:
    """The parts of a custom_id, or None when it has not the form of one: then it is somebody else's."""
    if len(custom_id) != WIDTH or not custom_id[48:].isdecimal():
        return None
    return CustomId(
        custom_id[LEDGER],
        custom_id[SUBMISSION],
        custom_id[FINGERPRINT],
        int(custom_id[ORDINAL]),
        int(custom_id[ATTEMPT]),
    )
