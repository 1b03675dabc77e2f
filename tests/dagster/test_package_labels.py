"""Labels of public texts, bought from the local provider; and a machine on which these have no section."""

import re
from pathlib import Path
from typing import Any

import pytest

from ai_assets.package_labels import package_label_quality, package_labels
from ai_assets.sources import package_descriptions
from resources.sources import SourceTables

HEADER = "package,section,description"
ROWS = (
    "chess-of-old,games,a game of chess against the computer",
    "letters,fonts,a typeface with serifs for print",
    "post,mail,reads and sends e-mail in a terminal",
    "tables,database,a small database server that speaks SQL",
)


@pytest.fixture
def labelling(project: Any, tmp_path: Path) -> Any:
    """Materialise both assets over some lines of a table."""

    def landed(*rows: str) -> Any:
        (tmp_path / "package_descriptions.csv").write_text("\n".join((HEADER, *rows)) + "\n")
        tables = SourceTables(url=f"folder:{tmp_path}")
        family = project(
            package_descriptions, package_labels, package_label_quality, resources={"source_tables": tables}
        )
        found = family.landed("package_labels", "package_label_quality")
        return found["package_labels", None].metadata, found["package_label_quality", None].metadata

    return landed


def test_texts_are_labelled_and_compared_with_their_given_section_and_bought_once(labelling: Any) -> None:
    bought, quality = labelling(*ROWS)
    assert (bought["bought"], quality["texts"]) == (4, 4)
    assert quality["accuracy"] >= 0.75
    assert quality["most_frequent_section"] == 0.25
    again, same = labelling(*ROWS)
    assert (again["bought"], again["reused"]) == (0, 4)
    assert same["accuracy"] == quality["accuracy"]


def test_on_a_machine_without_sections_labels_land_and_no_accuracy_is_claimed(labelling: Any) -> None:
    bought, quality = labelling(*(re.sub(",.*,", ",,", row) for row in ROWS))
    assert bought["rows"] == 4
    assert "no apt-cache" in quality["why"]
    assert "accuracy" not in quality
