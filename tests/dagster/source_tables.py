"""Tables in a test's own folder, which the project's assets read as the application's."""

import csv
from pathlib import Path
from typing import Any

from resources.sources import SourceTables


def write_table(folder: Path, table: str, rows: list[dict[str, Any]]) -> None:
    """Write the whole table anew."""
    with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def reading(folder: Path) -> dict[str, Any]:
    """The resource that reads them."""
    return {"source_tables": SourceTables(url=f"folder:{folder}")}


def bought(made: Any, *assets: str, **arguments: Any) -> dict[str, int]:
    """Materialise in a `Project`: what was bought for each asset, over all of its partitions."""
    counts: dict[str, int] = dict.fromkeys(assets, 0)
    for landed in made.landed(*assets, **arguments).values():
        counts[landed.asset] += landed.metadata.get("bought", 0)
    return counts
