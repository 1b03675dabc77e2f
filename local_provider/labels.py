"""Which label of an enum a text is nearest to, helped by what the system prompt and the schema say of each label."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from local_provider.embedder import Embedder, Vectors
from local_provider.fields import Field
from local_provider.label_words import COMMON, FALLBACKS, MIDDLES, Known

WHOLE, BEST = 0.5, 0.5
"""How much the text as a whole counts, and the one sentence that is nearest to a phrase of the label."""
WORDS, CUES = 0.08, 0.18
"""How much one shared word, or one telling word, counts beside a likeness between -1 and 1; more add less and less."""
OTHER_FROM, MIDDLE_FROM = 0.08, 0.26
"""What a label like "other", and the middle of a scale, score at least: they stand in where no other label scores more.
Few texts fit no label at all; most of what is put on a scale belongs in its middle."""
_WORD = re.compile(r"[a-z][a-z']{2,}")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """the and for with that this from are was not you your has have had can cannot but all any our its out who how
        what when where which will would could should about into than then them they there their been being does did
        just anything everything something somebody please label text ticket one use belongs other""",
    )
)


def score_labels(
    sentences: Sequence[str], vectors: Vectors, labels: tuple[str, ...], field: Field, system: str, embedder: Embedder
) -> Vectors:
    """A score a label, the best one highest."""
    described = _described(labels, str(field.schema.get("description") or ""), system)
    text = " ".join(sentences)
    stems = _stems(text)
    scores = np.zeros(len(labels), dtype=np.float32)
    for number, label in enumerate(described):
        phrases = embedder.embed_cached(label.phrases)
        likeness = vectors @ phrases.T
        shared = len(stems & label.stems)
        cues = len({cue.lower() for cue in label.cues.findall(text)}) if label.cues else 0
        scores[number] = WHOLE * likeness.mean() + BEST * likeness.max() + WORDS * shared**0.5 + CUES * cues**0.5
    fallback, least = _fallback(labels)
    if fallback is not None:
        scores[fallback] = max(float(scores[fallback]), least)
    return scores


def _fallback(labels: tuple[str, ...]) -> tuple[int | None, float]:
    """The label for what the others do not fit, "other" or the middle of a scale, and what it scores at least."""
    for number, label in enumerate(labels):
        if label.lower() in FALLBACKS:
            return number, OTHER_FROM
    for number, label in enumerate(labels):
        if len(labels) > 2 and label.lower() in MIDDLES:
            return number, MIDDLE_FROM
    return None, 0.0


@dataclass(frozen=True, slots=True)
class _Label:
    """A label in as many words as are known of it."""

    phrases: tuple[str, ...]
    stems: frozenset[str]
    """Words of the label and of what the prompt says of it, that no other label has too."""
    cues: re.Pattern[str] | None


@lru_cache(maxsize=256)
def _described(labels: tuple[str, ...], about: str, system: str) -> tuple[_Label, ...]:
    told = [_told(label, labels, f"{system}\n{about}") for label in labels]
    stems = [_stems(f"{_plain(label)} {words}") for label, words in zip(labels, told, strict=True)]
    found = []
    for number, label in enumerate(labels):
        known = COMMON.get(label.lower(), Known())
        phrases = [_plain(label), *re.split(r"\s*[,;:.]\s+", told[number]), *known.phrases]
        others = frozenset().union(*(stems[:number] + stems[number + 1 :]))
        found.append(_Label(tuple(filter(None, phrases)), stems[number] - others, known.cues))
    return tuple(found)


def _told(label: str, labels: tuple[str, ...], text: str) -> str:
    """What a prompt says of a label: "label: ...", "label (...)", or else the sentences with this label alone."""
    written = r"[\s_-]?".join(re.escape(part) for part in re.split(r"[\s_-]+", label) if part)
    quoted = rf"[\"'`*_]*{written}[\"'`*_]*"
    line = re.search(rf"(?im)^[\s\-*•>\d.)]*{quoted}\s*(?::|=|-|–|—|means|is for|is)\s*[*_]*\s*(\S.*)$", text)
    if line:
        return line.group(1)
    bracket = re.search(rf"(?i)\b{quoted}\s*\(([^)]+)\)", text)
    if bracket:
        return bracket.group(1)
    inline = re.search(rf"(?i)(?:^|[\s,;(]){quoted}\s*(?::|=|means|is for)\s*([^,;.\n]+)", text)
    if inline:
        return inline.group(1)
    others = [other for other in labels if other != label]
    return " ".join(
        sentence
        for sentence in re.split(r"(?<=[.;!?])\s+|\n", text)
        if _mentions(sentence, label) and not any(_mentions(sentence, other) for other in others)
    )


def _mentions(sentence: str, label: str) -> bool:
    return re.search(rf"(?i)\b{re.escape(label)}\b", sentence) is not None


def _plain(label: str) -> str:
    return re.sub(r"[_-]+", " ", label)


def _stems(text: str) -> frozenset[str]:
    """Words without their commonest endings."""
    return frozenset(_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP)


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
