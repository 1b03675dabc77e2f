"""The table of past traffic: which rows visitors asked for, and how often."""

from collections import defaultdict

from offpeak.errors import ConfigurationError
from offpeak.rehearsal.arrivals import Row, Traffic
from offpeak.sources.tables import SourceTables

TABLE = "launch_traffic"
COLUMNS = ("asset", "key", "requests")
NEEDED = (
    f"A rehearsal asks for rows as visitors did before: it needs the table {TABLE} beside the application's tables, "
    "with the columns asset, key (of a row of that asset) and requests (how often it was asked for). "
    "Nothing was played."
)


def read_traffic(source: SourceTables) -> Traffic:
    """All of the table; rows that name the same asset and key are added up.

    Raises ConfigurationError where there is no such table, or no column, or a number in it that is none.
    """
    try:
        columns, rows = source.source().open(TABLE)
    except ConfigurationError as error:
        raise ConfigurationError(f"{NEEDED} {error}") from error
    missing = [each for each in COLUMNS if each not in columns]
    if missing:
        raise ConfigurationError(f"{NEEDED} It has no {' and no '.join(missing)}, only {', '.join(columns)}.")
    places = [list(columns).index(each) for each in COLUMNS]
    found: defaultdict[Row, float] = defaultdict(float)
    try:
        for row in rows:
            asset, key, requests = (row[place] for place in places)
            found[Row(str(asset), str(key))] += float(requests)
        return Traffic.of(found)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{NEEDED} It cannot be used: {error}.") from error
