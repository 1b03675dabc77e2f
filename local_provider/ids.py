"""Identifiers: unlike any other run's, and cheap enough to make four of for each of 50,000 lines."""

import itertools
import uuid

_run = uuid.uuid4().hex[:16]
_numbers = itertools.count(1)


def new_id(prefix: str) -> str:
    """The prefix and 24 hexadecimal digits."""
    return f"{prefix}{_run}{next(_numbers):08x}"
