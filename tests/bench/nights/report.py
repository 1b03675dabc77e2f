"""The table of a scenario, the nights on which something was missed, and the targets that were not met."""

from collections.abc import Iterator, Mapping
from typing import Any

from .compare import Standing
from .fixture import HOUR, MINUTE, Fixture, Scenario
from .referee import Miss

HEADINGS = ("policy", "price", "missed", "excused", "rescued", "twice", "left: least", "median", "most")
"""missed: nights though realtime capacity held from the last safe moment on; excused: nights on which it did not."""

US, KNOWING = "Offpeak", "all-knowing"


def page(fixture: Fixture, scenario: Scenario, found: Mapping[str, Standing], seconds: float) -> str:
    nights = len(found[US].rulings)
    lines = [
        f"{scenario.name}: {nights:,} nights, sigma {scenario.sigma}, median {fixture.median_hours:g} h"
        f" ({nights / seconds:,.0f} nights a second)",
        "",
        *_table([HEADINGS, *(_row(name, standing) for name, standing in found.items())]),
        "",
        *(_missed(miss) for miss in found[US].misses),
    ]
    if found[US].called:
        lines.append(f"the rule bought {found[US].called:,} of {nights * fixture.jobs:,} jobs in the background")
    return "\n".join(lines)


def failures(scenario: Scenario, found: Mapping[str, Standing]) -> list[str]:
    return [f"FAILED, {scenario.name}: {why}" for why in _failures(scenario, found)]


def _failures(scenario: Scenario, found: Mapping[str, Standing]) -> Iterator[str]:
    us = found[US]
    most, above = scenario.price_at_most, scenario.above_all_knowing_at_most
    if most is not None and us.price > most:
        yield f"the price is {us.price:.4f} of realtime, {most} at most is the target"
    if above is not None and (over := us.price - found[KNOWING].price) > above:
        yield f"the price is {over:.4f} above the all-knowing policy's, {above} at most is the target"
    for miss in us.without_excuse:
        yield _missed(miss)
    if us.paid_twice:
        yield f"{us.paid_twice:,} answers were paid twice"


def figures(found: Mapping[str, Standing]) -> dict[str, Any]:
    return {
        name: {
            "price": round(standing.price, 4),
            "missed": len(standing.without_excuse),
            "excused": len(standing.misses) - len(standing.without_excuse),
            "rescued_share": round(standing.rescued, 4),
            "paid_twice": standing.paid_twice,
            "minutes_left": [round(each / MINUTE, 1) for each in standing.left],
        }
        for name, standing in found.items()
    }


def _row(name: str, standing: Standing) -> tuple[str, ...]:
    held = len(standing.without_excuse)
    return (
        name,
        f"{standing.price:.4f}",
        str(held),
        str(len(standing.misses) - held),
        f"{standing.rescued:.1%}",
        f"{standing.paid_twice:,}",
        *(_time(each) for each in standing.left),
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _missed(miss: Miss) -> str:
    late = _time(miss.late) if miss.late < float("inf") else "for ever"
    jobs = "1 job" if miss.jobs == 1 else f"{miss.jobs} jobs"
    return f"night {miss.night}: {jobs} late, the latest by {late}: {miss.why}"


def _time(seconds: float) -> str:
    return f"{seconds / HOUR:.1f} h" if seconds >= HOUR else f"{seconds / MINUTE:.1f} min"
