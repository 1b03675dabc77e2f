"""Which source assets a listener looks after, as everybody who shares Dagster's storage sees it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import psutil
import pytest

from offpeak.assets.heartbeat import LASTS, Beat, Heartbeat, listened_to

from ...conftest import HeldClock

NOW = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
DOCUMENTS, TICKETS = dg.AssetKey("documents"), dg.AssetKey(["shop", "tickets"])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(NOW)


@pytest.fixture
def heartbeat(instance: dg.DagsterInstance, clock: HeldClock) -> Heartbeat:
    return Heartbeat(instance, clock)


def write(instance: dg.DagsterInstance, key: dg.AssetKey, **beat: object) -> None:
    """A line of another process."""
    line = {"at": NOW.isoformat(), "host": "elsewhere", "pid": 1, "started": 1.0, **beat}
    instance.daemon_cursor_storage.set_cursor_values({f"offpeak/listening/{key.to_user_string()}": json.dumps(line)})


def test_an_asset_is_looked_after_while_its_beat_is_fresh(
    instance: dg.DagsterInstance, heartbeat: Heartbeat, clock: HeldClock
) -> None:
    heartbeat.beat([DOCUMENTS, TICKETS])
    both = {DOCUMENTS, TICKETS}
    assert set(listened_to(instance, both, now=NOW + LASTS)) == both
    assert listened_to(instance, both, now=NOW + LASTS + timedelta(seconds=1)) == {}
    clock.sleep(timedelta(seconds=40))
    heartbeat.beat([TICKETS])
    assert set(listened_to(instance, both, now=clock.now())) == {TICKETS}


def test_a_beat_from_the_future_counts_no_longer_than_one_from_the_past(
    instance: dg.DagsterInstance, heartbeat: Heartbeat
) -> None:
    heartbeat.beat([DOCUMENTS])
    assert set(listened_to(instance, [DOCUMENTS], now=NOW - LASTS)) == {DOCUMENTS}
    assert listened_to(instance, [DOCUMENTS], now=NOW - LASTS - timedelta(seconds=1)) == {}


def test_what_has_ended_is_looked_after_no_longer(instance: dg.DagsterInstance, heartbeat: Heartbeat) -> None:
    heartbeat.beat([DOCUMENTS, TICKETS])
    heartbeat.end([DOCUMENTS])
    assert set(listened_to(instance, [DOCUMENTS, TICKETS], now=NOW)) == {TICKETS}


def test_a_listener_ends_only_its_own(instance: dg.DagsterInstance, heartbeat: Heartbeat) -> None:
    write(instance, DOCUMENTS)
    heartbeat.end([DOCUMENTS])
    assert set(listened_to(instance, [DOCUMENTS], now=NOW)) == {DOCUMENTS}


def test_another_machines_listener_is_another_one_until_its_beat_is_old(
    instance: dg.DagsterInstance, heartbeat: Heartbeat, clock: HeldClock
) -> None:
    assert heartbeat.another([DOCUMENTS]) is None
    write(instance, DOCUMENTS, pid=4711)
    other = heartbeat.another([TICKETS, DOCUMENTS])
    assert str(other) == "process 4711 on elsewhere"
    clock.sleep(LASTS + timedelta(seconds=1))
    assert heartbeat.another([DOCUMENTS]) is None


def test_a_process_is_not_another_one_to_itself(heartbeat: Heartbeat) -> None:
    heartbeat.beat([DOCUMENTS])
    assert heartbeat.another([DOCUMENTS]) is None


def test_a_process_of_this_machine_that_is_no_more_holds_nothing_up(
    instance: dg.DagsterInstance, heartbeat: Heartbeat
) -> None:
    heartbeat.beat([DOCUMENTS])
    (mine,) = listened_to(instance, [DOCUMENTS], now=NOW).values()
    parent = psutil.Process().parent()
    assert parent is not None
    write(instance, DOCUMENTS, host=mine.host, pid=parent.pid, started=parent.create_time())
    assert heartbeat.another([DOCUMENTS]) == Beat(NOW, mine.host, parent.pid, parent.create_time())
    # its number belongs to somebody else now
    write(instance, DOCUMENTS, host=mine.host, pid=parent.pid, started=parent.create_time() - 60)
    assert heartbeat.another([DOCUMENTS]) is None
    write(instance, DOCUMENTS, host=mine.host, pid=2**22 + 1, started=1.0)
    assert heartbeat.another([DOCUMENTS]) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": "yesterday"}', '{"at": "2026-03-29T01:00:00+00:00"}'])
def test_what_another_version_wrote_counts_for_nothing(instance: dg.DagsterInstance, text: str) -> None:
    instance.daemon_cursor_storage.set_cursor_values({"offpeak/listening/documents": text})
    assert listened_to(instance, [DOCUMENTS], now=NOW) == {}
