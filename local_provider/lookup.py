"""Values that stand in a text as they are: addresses, dates, names, amounts. Looked for by a field's name and words."""

import re
from enum import Enum

from local_provider.fields import Field

NEAR = 5
"""Words that may lie between a number and the word that says what it is."""
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_LEGAL = r"(?:B\.V\.|BV|GmbH|AG|Ltd|Limited|Inc|LLC|S\.?r\.?l\.|SARL|AB|ApS|Oy|VOF|& Sons|& Co|Bros)"
_CAPITAL = r"[A-ZÀ-Þ][\wÀ-ÿ'’-]+"
_JOINED = r"(?:&|and|en|und|et|van|de|of)"
_TOKEN = re.compile(r"\d[\d.,]*\d|\d|[^\W\d_]+")
_WRITTEN_DATE = re.compile(r"(?i)\b(\d{1,2})(?:st|nd|rd|th)?\s+(" + "|".join(_MONTHS) + r")\s+(\d{4})\b")
_KINDS = {
    "email": r"[\w.+-]+@[\w-]+\.[\w.-]*\w",
    "phone": r"\+\d[\d ()/-]{6,}\d|\b0\d[\d ()/-]{6,}\d",
    "url": r"https?://[^\s<>\"']+[\w/]",
    "ip": r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
    "path": r"(?<![\w:/])/[\w./%-]*\w",
    "component": r"^\W*(?:[A-Z]{3,}\W+)?([a-z][\w.-]*\w)(?:\[\d+\])?(?::|\]| -)",
    "company": rf"\b(?!Called|Contact|From|The\b|At\b|By\b)(?:{_CAPITAL}\s+(?:{_JOINED}\s+)?){{1,4}}{_LEGAL}",
    "person": rf"\b{_CAPITAL}\s+(?:(?:van|de|der|di)\s+)*{_CAPITAL}\b(?!\s+{_CAPITAL})",
}
_CALLED = {
    "email": "email", "mail": "email", "phone": "phone", "telephone": "phone", "url": "url", "link": "url",
    "website": "url", "ip": "ip", "path": "path", "component": "component", "service": "component",
    "logger": "component", "company": "company", "supplier": "company", "vendor": "company",
}  # fmt: skip
_UNITS = {
    "days": {"day": 1, "days": 1, "d": 1, "week": 7, "weeks": 7, "wks": 7, "working": 1},
    "seconds": {"s": 1, "sec": 1, "second": 1, "seconds": 1, "minutes": 60, "min": 60},
    "ms": {"ms": 1, "milliseconds": 1, "s": 1000, "seconds": 1000},
    "percent": {"percent": 1},
}
_UNIT_WORDS = frozenset(word for units in _UNITS.values() for word in units)
_TAKES = frozenset({"in", "after", "took", "for"})
"""What stands before a duration."""


class Missing(Enum):
    """What is sought in a text and does not stand in it."""

    MISSING = "missing"


MISSING = Missing.MISSING


def look_up_text(field: Field, text: str) -> str | Missing | None:
    """What the text says; MISSING when it says nothing of the kind; None for a field that cannot be looked up so."""
    if field.schema.get("format") == "date":
        return _date(text)
    *_, last = field.name.lower().split("_")
    kind = _CALLED.get(last)
    if last == "name":
        around = {word for step in field.path for word in step.lower().split("_")}
        kind = "company" if around & {"company", "supplier", "vendor"} else "person"
    if kind is None:
        return None
    if kind == "person":
        text = re.sub(_KINDS["company"], "#", text)
    found = re.search(_KINDS[kind], text, re.MULTILINE)
    return " ".join(found.group(found.lastindex or 0).split()) if found else MISSING


def look_up_number(field: Field, text: str) -> float | Missing:
    """The number in a sentence that is nearest to a word of the field, in the unit that the field's name ends in."""
    *words, last = field.name.lower().split("_")
    units = _UNITS.get(last)
    said = re.sub(r"\{[^{}]*\}", "", field.about)  # bounds that Anthropic's SDK has put there
    told = re.findall(r"[a-z]{4,}", " ".join((*words, said)).lower())
    about = {_stem(word) for word in told if word not in _UNIT_WORDS} | (_TAKES if "duration" in words else set())
    found: list[tuple[float, float]] = []
    for sentence in re.split(r"[.!?;]\s+|\n", text):
        tokens = _TOKEN.findall(sentence)
        near = [place for place, token in enumerate(tokens) if _stem(token.lower()) in about]
        for place, token in enumerate(tokens):
            number, following = _number(token), tokens[place + 1].lower() if place + 1 < len(tokens) else ""
            # A word before a number says what it is rather than one behind it.
            distance = min(
                (place - other if other < place else other - place + 0.5 for other in near), default=NEAR + 1.0
            )
            if number is not None and distance <= NEAR and (units is None or following in units):
                found.append((distance, number * (units[following] if units else 1)))
    return min(found)[1] if found else MISSING


def _date(text: str) -> str | Missing:
    if found := re.search(r"\b\d{4}-\d\d-\d\d\b", text):
        return found.group(0)
    if found := _WRITTEN_DATE.search(text):
        return f"{found.group(3)}-{_MONTHS.index(found.group(2).lower()) + 1:02d}-{int(found.group(1)):02d}"
    return MISSING


def _number(token: str) -> float | None:
    """A number as people write it: 1,250.50 and 1.250,50 and 250."""
    if not token[0].isdigit():
        return None
    plain = re.sub(r"[.,](?=\d{3}(?:\D|$))", "", token).replace(",", ".")
    try:
        return float(plain)
    except ValueError:
        return None


def _stem(word: str) -> str:
    return word[:5].rstrip("s")
