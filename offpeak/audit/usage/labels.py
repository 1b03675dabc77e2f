"""The label that a job's calls are grouped by: what counts as one, and ids folded out of it.

A label that differs from run to run would make a job of every run, so that ids, dates and numbers within a name become
a `*`: "digest-2026-10-01" and "digest-2026-10-02" are both "digest-*".
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

JOB_KEYS = (
    "job",
    "job_name",
    "jobname",
    "task",
    "task_name",
    "taskname",
    "pipeline",
    "workflow",
    "workflow_name",
    "use_case",
    "usecase",
    "feature",
    "agent",
    "agent_name",
)
"""Names of fields, properties and `key:value` tags that say outright which job a call belongs to, the surest first.
They are compared in lower case, with `-`, `.` and blanks as `_`."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.I)
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T_ ]?\d{2}[:\-]?\d{2}(?:[:\-]?\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?")
_WORD = re.compile(r"[^\W_]+")
_STARS = re.compile(r"\*(?:[-_:./# ]*\*)+")
_HEX = re.compile(r"[0-9a-f]{6,}", re.I)

LONGEST_WORD = 20
"""Letters. A longer word with a digit in it is an id: the ids of traces, of ULID and of nanoid have 21 to 32."""

LONGEST_LABEL = 120
"""Letters of a label that are kept; what is longer was a prompt."""


@lru_cache(maxsize=65_536)
def fold(label: str) -> str:
    """A label without its ids. Nothing where nothing else is left."""
    folded = _STAMP.sub("*", _UUID.sub("*", label.strip()[:LONGEST_LABEL]))
    folded = _STARS.sub("*", _WORD.sub(_folded_word, folded))
    return "" if not _WORD.search(folded) else folded


def _folded_word(found: re.Match[str]) -> str:
    word = found[0]
    digits = sum(each.isdigit() for each in word)
    if not digits:
        return word
    is_id = digits == len(word) or _HEX.fullmatch(word) or len(word) > LONGEST_WORD
    return "*" if is_id else word


@lru_cache(maxsize=4_096)
def _plain_key(key: str) -> str:
    return re.sub(r"[-. ]+", "_", key.strip().lower())


def named_in(properties: Mapping[str, Any]) -> str:
    """The job that properties name under one of JOB_KEYS; nothing where none does."""
    if not properties:
        return ""
    plain = {_plain_key(key): value for key, value in properties.items()}
    for key in JOB_KEYS:
        value = plain.get(key)
        if isinstance(value, str) and (label := fold(value)):
            return label
    return ""


def named_in_tags(tags: Iterable[Any]) -> str:
    """The job that a `key:value` tag names; nothing where none does."""
    pairs = (tag.partition(":") for tag in tags if isinstance(tag, str))
    return named_in({key: value for key, colon, value in pairs if colon})


def joined_tags(tags: Iterable[Any]) -> str:
    """The tags that are plain words, as one label. `User-Agent: ...`, which LiteLLM adds by itself, is none of them."""
    plain = [tag for tag in tags if isinstance(tag, str) and ":" not in tag]
    return fold(", ".join(dict.fromkeys(plain))) if plain else ""


def first_label(*labels: str) -> str:
    """The first of some labels that is one once its ids are folded; nothing where none is."""
    for label in labels:
        if label and (folded := fold(label)):
            return folded
    return ""
