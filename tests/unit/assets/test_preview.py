"""The preview table holds whatever a model wrote."""

import numpy as np
import pandas as pd

from offpeak.assets.preview import preview


def test_no_cell_can_end_its_row_or_the_table() -> None:
    frame = pd.DataFrame({"key": ["a"], "text": ["one | two\n\n# three <script>"]})
    lines = preview(frame, of=1).value.splitlines()  # type: ignore[union-attr]
    assert len(lines) == 3
    assert lines[2] == "| a | one \\| two # three &lt;script> |"


def test_what_is_not_shown_is_counted() -> None:
    frame = pd.DataFrame({"key": [str(number) for number in range(8)]})
    assert preview(frame, of=1_208).value.endswith("1,200 more rows")  # type: ignore[union-attr]


def test_a_vector_and_a_cost_are_readable() -> None:
    frame = pd.DataFrame({"embedding": [np.array([0.25, 0.5, 1.0, 2.0], dtype="float32")], "cost_usd": [7.5e-06]})
    assert "[0.250, 0.500, 1.000, ...] (4 numbers) | 0.0000075 |" in str(preview(frame, of=1).value)


def test_a_long_text_is_cut() -> None:
    assert "\u2026 |" in str(preview(pd.DataFrame({"text": ["word " * 100]}), of=1).value)
