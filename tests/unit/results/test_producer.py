"""By when others downstream need what a producer is asked for."""

from datetime import UTC, datetime, timedelta

from offpeak.freshness.cadence import Cron
from offpeak.freshness.chain import Handed
from offpeak.freshness.sla import Sla
from offpeak.results.producer import Rhythm

NOW = datetime(2026, 11, 23, 1, 30, tzinfo=UTC)


def handed(hour: int) -> Handed:
    deadline = Cron(cron_schedule=f"0 {hour} * * *", timezone="UTC", name="deadline")
    return Handed(sla=Sla(asset="report", deadline=deadline, window=timedelta(hours=24)), ahead=timedelta(minutes=40))


def test_of_several_deadlines_the_nearest_counts() -> None:
    nine, noon = handed(9), handed(12)
    assert Rhythm(handed=[noon, nine]).due(NOW) == (datetime(2026, 11, 23, 8, 20, tzinfo=UTC), nine)
    # what can be met no more does not count
    assert Rhythm(handed=[noon, nine]).due(NOW + timedelta(hours=8)) == (
        datetime(2026, 11, 23, 11, 20, tzinfo=UTC),
        noon,
    )
    assert Rhythm().due(NOW) is None
