"""How many deadlines are kept, and at what price, over a thousand nights on the clock of a simulation.

    python -m tests.bench.bench_nights [--fixture tests/bench/nights.toml] [--nights 1000] [--json]

Several jobs share one realtime limit, batches take as long as the fixture says, some never end, and now and then the
provider is slow or away. The lane, the last safe moment, what is given up then and when the provider is looked at are
decided by the functions that production uses; the rest of it is the fixture's. All policies see the same nights.
Ends with 1 and says why where a target of the fixture is not met.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from .nights import fixture, report
from .nights.compare import compare

FIXTURE = Path(__file__).with_name("nights.toml")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fixture", type=Path, default=FIXTURE)
    parser.add_argument("--nights", type=int, help="of each seed, instead of the fixture's")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    terms = fixture.read(given.fixture)
    if given.nights is not None:
        terms = terms.model_copy(update={"nights": given.nights})
    failed: list[str] = []
    figures = {}
    for scenario in terms.scenarios:
        began = time.process_time()
        found = compare(terms, scenario)
        seconds = time.process_time() - began
        failed += report.failures(scenario, found)
        figures[scenario.name] = report.figures(found)
        if not given.json:
            print(report.page(terms, scenario, found, seconds), end="\n\n")
    print(
        json.dumps({"scenarios": figures, "failed": failed})
        if given.json
        else "\n".join(failed or ["every target met"])
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
