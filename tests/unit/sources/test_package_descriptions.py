"""The sample of public labelled texts: what is read of Debian's listing, and which of it is taken."""

import csv
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from ai_assets.package_labels import PackageLabel
from resources.package_descriptions import EACH, SECTIONS, described, package_descriptions, sample, write

LISTING = """\
Package: quiet-mail
Version: 1.2
Description: reads mail: slowly
Description-md5: 5d4
Section: mail
Priority: optional

Package: no-section
Description: never seen

Package: old-chess
Section: contrib/games
Description: plays chess
 A longer text follows on further lines:
 Section: none of these counts
"""


@pytest.fixture
def fresh() -> Iterator[None]:
    """What was read before is forgotten, and what is read here too."""
    package_descriptions.cache_clear()
    yield
    package_descriptions.cache_clear()


def packages(count: int, section: str = "games") -> list[tuple[str, str, str]]:
    return [(f"p{number}", section, f"game number {number}") for number in range(count)]


def test_an_entry_is_its_package_section_and_first_line() -> None:
    assert list(described(LISTING.splitlines(keepends=True))) == [
        ("quiet-mail", "mail", "reads mail: slowly"),
        ("old-chess", "games", "plays chess"),
    ]


def test_the_sample_is_the_same_in_whichever_order_the_listing_is() -> None:
    chosen = sample(packages(500))
    assert len(chosen) == EACH
    assert sample(reversed(packages(500))) == chosen
    assert [row["package"] for row in chosen] != [f"p{number}" for number in range(EACH)]


def test_a_section_that_is_not_asked_for_is_left_out_and_a_small_one_is_taken_whole() -> None:
    rows = sample([*packages(3), *packages(3, "libs")])
    assert Counter(row["section"] for row in rows) == {"games": 3}


def test_no_description_and_no_package_is_there_twice() -> None:
    listed = [
        ("a", "games", "Chess"),
        ("b", "games", "chess"),
        ("c", "net", "chess"),
        ("d", "net", "go"),
        ("d", "net", "GO!"),
    ]
    rows = sample(listed)
    assert [row["package"] for row in rows if row["description"] not in ("Chess", "chess")] == ["d"]
    assert len(rows) == 2


def test_the_labels_are_the_sections_of_the_sample() -> None:
    assert get_args(PackageLabel.model_fields["section"].annotation) == SECTIONS


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="there is no apt-cache here")
def test_what_is_written_has_every_section_that_the_machine_knows(tmp_path: Path) -> None:
    done = CliRunner().invoke(app(), [str(tmp_path)])
    with (tmp_path / "package_descriptions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} descriptions" in done.output
    assert rows == [dict(row) for row in package_descriptions()]
    assert {row["section"] for row in rows} <= set(SECTIONS)
    assert all(row["description"].strip() for row in rows)


@pytest.mark.usefixtures("fresh")
def test_without_apt_cache_nothing_is_written_and_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    done = CliRunner().invoke(app(), [str(tmp_path / "texts")])
    assert done.exit_code == 1
    assert "There is no apt-cache here" in done.output
    assert "Nothing was written" in done.output
    assert not (tmp_path / "texts").exists()


def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(write)
    return made
