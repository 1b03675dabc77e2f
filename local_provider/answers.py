"""Answers to requests, offline: by small embeddings and plain statistics, or by hash in the cheap mode.

The same request always gets the same answer, and an answer to a schema is always valid against it.
"""

from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from local_provider.asks import Ask
from local_provider.cheap import CheapWriter, cheap_embeddings, filled
from local_provider.clock import Clock
from local_provider.digest import digest
from local_provider.embedder import Embedder
from local_provider.lengths import sentences_wanted
from local_provider.parts import question_in
from local_provider.schema_answers import Writer, fill
from local_provider.settings import Answers, Settings
from local_provider.translation import language_wanted, translated
from local_provider.writer import SensibleWriter, shown

LOCAL_PREFIX = "local-"
"""Stands before the model's name in every response, so that nobody takes an answer for the real model's."""
DIMENSIONS = 256
LONGEST_TOKENS = 4_096
"""Of a text that is as long as its request lets it be."""
SENTENCES = 3
"""Of a digest, where the system prompt asks for no other number."""


class Answerer:
    """Answers in the mode that the settings name at that moment."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self.clock = clock
        self._embedder = Embedder()

    @property
    def _cheap(self) -> bool:
        return self._settings.answers is not Answers.WORDLLAMA

    def write(self, ask: Ask) -> str:
        """The text of an answer: JSON where a schema or JSON is asked for."""
        if ask.schema is not None:
            writer: Writer = CheapWriter(ask) if self._cheap else SensibleWriter(ask, self._embedder)
            return orjson.dumps(fill(ask.schema, writer)).decode()
        text = self._echo(ask) if self._cheap else self._text(ask)
        return orjson.dumps({"answer": text}).decode() if ask.json_object else text

    def _echo(self, ask: Ask) -> str:
        said = ask.user.strip()
        if self._settings.answers is not Answers.FULL or ask.max_tokens is None:
            return said[:300]
        return filled(said, min(ask.max_tokens, LONGEST_TOKENS))

    def _text(self, ask: Ask) -> str:
        language = language_wanted(ask.system, ask.user)
        if language:
            return translated(ask.user, language)
        about, text = question_in(ask.user) or ("", ask.user)
        return shown(ask.seen, digest(text, self._embedder, sentences_wanted(ask.system) or SENTENCES, about))

    def embed(self, texts: Sequence[str], dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
        """One unit vector a text, of at most 256 dimensions."""
        vectors = cheap_embeddings(texts) if self._cheap else self._embedder.embed(texts)
        shortened = vectors[:, :dimensions]
        norms = np.linalg.norm(shortened, axis=1, keepdims=True)
        return (shortened / np.where(norms == 0, 1, norms)).astype(np.float32)
