"""`contracts.lock`: it comes back exactly, every kind of change is told from the others, and a torn one is refused."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpeak.errors import ConfigurationError, CouldNotRead
from offpeak.freshness import lock, lock_file
from offpeak.freshness.cadence import Cron
from offpeak.freshness.chain import Chain, Node, Producer
from offpeak.freshness.contract import FreshnessContract
from offpeak.freshness.gate import Tolerance
from offpeak.freshness.lock import Acknowledged, Lock, Promise
from offpeak.ledger.deadline import OnDeadline

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)

NIGHTLY = Cron(cron_schedule="30 1 * * *", timezone="UTC", name="nightly")
WEEKLY = Cron(cron_schedule="30 1 * * 1", timezone="UTC", name="weekly")
HOURLY = Cron(cron_schedule="30 * * * *", timezone="UTC", name="hourly")

LABELS = Producer(
    model="openai/gpt-5-mini", lane="batch", deadline=12 * HOUR, contract=FreshnessContract(valid_for=37 * HOUR)
)
PROMISE = Promise(lane="batch", model="openai/gpt-5-mini", valid_for=37 * HOUR, cadence=24 * HOUR, deadline=12 * HOUR)
IN_THE_RUN = "no batch asset before: made in the run itself, at realtime"
TOLERANCE = Tolerance(max_staleness=38 * HOUR, min_coverage=0.99)


def chain(
    producer: Producer | None = LABELS,
    *,
    crons: tuple[Cron, ...] = (NIGHTLY,),
    readers: Mapping[str, Tolerance] | None = None,
    name: str = "labels",
    now: datetime = NOW,
) -> Chain:
    """Tickets are labelled, and a dashboard reads the labels, unless told otherwise."""
    wanted = {"dashboard": TOLERANCE} if readers is None else readers
    return Chain(
        [
            Node(name="tickets", source=True),
            Node(name=name, producer=producer, crons=crons, inputs={"tickets": None}),
            *(Node(name=reader, inputs={name: tolerance}) for reader, tolerance in wanted.items()),
        ],
        now=now,
    )


def acknowledged_by_all(of: Chain) -> Lock:
    return lock.accepted(None, of, {each.consumer for each in of.readings()})


durations = st.timedeltas(timedelta(microseconds=1), timedelta(days=4000))
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
promises = st.builds(
    Promise, lane=names, model=names, valid_for=durations, cadence=st.none() | durations, deadline=durations
)
tolerances = st.builds(
    Tolerance,
    max_staleness=durations,
    min_coverage=st.floats(0, 1),
    on_stale=st.sampled_from(["fail", "warn"]),
    rows=st.sampled_from(["all", "drop_stale"]),
)
locks = st.builds(
    Lock,
    st.dictionaries(names, promises, max_size=3),
    st.dictionaries(
        st.tuples(names, names), st.builds(Acknowledged, tolerance=tolerances, promise=promises), max_size=3
    ),
)


@given(locks)
def test_what_is_written_is_read_back_exactly(given_lock: Lock) -> None:
    assert lock_file.parsed(lock_file.written(given_lock)) == given_lock


@given(locks)
def test_the_order_in_which_it_was_made_does_not_show(given_lock: Lock) -> None:
    turned = Lock(dict(reversed(given_lock.producers.items())), dict(reversed(given_lock.readings.items())))
    assert lock_file.written(turned) == lock_file.written(given_lock)


def test_a_person_can_read_it() -> None:
    text = lock_file.written(acknowledged_by_all(chain(name="support/labels")))
    assert text.startswith("# What producers promise")
    assert tomllib.loads(text) == {
        "version": 1,
        "producer": {
            "support/labels": {
                "lane": "batch",
                "model": "openai/gpt-5-mini",
                "valid_for": "37 h",
                "cadence": "24 h",
                "deadline": "12 h",
            }
        },
        "consumer": {
            "dashboard": {
                "support/labels": {
                    "max_staleness": "38 h",
                    "min_coverage": 0.99,
                    "on_stale": "fail",
                    "rows": "all",
                    "acknowledged": {
                        "lane": "batch",
                        "model": "openai/gpt-5-mini",
                        "valid_for": "37 h",
                        "cadence": "24 h",
                        "deadline": "12 h",
                    },
                }
            }
        },
    }


def test_a_change_of_one_figure_is_a_diff_of_one_line() -> None:
    before = lock_file.written(acknowledged_by_all(chain(readers={})))
    after = lock_file.written(acknowledged_by_all(chain(changed(valid_for=40 * HOUR), readers={})))
    different = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert different == [('valid_for = "37 h"', 'valid_for = "40 h"')]


def changed(valid_for: timedelta | None = None, **changes: Any) -> Producer:
    contract = LABELS.contract if valid_for is None else FreshnessContract(valid_for=valid_for)
    return replace(LABELS, contract=contract, **changes)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (chain(changed(lane="background")), "lane background, was batch"),
        (chain(changed(model="openai/gpt-5")), "model openai/gpt-5, was openai/gpt-5-mini"),
        (chain(changed(valid_for=40 * HOUR)), "valid_for 40 h, was 37 h"),
        (chain(changed(deadline=12 * HOUR + timedelta(minutes=30))), "deadline 12 h 30 min, was 12 h"),
        (chain(crons=(WEEKLY,)), "cadence 168 h, was 24 h"),
        (chain(crons=()), "cadence none, was 24 h"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_gets_worse_or_different_has_to_be_acknowledged(new: Chain, said: str) -> None:
    before = acknowledged_by_all(chain())
    found = lock.compare(before, new)
    (pending,) = found.pending
    assert (pending.reading.consumer, pending.old, list(pending.changes)) == ("dashboard", PROMISE, [said])
    assert pending.new == lock.promises(new)["labels"]
    assert found.outdated == []
    assert lock.accepted(before, new) == before
    after = lock.accepted(before, new, {"dashboard"})
    assert after.producers["labels"] == after.readings["dashboard", "labels"].promise == pending.new
    assert lock.compare(after, new).agrees


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (chain(changed(valid_for=36 * HOUR + 30 * timedelta(minutes=1))), "valid_for 36 h 30 min, was 37 h"),
        (chain(changed(deadline=6 * HOUR)), "deadline 6 h, was 12 h"),
        (chain(crons=(HOURLY,)), "cadence 1 h, was 24 h"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_gets_better_is_recorded_without_anybody(new: Chain, said: str) -> None:
    before = acknowledged_by_all(chain())
    found = lock.compare(before, new)
    assert found.pending == []
    assert found.outdated == [f"labels promises {said}", f"dashboard acknowledges of labels {said}"]
    assert not found.agrees
    after = lock.accepted(before, new)
    assert lock.compare(after, new).agrees
    assert [each.reading.consumer for each in lock.compare(after, chain()).pending] == ["dashboard"]


def test_a_schedule_where_there_was_none_is_better() -> None:
    before = acknowledged_by_all(chain(crons=()))
    found = lock.compare(before, chain())
    assert found.pending == []
    assert found.outdated[0] == "labels promises cadence 24 h, was none"


def test_better_in_one_thing_and_worse_in_another_waits_as_a_whole() -> None:
    before = acknowledged_by_all(chain())
    new = chain(changed(valid_for=36 * HOUR + 30 * timedelta(minutes=1)), crons=(WEEKLY,))
    (pending,) = lock.compare(before, new).pending
    assert list(pending.changes) == ["cadence 168 h, was 24 h"]
    assert lock.accepted(before, new) == before


def test_a_promise_is_recorded_once_the_last_of_its_consumers_has_acknowledged_it() -> None:
    readers = {"dashboard": TOLERANCE, "export": TOLERANCE}
    before = acknowledged_by_all(chain(readers=readers))
    new = chain(changed(valid_for=40 * HOUR), readers=readers)
    first = lock.accepted(before, new, {"dashboard"})
    assert first.readings["dashboard", "labels"].promise.valid_for == 40 * HOUR
    assert first.readings["export", "labels"].promise.valid_for == 37 * HOUR
    assert first.producers["labels"].valid_for == 37 * HOUR
    second = lock.accepted(first, new, {"export"})
    assert second.producers["labels"].valid_for == 40 * HOUR
    assert lock.compare(second, new).agrees


def test_what_moves_to_batch_was_made_in_the_run_itself_before() -> None:
    empty = lock.accepted(None, chain(None, readers={}))
    assert empty == Lock()
    (pending,) = lock.compare(empty, chain()).pending
    assert (pending.old, pending.before) == (None, IN_THE_RUN)
    again = lock.accepted(empty, chain())
    assert again == Lock()
    assert lock.compare(again, chain()).pending[0].before == IN_THE_RUN
    assert lock.compare(lock.accepted(again, chain(), {"dashboard"}), chain()).agrees


def test_without_a_lock_nobody_knows_what_was_before() -> None:
    (pending,) = lock.compare(None, chain()).pending
    assert pending.before == "not recorded: there is no contracts.lock yet"
    begun = lock.accepted(None, chain())
    assert (dict(begun.producers), dict(begun.readings)) == ({"labels": PROMISE}, {})
    (pending,) = lock.compare(begun, chain()).pending
    assert pending.before == "none that was acknowledged"


def test_a_new_reader_has_to_acknowledge_what_others_have() -> None:
    before = acknowledged_by_all(chain())
    new = chain(readers={"dashboard": TOLERANCE, "export": TOLERANCE})
    (pending,) = lock.compare(before, new).pending
    assert (pending.reading.consumer, pending.old, list(pending.changes)) == ("export", None, [])
    assert lock.accepted(before, new) == before


@pytest.mark.parametrize(
    ("tolerance", "said"),
    [
        (replace(TOLERANCE, max_staleness=50 * HOUR), "50 h, min_coverage 0.99, was 38 h, min_coverage 0.99"),
        (replace(TOLERANCE, min_coverage=1.0), "38 h, was 38 h, min_coverage 0.99"),
        (replace(TOLERANCE, on_stale="warn"), "38 h, min_coverage 0.99, on_stale warn, was 38 h, min_coverage 0.99"),
        (
            replace(TOLERANCE, rows="drop_stale"),
            "38 h, min_coverage 0.99, rows drop_stale, was 38 h, min_coverage 0.99",
        ),
    ],
)
def test_a_consumers_own_tolerance_only_makes_the_lock_out_of_date(tolerance: Tolerance, said: str) -> None:
    before = acknowledged_by_all(chain())
    found = lock.compare(before, new := chain(readers={"dashboard": tolerance}))
    assert (found.pending, found.outdated) == ([], [f"dashboard tolerates of labels {said}"])
    assert lock.compare(lock.accepted(before, new), new).agrees


def test_a_tolerance_is_recorded_while_its_consumer_has_yet_to_acknowledge() -> None:
    before = acknowledged_by_all(chain())
    wider = replace(TOLERANCE, max_staleness=50 * HOUR)
    after = lock.accepted(before, chain(changed(valid_for=40 * HOUR), readers={"dashboard": wider}))
    assert after.readings["dashboard", "labels"] == Acknowledged(tolerance=wider, promise=PROMISE)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (chain(readers={}), ["dashboard does not read labels any more"]),
        (chain(None), ["labels is not a batch asset any more", "dashboard does not read labels any more"]),
        (Chain([], now=NOW), ["labels is not a batch asset any more", "dashboard does not read labels any more"]),
    ],
)
def test_what_is_gone_only_makes_the_lock_out_of_date(new: Chain, said: list[str]) -> None:
    before = acknowledged_by_all(chain())
    found = lock.compare(before, new)
    assert (found.pending, found.outdated) == ([], said)
    assert lock.compare(lock.accepted(before, new), new).agrees


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (chain(name="tags"), ["labels is called tags now"]),
        (chain(readers={"board": TOLERANCE}), ["dashboard is called board now"]),
        (
            chain(name="tags", readers={"board": TOLERANCE}),
            ["dashboard is called board now", "labels is called tags now"],
        ),
    ],
)
def test_a_new_name_alone_needs_nobodys_word(new: Chain, said: list[str]) -> None:
    before = acknowledged_by_all(chain())
    found = lock.compare(before, new)
    assert (found.pending, found.outdated) == ([], said)
    assert lock.compare(lock.accepted(before, new), new).agrees


def test_where_two_could_have_taken_a_name_both_are_new() -> None:
    before = acknowledged_by_all(chain())
    found = lock.compare(before, chain(readers={"board": TOLERANCE, "export": TOLERANCE}))
    assert [each.reading.consumer for each in found.pending] == ["board", "export"]


def test_a_new_name_with_a_worse_promise_has_to_be_acknowledged() -> None:
    before = acknowledged_by_all(chain())
    found = lock.compare(before, chain(changed(valid_for=40 * HOUR), readers={"board": TOLERANCE}))
    assert [each.reading.consumer for each in found.pending] == ["board"]


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 9 * * 1-5", "0 3 1 * *", "0 */6 * * *"])
def test_time_alone_puts_no_lock_out_of_date(cron: str) -> None:
    crons = (Cron(cron_schedule=cron, timezone="Europe/Berlin", name="refresh"),)
    contract = FreshnessContract(valid_for=timedelta(days=40))
    before = acknowledged_by_all(chain(replace(LABELS, contract=contract), crons=crons))
    for weeks in range(7, 120, 16):
        later = chain(replace(LABELS, contract=contract), crons=crons, now=NOW + timedelta(weeks=weeks))
        assert lock.compare(before, later).agrees


@pytest.mark.parametrize(
    ("hours", "crons", "expected"),
    [
        (38, (NIGHTLY,), "holds, with 1 h 30 min to spare"),
        (36.5, (NIGHTLY,), "holds, with nothing to spare"),
        (36, (NIGHTLY,), "cannot be met: 30 min short"),
        (38, (), "holds, with 25 h 30 min to spare, as far as is known"),
    ],
)
def test_the_verdict_says_by_how_much(hours: float, crons: tuple[Cron, ...], expected: str) -> None:
    (reading,) = chain(crons=crons, readers={"dashboard": Tolerance(max_staleness=hours * HOUR)}).readings()
    assert lock.verdict(reading, replace(PROMISE, valid_for=36 * HOUR)) == expected


def test_the_verdict_says_what_of_the_promise_is_not_tolerated() -> None:
    (reading,) = chain().readings()
    expected = "holds, with 1 h 30 min to spare; of the promised 40 h, 2 h are not tolerated"
    assert lock.verdict(reading, replace(PROMISE, valid_for=40 * HOUR)) == expected


@pytest.mark.parametrize(
    ("hours", "deadline", "expected"),
    [
        (49, 12, "48 h 30 min with a batch that takes its provider's whole window: still tolerated"),
        (38, 12, "48 h 30 min with a batch that takes its provider's whole window: 10 h 30 min more than is tolerated"),
        (49, 24, None),
    ],
)
def test_a_deadline_that_batches_may_miss_is_told_with_what_follows(
    hours: int, deadline: int, expected: str | None
) -> None:
    producer = changed(valid_for=49 * HOUR, deadline=deadline * HOUR, on_deadline=OnDeadline.FAIL)
    (reading,) = chain(producer, readers={"dashboard": Tolerance(max_staleness=hours * HOUR)}).readings()
    assert lock.when_late(reading) == expected


def test_no_file_is_no_lock(tmp_path: Path) -> None:
    assert lock_file.read(tmp_path / "contracts.lock") is None


def test_a_file_is_written_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    path, whole = tmp_path / "contracts.lock", acknowledged_by_all(chain())
    assert lock_file.write(path, whole)
    assert lock_file.read(path) == whole
    before = path.stat()
    assert not lock_file.write(path, whole)
    assert path.stat().st_ino == before.st_ino
    assert lock_file.write(path, Lock())
    assert path.stat().st_ino != before.st_ino
    assert [each.name for each in tmp_path.iterdir()] == ["contracts.lock"]


def test_what_cannot_be_put_in_place_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "contracts.lock"
    path.mkdir()
    with pytest.raises(ConfigurationError, match=r"contracts\.lock cannot be written .*It is as it was"):
        lock_file.write(path, Lock())
    assert list(tmp_path.iterdir()) == [path]


WHOLE = lock_file.written(acknowledged_by_all(chain()))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            WHOLE.replace(
                'valid_for = "37 h"',
                '<<<<<<< HEAD\nvalid_for = "37 h"\n=======\nvalid_for = "40 h"\n>>>>>>> theirs',
                1,
            ),
            "half merged: line 8 .*Keep one side",
        ),
        (WHOLE.replace("version = 1", "version = 2"), "version 2, written by a newer Offpeak.*Install"),
        (WHOLE.replace("version = 1", "version = 0"), "there is no version 0"),
        (WHOLE.replace("version = 1\n", ""), "missing required field `version`"),
        (WHOLE.replace("version = 1", 'version = "1"'), r"Expected `int`, got `str` - at `\$.version`"),
        (WHOLE[: len(WHOLE) // 2], "cannot be read: .*Restore it from version control"),
        ("", "cannot be read"),
        (WHOLE.replace('"37 h"', '"37 hours"'), "'37 hours' is no duration"),
        (WHOLE.replace('"38 h"', '""'), "'' is no duration"),
        (WHOLE.replace('"38 h"', '"0 h"'), "max_staleness"),
        (WHOLE.replace('lane = "batch"', 'lain = "batch"', 1), "unknown field `lain`"),
        (WHOLE.replace('"37 h"', '"99999999999999999 h"'), "cannot be read"),
        (WHOLE.replace('on_stale = "fail"', 'on_stale = "shrug"'), "Invalid enum value 'shrug'"),
    ],
)
def test_a_lock_that_is_not_whole_is_refused_with_what_to_do(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "contracts.lock"
    path.write_text(text)
    with pytest.raises(CouldNotRead, match=rf"(?s)contracts\.lock .*{problem}") as refused:
        lock_file.read(path)
    assert "Nothing was compared or written." in str(refused.value)


def test_a_lock_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contracts.lock"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CouldNotRead, match="cannot be read"):
        lock_file.read(path)
