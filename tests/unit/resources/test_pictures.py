"""Tables and plots as the UI is given them."""

import base64

import pandas as pd
from matplotlib.figure import Figure

from resources.pictures import as_picture, as_table


def test_a_frame_is_a_markdown_table_whose_cells_stay_cells() -> None:
    frame = pd.DataFrame({"key": ["a|b", "two\nlines"], "share": [0.12345, 1.0], "count": [1, 2]})
    assert as_table(frame).value.splitlines() == [
        "| key | share | count |",
        "| --- | --- | --- |",
        "| a\\|b | 0.123 | 1 |",
        "| two lines | 1.000 | 2 |",
    ]


def test_a_figure_is_a_png_with_its_title() -> None:
    value = as_picture(Figure(figsize=(1, 1)), "Nothing yet").value
    assert value is not None
    assert value.startswith("![Nothing yet](data:image/png;base64,")
    assert base64.b64decode(value.partition("base64,")[2].rstrip(")")).startswith(b"\x89PNG")
