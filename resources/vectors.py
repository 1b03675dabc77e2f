"""What is computed of vectors with numpy: their space, how far they have drifted, and which are near each other.

Frames have the columns key, embedding and model, as a batch asset of embeddings gives them to its readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

BLOCK = 1_000
"""Rows that are compared with all others at a time."""


class TwoSpaces(ValueError):
    """The vectors are of two models, and a distance between those means nothing."""


def one_space(embeddings: pd.DataFrame, *, complete: float = 0.99) -> pd.DataFrame:
    """The rows of the newest model, once they are at least the share `complete` of all; the others are left out.

    While a change of the model is on its way, keys without a new vector serve their old one. Raises TwoSpaces then, so
    that an asset which reads them keeps what it has made of the old space, and changes to the new one at once.
    """
    spaces = _spaces(embeddings)
    if spaces.nunique() < 2:
        return embeddings
    newest = str(spaces.loc[embeddings["produced_at"] == embeddings["produced_at"].max()].iloc[0])
    share = float((spaces == newest).mean())
    if share < complete:
        counts = ", ".join(f"{count} of {space}" for space, count in spaces.value_counts().items())
        raise TwoSpaces(
            f"There are vectors of two spaces: {counts}. Distances between them mean nothing, so nothing was computed. "
            f"{newest} is used once it has {complete:.0%} of the keys: see `offpeak jobs` and `offpeak dead-letters`."
        )
    return embeddings.loc[spaces == newest]


def require_same_space(one: pd.DataFrame, other: pd.DataFrame, *, otherwise: str) -> None:
    """Raise TwoSpaces, which says `otherwise`, unless both frames are of one and the same space."""
    found = sorted({*_spaces(one), *_spaces(other)})
    if len(found) > 1:
        raise TwoSpaces(f"There are vectors of {' and of '.join(found)}, which cannot be compared. {otherwise}")


def _spaces(embeddings: pd.DataFrame) -> "pd.Series[str]":
    """The space of each row: vectors of one model may still differ in their dimensions."""
    return embeddings["model"] + " (" + embeddings["embedding"].map(len).astype(str) + " dimensions)"


def unit(embeddings: pd.DataFrame) -> Vectors:
    """The vectors, one below the other, each of length 1; a vector of zeros stays one."""
    matrix = np.stack(list(embeddings["embedding"])).astype(np.float32)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(norms == 0, 1, norms), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Drift:
    """How far vectors have moved as a whole."""

    shift: float
    """1 - cosine between the two means: 0 is no drift at all."""
    chance: float
    """The shift that 99 of 100 samples stay below which are drawn from the baseline itself."""
    like_before: NDArray[np.float64]
    like_now: NDArray[np.float64]
    """The cosine of each vector with the mean of the baseline."""

    @property
    def drifted(self) -> bool:
        return self.shift > self.chance


def drift(before: Vectors, now: Vectors, *, rounds: int = 400, seed: int = 0) -> Drift:
    """Compare two sets of unit vectors of one space. The same vectors and seed give the same result."""
    random, centre = np.random.default_rng(seed), _mean(before)
    samples = (before[random.integers(len(before), size=len(now))] for _ in range(rounds))
    by_chance = [1 - float(centre @ _mean(sample)) for sample in samples]
    return Drift(
        shift=1 - float(centre @ _mean(now)),
        chance=float(np.quantile(by_chance, 0.99)),
        like_before=np.asarray(before @ centre, dtype=np.float64),
        like_now=np.asarray(now @ centre, dtype=np.float64),
    )


def neighbours(vectors: Vectors, groups: Sequence[str], *, count: int) -> list[list[tuple[int, float]]]:
    """For each unit vector the `count` nearest ones of other groups, nearest first, with their cosine."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    found = []
    for start in range(0, len(vectors), BLOCK):
        likeness = vectors[start : start + BLOCK] @ vectors.T
        likeness[numbers[start : start + BLOCK, None] == numbers[None, :]] = -np.inf
        nearest = np.argpartition(-likeness, min(count, len(vectors)) - 1, axis=1)[:, :count]
        for row, candidates in zip(likeness, nearest, strict=True):
            best = candidates[np.lexsort((candidates, -row[candidates]))]
            found.append([(int(other), float(row[other])) for other in best if np.isfinite(row[other])])
    return found


def _mean(vectors: Vectors) -> NDArray[np.float64]:
    centre = vectors.mean(axis=0, dtype=np.float64)
    return np.asarray(centre / (np.linalg.norm(centre) or 1.0))
