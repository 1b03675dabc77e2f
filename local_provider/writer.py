"""Answers that make sense of a request with embeddings: nearest labels, central sentences, likeness as a grade."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from local_provider.asks import Ask
from local_provider.digest import centrality, sentences, wanted_sentences
from local_provider.embedder import Embedder, Vectors
from local_provider.fields import Field, find
from local_provider.labels import score_labels
from local_provider.parts import Judged, judged_in, without_names

_PART = re.compile(r"\n\s*\n|^\s*(?:#+ .*|[A-Z][\w ]{0,30}:|</?\w+>|-{3,})\s*$", re.MULTILINE)
_LEAD = re.compile(r"^\s*[A-Z][\w ]{0,30}:\s+")
_REASON = re.compile(r"reason|rationale|explanation|justification|^why$")
_SURE = re.compile(r"confiden|certain|sure")
_WHOLE = re.compile(r"complete|coverage|recall")
_EQUAL = frozenset({"tie", "equal", "both", "neither", "draw", "same"})
HALF_FIT = 0.6
"""The fit at which nobody can be sure whether an answer is good."""
LEANING, EQUAL_WITHIN = 0.02, 0.05
"""What being read first is worth, and how near two fits are equal."""
YES_ABOVE = 0.3
SAME_ABOVE = 0.6


class SensibleWriter:
    """Values by what the user said and what the system prompt says about the labels."""

    def __init__(self, ask: Ask, embedder: Embedder) -> None:
        self._ask, self._embedder = ask, embedder
        self._said: set[int] = set()
        """Sentences that a field has already: the next one says something else, as long as there is something."""

    def choice(self, field: Field, options: Sequence[Any]) -> Any:
        preferred = self._preferred(options)
        if preferred is not None:
            return preferred
        return options[int(np.argmax(self._scores(field, options)))]

    def choices(self, field: Field, options: Sequence[Any]) -> list[Any]:
        scores = self._scores(field, options)
        near = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] >= scores.max() - 0.05]
        return [options[i] for i in near]

    def text(self, field: Field) -> str:
        if self._judged is not None and _REASON.search(field.name):
            return self._judged.reason()
        order = self._by_relevance(field)
        fresh = [number for number in order if number not in self._said] or order[min(field.index, len(order) - 1) :]
        chosen = sorted(fresh[: wanted_sentences(str(field.schema.get("description") or "")) or 1])
        self._said.update(chosen)
        return " ".join(self._sentences[number] for number in chosen)

    def texts(self, field: Field, count: int) -> list[str]:
        return list(dict.fromkeys(self._sentences[i] for i in sorted(self._by_relevance(field)[:count])))

    def find(self, pattern: str) -> str | None:
        return find(pattern, self._ask.user)

    def fraction(self, field: Field) -> float:
        """How well an answer fits a reference, or how alike the two longest parts of the text are, or how near a single
        part is to the field. How sure somebody can be of that, where the field asks for it.
        """
        if self._judged is not None:
            answer = next(iter(self._judged.given.values()))
            fit = self._judged.fit(answer, self._embedder)
            if _SURE.search(field.name):
                return min(1.0, 0.5 + 1.5 * abs(fit - HALF_FIT))
            return self._judged.covered(answer) if _WHOLE.search(field.name) else fit
        if self._likeness is not None:
            return self._likeness
        return max(0.0, min(1.0, self._nearness(field)))

    def truth(self, field: Field) -> bool:
        if self._likeness is not None:
            return self._likeness >= SAME_ABOVE
        return self._nearness(field) >= YES_ABOVE

    def _preferred(self, options: Sequence[Any]) -> Any:
        """The option that names the better of several answers to one reference, or the one that says they are equal.

        As judges do, it leans to what it has read first. None where the options do not name answers.
        """
        if self._judged is None or len(self._judged.given) < 2:
            return None
        fits: dict[Any, float] = {}
        for name, answer in self._judged.given.items():
            words = name.lower().split()
            option = next((each for each in options if str(each).lower() in words), None)
            if option is not None:
                fits[option] = self._judged.fit(answer, self._embedder) + (0.0 if fits else LEANING)
        if len(fits) < 2:
            return None
        best, second = sorted(fits.values(), reverse=True)[:2]
        equal = next((each for each in options if str(each).lower() in _EQUAL), None)
        return equal if equal is not None and best - second < EQUAL_WITHIN else max(fits, key=fits.__getitem__)

    @cached_property
    def _judged(self) -> Judged | None:
        return judged_in(self._ask.user)

    def _scores(self, field: Field, options: Sequence[Any]) -> Vectors:
        return score_labels(
            self._sentences, self._vectors, tuple(str(option) for option in options), field, self._ask.system,
            self._embedder,
        )  # fmt: skip

    @cached_property
    def _sentences(self) -> list[str]:
        return sentences(without_names(self._ask.user))

    @cached_property
    def _vectors(self) -> Vectors:
        return self._embedder.embed(self._sentences)

    def _by_relevance(self, field: Field) -> list[int]:
        """Sentences by nearness to the middle of the text, and a little to what the field is about; questions last."""
        about = self._embedder.embed_cached((field.about or "text",))[0]
        asks = np.array([sentence.endswith("?") for sentence in self._sentences])
        scores = centrality(self._vectors) + 0.5 * (self._vectors @ about) - 2 * asks
        return [int(i) for i in np.argsort(-scores, kind="stable")]

    def _nearness(self, field: Field) -> float:
        about = self._embedder.embed_cached((field.about or "text",))[0]
        return float((self._vectors @ about).max())

    @cached_property
    def _likeness(self) -> float | None:
        """Cosine of the two longest parts; None where the text is one part."""
        parts = [_LEAD.sub("", part).strip() for part in _PART.split(self._ask.user)]
        parts = sorted((part for part in parts if len(part) > 1), key=len, reverse=True)
        if len(parts) < 2:
            return None
        first, second = self._embedder.embed(parts[:2])
        return max(0.0, min(1.0, float(first @ second)))
