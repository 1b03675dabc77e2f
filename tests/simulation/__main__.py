"""`python -m tests.simulation`: carry out many schedules, or one by its seed.

Ends with 1 where something happened that never must; the seeds are printed.
"""

import argparse
import sys
import time

from .running import Report, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one schedule alone")
    parser.add_argument("--schedules", type=int, default=500, help="how many (default 500)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--processes", type=int, default=2, help="at once (default 2)")
    parser.add_argument("--verbose", action="store_true", help="tell every step")
    options = parser.parse_args()
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
    return bool(report.trouble)


if __name__ == "__main__":
    sys.exit(main())
