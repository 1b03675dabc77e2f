"""The named parts of a text ("Question: ...", "Answer: ..."), and how well an answer fits what was expected of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from local_provider.digest import sentences
from local_provider.embedder import Embedder

_NAMED = re.compile(r"(?:\A|\n[ \t]*\n)\s*([A-Z][\w -]{0,30}):[ \t]*(?:\n|(?=\S))")
_EXPECTED = re.compile(r"(?i)\b(?:reference|expected|ideal|gold(?:en)?|correct|model) ?(?:answer|response|output)?\b")
_GIVEN = re.compile(r"(?i)\b(?:answer|response|output|candidate|completion)\b")
_WORD = re.compile(r"\d[\d.,:]*\d|\d|[a-z]{4,}")
COVERED_FROM = 0.5
"""The share of a sentence's words and figures that an answer has to hold, for the sentence to count as covered."""


def named_parts(text: str) -> dict[str, str]:
    """The parts by name, in their order; none where fewer than two are named."""
    found = list(_NAMED.finditer(text))
    if len(found) < 2:
        return {}
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {match[1]: text[match.end() : end].strip() for match, end in zip(found, ends, strict=True)}


def without_names(text: str) -> str:
    """The text without the names of its parts."""
    return _NAMED.sub("\n\n", text).strip() if named_parts(text) else text


def question_in(text: str) -> tuple[str, str] | None:
    """A part that is called a question, and the others as one text; None where there is no such part."""
    parts = named_parts(text)
    asked = next((name for name in parts if re.search(r"(?i)\b(?:question|query|task)\b", name)), None)
    rest = "\n\n".join(part for name, part in parts.items() if name != asked)
    return (parts[asked], rest) if asked and rest else None


@dataclass(frozen=True, slots=True)
class Judged:
    """What was expected, and the answers that are judged by it, by the name of their part."""

    expected: str
    given: Mapping[str, str]

    def fit(self, answer: str, embedder: Embedder) -> float:
        """0 to 1: how alike the two are, and how much of the expected answer's words and figures is there."""
        first, second = embedder.embed([self.expected, answer])
        return 0.4 * max(0.0, min(1.0, float(first @ second))) + 0.6 * self.covered(answer)

    def covered(self, answer: str) -> float:
        return share_of(self.expected, answer)

    def reason(self) -> str:
        """Which sentences of the expected answer are missing; of several answers, in each."""
        if len(self.given) == 1:
            return self._missing(*self.given.values())
        return " ".join(f"{name}: {self._missing(answer)}" for name, answer in self.given.items())

    def _missing(self, answer: str) -> str:
        whole = [each for each in sentences(self.expected) if len(each.split()) > 2]
        missing = [each for each in whole if share_of(each, answer) < COVERED_FROM]
        if not missing:
            return "All of the reference is there."
        return "Not there is " + " and ".join(f'"{sentence}"' for sentence in missing[:2])


def judged_in(text: str) -> Judged | None:
    """The reference and the answers of a text that names them; None where it does not."""
    parts = named_parts(text)
    expected = next((name for name in parts if _EXPECTED.search(name)), None)
    given = {name: part for name, part in parts.items() if name != expected and _GIVEN.search(name)}
    return Judged(parts[expected], given) if expected and given else None


def share_of(expected: str, text: str) -> float:
    """The share of the words and figures of one text that stand in the other; figures count three times."""
    wanted, there = set(_WORD.findall(expected.lower())), set(_WORD.findall(text.lower()))
    weights = {word: 3 if word[0].isdigit() else 1 for word in wanted}
    return sum(weights[word] for word in wanted & there) / (sum(weights.values()) or 1)
