"""What is asked about a package, and what is said of the answers."""

import dagster as dg
import pandas as pd

from ai_assets.package_labels import SECTIONS, package_label_quality, package_labels
from offpeak import Chat

PACKAGES = pd.DataFrame(
    {
        "package": ["abook", "chess", "grub", "lynx"],
        "section": ["mail", "games", "admin", "admin"],
        "description": ["address book", "plays chess", "boot loader", "browses in text"],
    }
)


def quality(labels: dict[str, str], packages: pd.DataFrame = PACKAGES) -> dict[str, object]:
    frame = pd.DataFrame({"key": list(labels), "section": list(labels.values())}, dtype=object)
    result = package_label_quality(frame, packages)
    assert isinstance(result, dg.MaterializeResult)
    return dict(result.metadata or {})


def test_a_package_is_asked_about_by_its_description_alone() -> None:
    assert package_labels.plan(PACKAGES[:1]) == [
        Chat(key="abook", system=SECTIONS, prompt="address book", max_tokens=100)
    ]


def test_the_given_section_is_not_shown() -> None:
    assert package_labels.plan(PACKAGES.assign(section="net")) == package_labels.plan(PACKAGES)


def test_accuracy_stands_beside_what_always_saying_the_same_would_get() -> None:
    # given mail, games, admin, admin; said mail, games, admin, net: 3 of 4 right. Always "admin" would get 2 of 4.
    # by chance 1/4 * 1/4 + 1/4 * 1/4 + 2/4 * 1/4 = 4/16: kappa = (12/16 - 4/16) / (12/16) = 2/3
    shown = quality({"abook": "mail", "chess": "games", "grub": "admin", "lynx": "net"})
    assert (shown["texts"], shown["accuracy"], shown["most_frequent_section"]) == (4, 0.75, 0.5)
    assert round(float(str(shown["cohens_kappa"])), 9) == round(2 / 3, 9)
    assert str(shown["accuracy_interval"]).startswith("0.75 (95%: ")
    assert (shown["found_least"], shown["found_best"]) == ("admin: 50%", "mail: 100%")
    picture = shown["confusion"]
    assert isinstance(picture, dg.MarkdownMetadataValue)
    assert (picture.md_str or "").startswith("![confusion matrices](data:image/png;base64,iVBORw0KGgo")


def test_without_sections_it_says_why_there_is_no_accuracy() -> None:
    without: list[str | None] = [None, "", None, ""]
    shown = quality({"abook": "mail", "grub": "admin"}, PACKAGES.assign(section=without))
    assert shown == {"texts": 0, "why": "No package has a section: there is no apt-cache here."}


def test_packages_without_a_section_do_not_count() -> None:
    some = PACKAGES.assign(section=["mail", None, "admin", ""])
    assert quality({"abook": "mail", "chess": "games", "grub": "net", "lynx": "net"}, some)["accuracy"] == 0.5
