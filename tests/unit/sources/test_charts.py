"""The counts behind the picture of what is taken for what, and the picture itself."""

import base64
import io

import pandas as pd
from PIL import Image

from resources.charts import confusion, confusion_picture

HUMAN = pd.Series(["bug", "bug", "bug", "billing", "other"])
MODEL = pd.Series(["bug", "bug", "billing", "billing", "bug"])
LABELS = ("billing", "bug", "other")


def test_rows_are_what_people_said_and_columns_what_the_model_said() -> None:
    assert confusion(HUMAN, MODEL, LABELS).tolist() == [[1, 0, 0], [1, 2, 0], [0, 1, 0]]


def test_a_row_that_was_dropped_on_the_way_moves_no_pair() -> None:
    assert confusion(HUMAN[1:], MODEL[1:].reset_index(drop=True), LABELS).tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_each_pair_has_a_matrix_side_by_side() -> None:
    def width(*names: str) -> int:
        pairs = dict.fromkeys(names, (HUMAN, MODEL))
        shown = confusion_picture(pairs, dict.fromkeys(names, LABELS)).md_str or ""
        data = shown.removeprefix("![confusion matrices](data:image/png;base64,").removesuffix(")")
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            return picture.width

    assert width("category", "urgency") == 2 * width("category")
