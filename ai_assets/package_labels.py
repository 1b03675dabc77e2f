"""How well texts are labelled that nobody wrote for this project: Debian's packages, against their own sections."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal, get_args

import dagster as dg
import pandas as pd
from pydantic import BaseModel, Field

from offpeak import Chat, FreshnessContract, Waiting, Workload, batch_asset, tolerates, when_data_changes
from resources.agreement import cohens_kappa, wilson
from resources.charts import confusion_picture

SECTIONS = """\
You sort software packages into the sections of an archive. You are given one line that describes a package.

- admin: running a system: users, services, disks, backups, packages, monitoring
- database: storing and querying data in databases, servers and clients alike
- editors: writing and editing text files
- fonts: typefaces for screens and print
- games: playing, and what games need
- graphics: making, editing, converting and showing pictures
- mail: sending, receiving, filtering and reading e-mail
- net: networks and what runs over them, except mail
- science: research and calculation in a scientific field
- sound: recording, playing, editing and converting sound
"""
"""It was written before any result was seen, and it is not to be improved by looking at them: then it would be a test
no more."""


class PackageLabel(BaseModel):
    """What is said of one package."""

    section: Literal[
        "admin", "database", "editors", "fonts", "games", "graphics", "mail", "net", "science", "sound"
    ] = Field(description="What the package is for.")


@batch_asset(
    model="anthropic/claude-haiku-5-5",
    output=PackageLabel,
    workload=Workload(waiting=Waiting.NOBODY, deadline=timedelta(hours=48)),
    contract=FreshnessContract(valid_for=timedelta(days=3650)),  # a sample that stays as it was drawn
    code_version="1",
    automation_condition=when_data_changes(),
    group_name="classification",
    owners=["team:data-platform"],
    tags={"domain": "evals"},
)
def package_labels(package_descriptions: pd.DataFrame) -> Iterator[Chat]:
    """The section of every package by its description alone; its name would give too many away."""
    package: Any  # a row: pandas has no type for its fields
    for package in package_descriptions.itertuples():
        yield Chat(key=package.package, system=SECTIONS, prompt=package.description, max_tokens=100)


@dg.asset(
    ins={"package_labels": tolerates(timedelta(days=3650), min_coverage=0.99)},
    automation_condition=when_data_changes(),
    group_name="classification",
    owners=["team:data-platform"],
    tags={"domain": "evals"},
    kinds={"matplotlib"},
    code_version="1",
)
def package_label_quality(
    package_labels: pd.DataFrame, package_descriptions: pd.DataFrame
) -> dg.MaterializeResult[None]:
    """How often the label is the section that the package's maintainers chose, and what is taken for what.

    Beside the accuracy stands what it has to be compared with: the share of the most frequent section, which is what
    somebody gets right who always says the same.
    """
    both = package_labels.merge(package_descriptions, left_on="key", right_on="package", suffixes=("", "_given"))
    both = both[both["section_given"].notna() & (both["section_given"] != "")]
    if both.empty:
        return dg.MaterializeResult(
            metadata={"texts": 0, "why": "No package has a section: there is no apt-cache here."}
        )
    given, said = both["section_given"], both["section"]
    right = int((given == said).sum())
    recall = (given == said).groupby(given).mean().sort_values()
    return dg.MaterializeResult(
        metadata={
            "texts": len(both),
            "accuracy": right / len(both),
            "accuracy_interval": str(wilson(right, len(both))),
            "most_frequent_section": float(given.value_counts(normalize=True).iloc[0]),
            "cohens_kappa": cohens_kappa(list(given), list(said)),
            "found_least": f"{recall.index[0]}: {recall.iloc[0]:.0%}",
            "found_best": f"{recall.index[-1]}: {recall.iloc[-1]:.0%}",
            "confusion": confusion_picture(
                {"section": (given, said)}, {"section": get_args(PackageLabel.model_fields["section"].annotation)}
            ),
        }
    )
