"""An extractive digest: the sentences nearest to the centroid of a text, in the order in which they stand in it."""

import re

import numpy as np

from local_provider.embedder import Embedder, Vectors

MAX_SENTENCES = 400
"""Sentences looked at; a longer text is judged by its beginning."""
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9À-Þ])|\n\s*\n|\n\s*(?=[-*#•>|]|\d+[.)]\s)")
_MARKUP = re.compile(r"^[\s\-*#•>|]+|[*`]+")


def sentences(text: str) -> list[str]:
    """The sentences of a text, without list marks and headings' hashes; at least one, if there is any text at all."""
    found = []
    for piece in _SENTENCE_END.split(text):
        clean = " ".join(_MARKUP.sub("", piece).split())
        if len(clean) > 1:
            found.append(clean)
            if len(found) == MAX_SENTENCES:
                break
    return found or [" ".join(text.split())]


def is_sentence(text: str) -> bool:
    """Whether it is neither a heading nor a fragment: four words or more, and an end."""
    return len(text.split()) >= 4 and text.rstrip("\"')]”»").endswith((".", "!", "?", "…"))


def centrality(vectors: Vectors) -> Vectors:
    """How near each sentence is to the middle of the text."""
    centre = vectors.mean(axis=0)
    return np.asarray(vectors @ (centre / (np.linalg.norm(centre) or 1.0)), dtype=np.float32)


def digest(text: str, embedder: Embedder, count: int, about: str = "") -> str:
    """At most `count` sentences of the text, those nearest to what it is `about` if that is given.

    Headings and fragments are left out if there is anything else.
    """
    candidates = sentences(text)
    whole = [s for s in candidates if is_sentence(s)] or candidates
    if len(whole) <= count:
        return " ".join(whole)
    vectors = embedder.embed(whole)
    scores = vectors @ embedder.embed([about])[0] if about else centrality(vectors)
    best = np.argsort(-scores, kind="stable")[:count]
    return " ".join(whole[i] for i in sorted(best))
