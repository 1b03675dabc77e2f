"""Labelled text that nobody wrote for this project: one line about a Debian package, and the section that it is in.

Both were given by the package's maintainers, and are read from `apt-cache dumpavail`. Where there is no apt-cache, the
installed Python packages take their place, which have a description and no section: they can be labelled, and nothing
can be said of the labels. `python -m resources.sample_data load` puts a sample into the sample database, and
`python -m resources.package_descriptions DIR` writes it as a table for `OFFPEAK_SOURCE_URL=folder:DIR`.
"""

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated

import typer

SECTIONS = ("admin", "database", "editors", "fonts", "games", "graphics", "mail", "net", "science", "sound")
"""Sections that say what a package is for. Others say in which language it is written, or that it is a library."""
EACH = 40
"""Descriptions of each section."""

Row = dict[str, str | None]


@cache
def package_descriptions() -> tuple[Row, ...]:
    """Rows with package, section and description, ordered by package: `EACH` of each section.

    Which ones depends on the packages' names alone, so the same list of packages gives the same sample. No description
    is there twice. Empty where there is no apt-cache, or it knows no packages.
    """
    command = shutil.which("apt-cache")
    if command is None:
        return ()
    with subprocess.Popen([command, "dumpavail"], stdout=subprocess.PIPE, text=True, errors="replace") as listing:
        return sample(described(listing.stdout or ()))


def python_packages() -> tuple[Row, ...]:
    """Such rows of the installed Python packages: without a section."""
    found = {each.name: str(each.metadata.json.get("summary") or "") for each in distributions()}
    return tuple(
        {"package": name, "section": None, "description": found[name]} for name in sorted(found) if found[name]
    )


def described(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Package, section and one-line description of each entry of a listing in Debian's format."""
    entry: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(": ")
        if not line.strip():
            entry = {}
        elif colon and name in {"Package", "Section", "Description"}:
            # an archive area may stand before a section: contrib/games
            entry[name] = value.strip().rpartition("/")[2] if name == "Section" else value.strip()
            if len(entry) == 3:
                yield entry["Package"], entry["Section"], entry["Description"]


def sample(packages: Iterable[tuple[str, str, str]]) -> tuple[Row, ...]:
    """As many of each section, chosen by a digest of their names."""
    found: dict[str, list[tuple[str, str, str]]] = {section: [] for section in SECTIONS}
    for package, section, description in packages:
        if section in found:
            found[section].append((sha256(package.encode()).hexdigest(), package, description))
    seen: set[str] = set()
    rows: list[Row] = []
    for section, candidates in found.items():
        chosen = 0
        for _, package, description in sorted(candidates):
            if chosen < EACH and not seen & {package, description.casefold()}:  # a package may be listed twice
                seen |= {package, description.casefold()}
                rows.append({"package": package, "section": section, "description": description})
                chosen += 1
    return tuple(sorted(rows, key=lambda row: str(row["package"])))


def write(folder: Annotated[Path, typer.Argument(help="where package_descriptions.csv is written")]) -> None:
    """Write the sample to FOLDER/package_descriptions.csv."""
    rows = package_descriptions()
    if not rows:
        print("There is no apt-cache here, or it knows no packages: run this on Debian or Ubuntu.", file=sys.stderr)
        print("Nothing was written.", file=sys.stderr)
        raise typer.Exit(1)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "package_descriptions.csv"
    with file.open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{file}: {len(rows)} descriptions; read them with OFFPEAK_SOURCE_URL=folder:{folder}")


if __name__ == "__main__":
    typer.run(write)
