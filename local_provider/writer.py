"""Answers that make sense of a request with embeddings: nearest labels, central sentences, likeness as a grade."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from local_provider.asks import Ask
from local_provider.digest import centrality, is_sentence, sentences
from local_provider.embedder import Embedder, Vectors
from local_provider.fields import Field, find
from local_provider.labels import score_labels
from local_provider.lengths import sentences_wanted, shortened, words_wanted
from local_provider.lookup import Missing, look_up_number, look_up_text
from local_provider.parts import Judged, judged_in, question_in, without_names

_PART = re.compile(r"\n\s*\n|^\s*(?:#+ .*|[A-Z][\w ]{0,30}:|</?\w+>|-{3,})\s*$", re.MULTILINE)
_LEAD = re.compile(r"^\s*[A-Z][\w ]{0,30}:\s+")
_ADVICE = re.compile(r"(?i)^(?:try|consider|please|next|you (?:should|could|might)|it is worth)\b")
_ASKS_ADVICE = re.compile(r"(?i)\b(?:next|try|suggest\w*|recommend\w*|advice|to do)\b")
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


def shown(seen: Sequence[str], text: str) -> str:
    """The text behind what its pictures look like, which is all that is known of them."""
    return f"{' and '.join(seen).capitalize()}: {text}" if seen else text


class SensibleWriter:
    """Values by what the user said and what the system prompt says about the labels."""

    def __init__(self, ask: Ask, embedder: Embedder) -> None:
        self._ask, self._embedder = ask, embedder
        self._said: set[int] = set()
        """The sentences that some field holds already: another one holds another, while there are enough."""

    def choice(self, field: Field, options: Sequence[Any]) -> Any:
        preferred = self._preferred(options)
        if preferred is not None:
            return preferred
        written = [each for each in options if re.search(rf"\b{re.escape(str(each).upper())}\b", self._ask.user)]
        if len(written) == 1:  # a code such as EUR or ERROR, in capitals
            return written[0]
        return options[int(np.argmax(self._scores(field, options)))]

    def choices(self, field: Field, options: Sequence[Any]) -> list[Any]:
        scores = self._scores(field, options)
        near = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] >= scores.max() - 0.05]
        return [options[i] for i in near]

    def text(self, field: Field) -> str:
        if self._judged is not None and _REASON.search(field.name):
            return self._judged.reason()
        wanted = sentences_wanted(field.about) or 1
        chosen = self._chosen(field, wanted)
        if wanted > 1:
            return shown(self._ask.seen, " ".join(self._sentences[i] for i in sorted(chosen)))
        return shown(self._ask.seen, shortened(self._sentences[chosen[0]], words_wanted(field.about)))

    def texts(self, field: Field, count: int) -> list[str]:
        chosen = self._chosen(field, count)
        answers = [i for i in chosen if i not in self._asked] or [
            i for i in self._by_relevance(field)[:count] if i not in self._asked
        ]
        return list(dict.fromkeys(self._sentences[i] for i in sorted(answers or chosen)))

    def _chosen(self, field: Field, count: int) -> list[int]:
        """At most `count` sentences by relevance, none that another field holds while there is a fresh one."""
        order = self._by_relevance(field)
        chosen = ([i for i in order if i not in self._said] or order)[:count]
        self._said.update(chosen)
        return chosen

    def look_up_text(self, field: Field) -> str | Missing | None:
        return look_up_text(field, self._ask.user)

    def look_up_number(self, field: Field) -> float | Missing:
        return look_up_number(field, self._ask.user)

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
    def _asked(self) -> frozenset[int]:
        """The sentences of a part that is called a question, where there are others."""
        asked, _ = question_in(self._ask.user) or ("", "")
        return frozenset(number for number, sentence in enumerate(self._sentences) if sentence in asked)

    @cached_property
    def _vectors(self) -> Vectors:
        return self._embedder.embed(self._sentences)

    def _by_relevance(self, field: Field) -> list[int]:
        """Sentences by nearness to the middle of the text, and a little to what the field is about.

        What a part called "Question" says comes last: to repeat it is no answer. Questions, headings and the like
        are left out while there is a sentence. Advice comes first where a field asks for it,
        and is left out elsewhere while there is something else.
        """
        about = self._embedder.embed_cached((field.about or "text",))[0]
        repeated = np.isin(np.arange(len(self._sentences)), list(self._asked))
        scores = centrality(self._vectors) + 0.5 * (self._vectors @ about) - 2 * repeated
        order = [int(i) for i in np.argsort(-scores, kind="stable")]
        order = [i for i in order if is_sentence(self._sentences[i])] or order
        order = [i for i in order if not self._sentences[i].endswith("?")] or order
        advice = [i for i in order if _ADVICE.match(self._sentences[i])]
        rest = [i for i in order if i not in advice]
        return advice + rest if _ASKS_ADVICE.search(field.about) else rest or advice

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
