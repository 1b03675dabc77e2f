"""Documents in pieces: one for each paragraph, with the sentence before it. An edit changes what stands near it alone.

Where a piece begins and ends depends on its own paragraph alone. So a paragraph that is edited changes its own piece,
and the next one where its last sentence is another; a paragraph that is added or removed renames none of the others.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator

SHORTEST = 80
"""Characters; a shorter paragraph, such as a heading or the first line of a list, goes together with the next one."""
LONGEST = 2_000
"""Characters; a longer paragraph is divided between sentences, and a longer sentence anywhere."""
OVERLAP = 300
"""Characters of the sentence before it that a piece repeats, at most."""

_PARAGRAPHS = re.compile(r"\n\s*\n")
_SENTENCES = re.compile(r"(?<=[.!?])\s+")


def chunks(document_id: str, title: str, body: str) -> Iterator[tuple[str, str]]:
    """Key and text of each piece. A key is the document's id and a digest of the text: other text has another key.

    So a key never joins a new text to what was bought for the old one. An empty body has no pieces.
    """
    seen: Counter[str] = Counter()
    before = ""
    for paragraph in _paragraphs(body):
        text = "\n\n".join(part for part in (title.strip(), f"{before} {paragraph}".strip()) if part)
        digest = hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
        seen[digest] += 1
        yield f"{document_id}#{digest}" + (f"-{seen[digest]}" if seen[digest] > 1 else ""), text
        before = _SENTENCES.split(paragraph)[-1][-OVERLAP:]


def document_of(key: str) -> str:
    """The id of the document that a piece belongs to."""
    return key.rpartition("#")[0]


def _paragraphs(body: str) -> Iterator[str]:
    short = ""
    for paragraph in filter(None, (part.strip() for part in _PARAGRAPHS.split(body))):
        whole = f"{short}\n{paragraph}".strip()
        short = whole if len(whole) < SHORTEST else ""
        if not short:
            yield from _divided(whole)
    if short:
        yield short


def _divided(paragraph: str) -> Iterator[str]:
    piece = ""
    for sentence in _SENTENCES.split(paragraph):
        if piece and len(piece) + 1 + len(sentence) > LONGEST:
            yield piece
            piece = ""
        piece = f"{piece} {sentence}".strip()
        while len(piece) > LONGEST:
            yield piece[:LONGEST]
            piece = piece[LONGEST:]
    if piece:
        yield piece
