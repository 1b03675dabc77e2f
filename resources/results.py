"""Where this deployment keeps its ledger and the bought rows: OFFPEAK_DATABASE_URL, or SQLite in `.offpeak/`."""

from offpeak import OffpeakResults


def results() -> OffpeakResults:
    """The resource `offpeak_results`."""
    return OffpeakResults()
