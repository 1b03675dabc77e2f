"""Translations word by word, with a small dictionary: visibly of the language asked for, with the text's structure."""

import re
from functools import lru_cache

from local_provider.translation_words import LANGUAGES, WORDS

_ASKED = re.compile(rf"(?i)\btranslat\w*\b[^.\n]{{0,80}}?\b(?:in)?to ({'|'.join(LANGUAGES)})\b")
_WORD = re.compile(r"(?<![\w/@])([A-Za-z]+(?:'[a-z]+)?)(?![\w/@])( ?)")
"""A word that is no part of an address or a path, with the space after it."""


def language_wanted(*instructions: str) -> str | None:
    """The language into which the text is to be translated; None where no translation into a known one is asked for."""
    found = (_ASKED.search(text) for text in instructions)
    return next((match.group(1).lower() for match in found if match), None)


def translated(text: str, language: str) -> str:
    """The text with every word replaced that the dictionary has; the others, figures and all marks stay."""
    words = _dictionary(language)

    def replaced(match: re.Match[str]) -> str:
        word, space = match.groups()
        other = words.get(word.lower(), word)
        shown = other[:1].upper() + other[1:] if word[0].isupper() else other
        return shown + space if shown else ""

    return _WORD.sub(replaced, text)


@lru_cache(maxsize=len(LANGUAGES))
def _dictionary(language: str) -> dict[str, str]:
    column = LANGUAGES.index(language) + 1
    rows = (line.split() for line in WORDS.strip().splitlines())
    return {row[0]: "" if row[column] == "-" else row[column].replace("-", " ") for row in rows}
