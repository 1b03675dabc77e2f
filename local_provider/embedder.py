"""Text embeddings by wordllama's bundled 256-dimensional model, loaded at first use (about two seconds)."""

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Embedder:
    """Unit vectors of texts. Thread-safe; a text without any known word gets the zero vector."""

    def __init__(self) -> None:
        self._model: Any = None
        self._loading = threading.Lock()
        self.embed_cached = lru_cache(maxsize=512)(self._embed_tuple)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text."""
        if not texts:
            return np.zeros((0, 256), dtype=np.float32)
        vectors = np.nan_to_num(np.asarray(self._loaded().embed(list(texts)), dtype=np.float32))
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(norms == 0, 1, norms), dtype=np.float32)

    def _embed_tuple(self, texts: tuple[str, ...]) -> Vectors:
        """For texts that come again and again: labels and fields."""
        return self.embed(texts)

    def _loaded(self) -> Any:
        with self._loading:
            if self._model is None:
                import wordllama

                folder = Path(wordllama.__file__).parent
                self._model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
            return self._model
