"""`python -m tests.simulation`: carry out many schedules, or one by its seed.

Ends with 1 where something happened that never must; the seeds are printed.
"""

import argparse
import sys
import time
from collections.abc import Mapping

from .running import Report, run
from .sabotage import STEPS
from .schedule import ERRORS, ONLY_OF_SCHEMAS, UNUSABLE

FAULTS = (
    "create_500", "create_429", "create_reset", "ghost_500", "ghost_reset", "ghost_hang", "call_500", "call_429",
    "call_404", "call_reset", "latency", "slow_finalizing", "expire", "never_end", "fail_validation", "error_lines",
    "unusable_lines", "skip_lines", "list_lag", "retrieve_lag", "results_lag", "empty_ids", "false_counts", "truncate",
    "missing_lines", "duplicate_lines", "foreign_lines", "blank_lines", "shuffle_lines",
)  # fmt: skip
"""All that can go wrong with batches at the local provider."""

EVERY = 25
"""Schedules among which every fault has to strike once on average: 20 times in 500."""

ENOUGH = 250
"""Schedules of which it is asked."""


def rarely(fired: Mapping[str, int], variants: Mapping[str, int], schedules: int) -> dict[str, int]:
    """Faults, and ways of them, that struck less often than so many schedules should have made them.

    Of few schedules nothing is asked.
    """
    ways = [
        *(f"error_lines {code}" for code in ERRORS),
        *(f"unusable_lines {how}" for how in (*UNUSABLE, *ONLY_OF_SCHEMAS)),
        *(f"truncate {at} {framing}" for at in ("mid_line", "line_end") for framing in ("length", "close")),
    ]
    counts = {**dict.fromkeys(FAULTS, 0), **dict.fromkeys(ways, 0), **fired}
    counts |= {way: variants.get(way, 0) for way in ways}
    return {name: count for name, count in counts.items() if schedules >= ENOUGH and count < schedules // EVERY}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one schedule alone")
    parser.add_argument("--schedules", type=int, default=500, help="how many (default 500)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--processes", type=int, default=2, help="at once (default 2)")
    parser.add_argument("--verbose", action="store_true", help="tell every step")
    parser.add_argument("--without", choices=sorted(STEPS), help="leave out a step of the product, to see it noticed")
    options = parser.parse_args()
    if options.without is not None:
        STEPS[options.without]()
    seeds = range(options.first, options.first + options.schedules) if options.seed is None else [options.seed]
    began, report = time.monotonic(), Report()
    for outcome in run(seeds, processes=min(options.processes, len(seeds)), verbose=options.verbose):
        report.add(outcome)
        if outcome.trouble:
            print(f"\nseed {outcome.seed}: python -m tests.simulation --seed {outcome.seed} --verbose")
            for trouble in outcome.trouble:
                print(f"  {trouble}")
            sys.stdout.flush()
    took = time.monotonic() - began
    print(
        f"\n{report.schedules} schedules, {report.steps:,} steps, {report.processes:,} processes, "
        f"{report.killed.total()} of them killed, {report.stopped} jobs stopped, in {took:.0f} s"
    )
    for title in ("killed", "errors", "fired", "variants", "reached"):
        counts = getattr(report, title)
        print(f"{title}: {', '.join(f'{name} {counts[name]}' for name in sorted(counts, key=counts.__getitem__))}")
    print(f"{len(report.trouble)} in trouble: {sorted(report.trouble)}")
    rare = rarely(report.fired, report.variants, report.schedules)
    if rare:
        print(f"struck too rarely to prove anything: {rare}")
    return bool(report.trouble or rare)


if __name__ == "__main__":
    sys.exit(main())
