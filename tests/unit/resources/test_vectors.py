"""Spaces that are never mixed, drift and neighbours, on vectors small enough to reckon with."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from resources.vectors import TwoSpaces, drift, neighbours, one_space, require_same_space, unit

YESTERDAY = datetime(2026, 11, 20, tzinfo=UTC)
TODAY = YESTERDAY + timedelta(days=1)


def embeddings(*models: str, length: int = 2, at: datetime = YESTERDAY) -> pd.DataFrame:
    """A row a model; the models called new are of today."""
    return pd.DataFrame(
        {
            "key": [f"D-1#{number}" for number in range(len(models))],
            "embedding": [np.ones(length, dtype=np.float32)] * len(models),
            "model": list(models),
            "produced_at": [TODAY if model == "new" else at for model in models],
        }
    )


def test_vectors_of_one_model_are_all_read() -> None:
    assert len(one_space(embeddings("old", "old"))) == 2


def test_two_spaces_are_refused_while_the_newer_one_is_incomplete_and_the_error_counts_them() -> None:
    with pytest.raises(TwoSpaces, match=r"98 of new \(2 dimensions\), 2 of old \(2 dimensions\)"):
        one_space(embeddings(*["new"] * 98, "old", "old"))
    with pytest.raises(TwoSpaces, match="nothing was computed"):
        one_space(embeddings(*["old"] * 99, "new"))


def test_a_space_that_is_complete_is_read_without_what_is_left_of_the_other() -> None:
    found = one_space(embeddings(*["new"] * 99, "old"))
    assert len(found) == 99
    assert set(found["model"]) == {"new"}


def test_vectors_of_one_model_and_two_lengths_are_two_spaces() -> None:
    mixed = pd.concat([embeddings("m", length=2), embeddings("m", length=3, at=TODAY)], ignore_index=True)
    with pytest.raises(TwoSpaces, match=r"m \(2 dimensions\)"):
        one_space(mixed)


def test_frames_of_two_spaces_are_not_compared() -> None:
    require_same_space(embeddings("old"), embeddings("old", "old"), otherwise="Never said.")
    with pytest.raises(TwoSpaces, match="Make the baseline again"):
        require_same_space(embeddings("old"), embeddings("new"), otherwise="Make the baseline again.")


def test_vectors_get_the_length_one() -> None:
    frame = pd.DataFrame({"embedding": [np.array([3.0, 4.0]), np.array([0.0, 0.0])]})
    assert unit(frame).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def around(angle: float, count: int = 200) -> np.ndarray:
    """Unit vectors about a direction in the plane, in radians, spread by a tenth."""
    angles = angle + np.random.default_rng(1).normal(0, 0.1, count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_drift_is_one_minus_the_cosine_of_the_means() -> None:
    # one vector to the east, one to the north: the cosine is 0, the shift 1; of the same vector the shift is 0
    east, north = np.array([[1, 0]], dtype=np.float32), np.array([[0, 1]], dtype=np.float32)
    assert drift(east, north).shift == pytest.approx(1)
    assert drift(east, east).shift == pytest.approx(0)


def test_vectors_that_moved_have_drifted_and_a_sample_of_the_same_has_not() -> None:
    # turned by 0.3 radians: the shift is 1 - cos(0.3) = 0.0447, far more than a mean of 200 moves by chance
    moved = drift(around(0), around(0.3))
    assert moved.shift == pytest.approx(1 - np.cos(0.3), abs=1e-4)
    assert moved.drifted
    assert not drift(around(0), around(0)[::2]).drifted
    assert drift(around(0), around(0.3)).chance == moved.chance


def test_neighbours_are_nearest_first_and_never_of_the_same_document() -> None:
    # directions at 0, 10, 30 and 90 degrees; the first two belong together
    angles = np.radians([0, 10, 30, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = neighbours(vectors, ["a", "a", "b", "c"], count=2)
    assert [[other for other, _ in row] for row in found] == [[2, 3], [2, 3], [1, 0], [2, 1]]
    assert found[0][0][1] == pytest.approx(np.cos(np.radians(30)), abs=1e-6)


def test_where_nothing_else_is_there_are_no_neighbours() -> None:
    assert neighbours(np.ones((2, 2), dtype=np.float32), ["a", "a"], count=3) == [[], []]


def test_more_rows_than_a_block_are_compared_with_all_others() -> None:
    angles = np.linspace(0, 1, 2_100)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = neighbours(vectors, [str(number) for number in range(len(vectors))], count=1)
    assert len(found) == len(vectors)
    assert abs(found[1_500][0][0] - 1_500) <= 3
