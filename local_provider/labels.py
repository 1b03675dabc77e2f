"""Which label of an enum a text is nearest to, helped by what the system prompt and the schema say of each label."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from local_provider.embedder import Embedder, Vectors
from local_provider.fields import Field
from local_provider.label_words import COMMON, FALLBACKS, MIDDLES

WHOLE, BEST = 0.5, 0.5
"""How much the text as a whole counts, and the one sentence that is nearest to the label."""
WORDS = 0.25
"""How much one shared word counts beside a likeness between -1 and 1, falling off with each further one."""
LONELY = 0.12
"""A label like "other" stands in where no real label scores above this."""
_WORD = re.compile(r"[a-z][a-z']{2,}")
_STOP = frozenset(  # noqa: SIM905: a list of words is read more easily as words
    [
        "the",
        "and",
        "for",
        "with",
        "that",
        "this",
        "from",
        "are",
        "was",
        "not",
        "you",
        "your",
        "has",
        "have",
        "had",
        "can",
        "cannot",
        "but",
        "all",
        "any",
        "our",
        "its",
        "out",
        "who",
        "how",
        "what",
        "when",
        "where",
        "which",
        "will",
        "would",
        "could",
        "should",
        "about",
        "into",
        "than",
        "then",
        "them",
        "they",
        "there",
        "their",
        "been",
        "being",
        "does",
        "did",
        "just",
        "anything",
        "everything",
        "something",
        "please",
        "label",
        "text",
        "ticket",
        "one",
        "use",
    ]
)


def score_labels(
    sentences: Sequence[str], vectors: Vectors, labels: tuple[str, ...], field: Field, system: str, embedder: Embedder
) -> Vectors:
    """A score a label, the best one highest."""
    about = str(field.schema.get("description") or "")
    texts = _described(labels, field.name, about, system)
    label_vectors = embedder.embed_cached(texts)
    centre = vectors.mean(axis=0)
    centre = centre / (np.linalg.norm(centre) or 1.0)
    scores = WHOLE * (label_vectors @ centre) + BEST * (vectors @ label_vectors.T).max(axis=0)
    said = _stems(" ".join(sentences))
    overlaps = np.array([len(said & stems) for stems in _label_stems(texts)], dtype=np.float32)
    scores = np.asarray(scores + WORDS * np.sqrt(overlaps), dtype=np.float32)
    fallback = _fallback(labels)
    if fallback is not None:
        rest = [i for i in range(len(labels)) if i != fallback]
        scores[fallback] = LONELY if rest else 1.0
    return scores


def _fallback(labels: tuple[str, ...]) -> int | None:
    """The label for everything that the others do not fit: "other", or the middle of a scale."""
    for number, label in enumerate(labels):
        if label.lower() in FALLBACKS:
            return number
    for number, label in enumerate(labels):
        if len(labels) > 2 and label.lower() in MIDDLES:
            return number
    return None


@lru_cache(maxsize=256)
def _described(labels: tuple[str, ...], name: str, about: str, system: str) -> tuple[str, ...]:
    """Each label in as many words as are known of it."""
    told = {label: _told(label, labels, f"{system}\n{about}") for label in labels}
    return tuple(
        " ".join(filter(None, [_plain(label), told[label], COMMON.get(label.lower(), "")])) or name for label in labels
    )


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


@lru_cache(maxsize=256)
def _label_stems(texts: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    """The words of each label that no other label has too."""
    stems = [_stems(text) for text in texts]
    return tuple(
        frozenset(own - frozenset().union(*(other for other in stems if other is not own))) for own in stems
    )  # fmt: skip


def _stems(text: str) -> frozenset[str]:
    """Words without their commonest endings."""
    return frozenset(_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP)


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
