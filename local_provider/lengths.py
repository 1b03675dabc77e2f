"""How long a text was asked to be: "in two or three sentences", "at most eight words"."""

import re

_WORDS_FOR = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBERS = {word: number for number, word in enumerate(_WORDS_FOR, start=1)}
_NUMBER = rf"(\d+|{'|'.join(_NUMBERS)})"
_SENTENCES = re.compile(rf"(?i)\b{_NUMBER}(?:\s*(?:or|to|-|–)\s*{_NUMBER})?\s+(?:\w+\s+)?sentences?\b")
_WORDS = re.compile(rf"(?i)\b{_NUMBER}\s+words\b")
LEAST_WORDS = 3
"""A clause of fewer words is not cut off as if it were the whole."""


def sentences_wanted(asked: str) -> int | None:
    """The most sentences that are asked for; None where nothing is said."""
    found = _SENTENCES.search(asked)
    return _number(found.group(2) or found.group(1)) if found else None


def words_wanted(asked: str) -> int | None:
    """The number of words that is named; None for none."""
    found = _WORDS.search(asked)
    return _number(found.group(1)) if found else None


def shortened(sentence: str, most: int | None) -> str:
    """At most so many words of a sentence, up to the end of a clause where one ends among them."""
    words = sentence.split()
    if most is None or len(words) <= most:
        return sentence
    ends = [number for number in range(LEAST_WORDS, most + 1) if words[number - 1].endswith((",", ":", ";", "."))]
    return " ".join(words[: ends[-1] if ends else most]).rstrip(",:;.")


def _number(written: str) -> int:
    return int(written) if written.isdigit() else _NUMBERS[written.lower()]
