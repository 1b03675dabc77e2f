"""The SQL view of each asset, read as any program would: through the driver alone, without Offpeak.

It shows what the frame shows, row by row, with types; and making it never costs a run what it has bought.
"""

import json
import logging
import math
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Any, Literal

import numpy as np
import orjson
import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row
from pydantic import BaseModel, create_model

from offpeak.ledger import tables
from offpeak.ledger.erasing import erase
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import Provider
from offpeak.requests import Chat, Embedding, Moderation
from offpeak.results import views
from offpeak.results.store import ResultStore
from offpeak.results.views import ViewLeft, view_name

from ...conftest import EMBEDDING_MODEL, Label, LocalProvider, Place, Shop, tickets

NOW = datetime(2026, 11, 20, 12, 0, 0, 123_456, tzinfo=UTC)
HOUR = timedelta(hours=1)
OWN = ["as_of", "produced_at", "effective_until", "is_fresh", "model", "cost_usd", "rescued"]


@contextmanager
def plain(place: Place) -> Iterator[Any]:
    """A connection of the driver's own."""
    if place.url.startswith("sqlite"):
        with closing(sqlite3.connect(place.url.removeprefix("sqlite:///"))) as connection:
            connection.row_factory = sqlite3.Row
            yield connection
    else:
        with psycopg.connect(place.url.replace("+psycopg", ""), row_factory=dict_row) as connection:
            yield connection


def select(place: Place, query: str) -> list[dict[str, Any]]:
    with plain(place) as connection:
        return [dict(row) for row in connection.execute(query)]


def columns(place: Place, view: str) -> list[str]:
    with plain(place) as connection:
        return [column[0] for column in connection.execute(f"SELECT * FROM {quoted(view)}").description]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def moment(value: Any) -> datetime:
    """A time as the database gives it: a datetime from Postgres, ISO 8601 from SQLite."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def answer(ledger: Ledger, key: str, **values: Any) -> None:
    """Put other words into the answer that a key wants."""
    wanted, table = tables.wanted, tables.answer
    ids = sa.select(wanted.c.request_id).where(wanted.c.key == key)
    with ledger.database.write() as connection:
        connection.execute(table.update().where(table.c.request_id.in_(ids)).values(**values))


def same(shown: Any, framed: Any) -> bool:
    """Whether a value of the view is the one of the frame, which has no types of SQL."""
    if framed is None or (isinstance(framed, float) and math.isnan(framed)):
        return shown is None
    if isinstance(framed, np.ndarray):
        return np.array_equal(np.frombuffer(shown, dtype="<f4"), framed)
    if isinstance(framed, (dict, list)):
        return (json.loads(shown) if isinstance(shown, str) else shown) == framed
    if isinstance(framed, datetime):
        return moment(shown) == framed
    return bool(shown == framed)


def assert_shows_the_frame(
    shop: Shop, place: Place, asset: str, output: type[BaseModel] | None
) -> list[dict[str, Any]]:
    frame = ResultStore(shop.ledger).frame(asset, partitions=None, output=output)
    name = view_name(asset)
    by = '"partition_key", "key"' if "partition_key" in frame.columns else '"key"'
    rows = select(place, f"SELECT * FROM {quoted(name)} ORDER BY {by}")  # the keys of tests sort alike everywhere
    assert [each for each in columns(place, name) if each != "is_fresh"] == list(frame.columns)
    assert len(rows) == len(frame)
    for row, expected in zip(rows, frame.to_dict("records"), strict=True):
        for column, value in expected.items():
            assert same(row[column], value), (asset, row["key"], column, row[column], value)
        assert bool(row["is_fresh"]) == (datetime.now(UTC) <= expected["effective_until"])
    return rows


def test_a_landed_asset_can_be_selected_from_as_its_consumers_see_it(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(tickets(3))
    assert columns(any_place, "results_labels") == ["key", "category", "urgent", *OWN]
    rows = assert_shows_the_frame(any_shop, any_place, "labels", Label)
    assert [row["key"] for row in rows] == ["T0000", "T0001", "T0002"]
    assert select(
        any_place, "SELECT count(*) AS n FROM results_labels WHERE category IN ('billing', 'bug', 'other')"
    ) == [{"n": 3}]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    depth: int


class Typed(BaseModel):
    maybe: str | None
    whole: int
    perhaps_whole: int | None
    number: float
    either: int | float
    yes: bool
    one_of: Literal["a", "b"]
    grade: Literal[1, 2] | None
    colour: Colour | None
    day: date
    price: Decimal
    nested: Inner
    perhaps_nested: Inner | None
    many: list[str]
    mixed: str | list[str]


VALUES = {
    "maybe": "it's 100%",
    "whole": 9_007_199_254_740_993,
    "perhaps_whole": -3,
    "number": 0.1,
    "either": 2,
    "yes": True,
    "one_of": "a",
    "grade": 2,
    "colour": "red",
    "day": "2026-11-20",
    "price": "1.10",
    "nested": {"depth": 1},
    "perhaps_nested": None,
    "many": ["a", "ü"],
    "mixed": "alone",
}
NOTHING = VALUES | dict.fromkeys(("maybe", "perhaps_whole", "grade", "colour"))


def typed(shop: Shop) -> Shop:
    return Shop(shop.ledger, shop.provider, asset="typed", output=Typed)


def buy_typed(shop: Shop) -> None:
    """Three rows: with a value in each field, without what may be missing, and of a former, other form."""
    Shop(shop.ledger, shop.provider, asset="typed", output=None).buy(tickets(3))
    with shop.ledger.database.write() as connection:
        connection.execute(tables.target.update().values(fields=orjson.dumps(list(VALUES)).decode()))
    for key, output in (("T0000", VALUES), ("T0001", NOTHING)):
        answer(shop.ledger, key, output=orjson.dumps(output).decode())
    views.renew(shop.ledger.database, "typed", output=Typed)


def test_values_have_the_types_of_the_database(any_shop: Shop, any_place: Place) -> None:
    buy_typed(any_shop)
    full, empty, _ = assert_rows = select(any_place, 'SELECT * FROM results_typed ORDER BY "key"')
    assert len(assert_rows) == 3
    for name in ("maybe", "whole", "perhaps_whole", "number", "one_of", "grade", "colour", "day", "price"):
        assert full[name] == VALUES[name], name
        assert type(full[name]) is type(VALUES[name]), name
    assert (full["either"], type(full["either"])) == (2.0, float)
    assert full["yes"] == 1
    if any_place.url.startswith("sqlite"):
        assert (full["nested"], full["many"], full["mixed"]) == ('{"depth":1}', '["a","ü"]', '"alone"')
    else:
        assert full["yes"] is True
        assert (full["nested"], full["many"], full["mixed"]) == ({"depth": 1}, ["a", "ü"], "alone")
        assert full["as_of"].tzinfo is not None
    assert [empty[name] for name in ("maybe", "perhaps_whole", "grade", "colour", "perhaps_nested")] == [None] * 5


@pytest.mark.parametrize(
    "odd",
    [
        "plain words { that are no JSON",
        "{ neither is this }",
        "[1, 2]",
        '"a string"',
        "null",
        "17",
        '{"whole": "words", "number": "1", "yes": 1, "maybe": 3, "one_of": ["a"], "grade": true}',
        '{"whole": 1e30, "perhaps_whole": 2.5, "either": 1e300}',
        '{"whole": 9223372036854775808, "perhaps_whole": -100000000000000000000000}',
        '{"maybe": "a \\u0000 NUL", "mixed": "a \\\\u0000 backslash"}',
    ],
)
def test_a_former_answer_of_another_form_breaks_no_select(any_shop: Shop, any_place: Place, odd: str) -> None:
    buy_typed(any_shop)
    answer(any_shop.ledger, "T0002", output=odd)
    *_, row = select(any_place, 'SELECT * FROM results_typed ORDER BY "key"')
    assert row["key"] == "T0002"
    if "NUL" in odd:
        assert row["maybe"].startswith("a ")
        assert "\\\\u0000 backslash" in json.dumps(row["mixed"])
    else:
        assert [row[name] for name in ("maybe", "whole", "perhaps_whole", "number", "yes", "one_of", "grade")] == [
            None
        ] * 7
    assert row["either"] == (1e300 if "1e300" in odd else None)


def test_a_postgres_that_cannot_tell_json_from_text_shows_the_same(
    postgres_shop: Shop, postgres_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy_typed(postgres_shop)
    answer(postgres_shop.ledger, "T0002", output="plain words { that are no JSON }")
    before = select(postgres_place, "SELECT * FROM results_typed")
    monkeypatch.setattr(postgres_shop.ledger.database.engine.dialect, "server_version_info", (15, 4))
    assert views.renew(postgres_shop.ledger.database, "typed", output=Typed)
    assert select(postgres_place, "SELECT * FROM results_typed") == before


def test_a_row_is_fresh_until_its_promise_ends_by_the_databases_clock(any_shop: Shop, any_place: Place) -> None:
    now = datetime.now(UTC)
    any_shop.buy(partitions={"old": tickets(1), "new": tickets(1)}, as_of=now - 2 * HOUR)
    query = "SELECT partition_key, is_fresh, as_of, effective_until FROM results_labels"
    for promised, fresh in ((2 * HOUR + timedelta(minutes=10), True), (2 * HOUR - timedelta(milliseconds=5), False)):
        with any_shop.ledger.database.write() as connection:
            connection.execute(
                tables.target.update()
                .where(tables.target.c.partition_key == "old")
                .values(valid_for=promised // timedelta(microseconds=1))
            )
        found = {row["partition_key"]: row for row in select(any_place, query)}
        assert bool(found["old"]["is_fresh"]) is fresh
        assert moment(found["old"]["effective_until"]) - moment(found["old"]["as_of"]) == promised
        assert bool(found["new"]["is_fresh"]) is True
        assert moment(found["new"]["as_of"]) == now - 2 * HOUR


def test_a_batch_that_took_longer_than_its_promise_is_not_fresh_when_it_lands(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(tickets(1), as_of=datetime.now(UTC) - 6 * HOUR, valid_for=5 * HOUR)
    assert [bool(row["is_fresh"]) for row in select(any_place, "SELECT is_fresh FROM results_labels")] == [False]


def test_a_changed_row_shows_its_former_answer_with_its_former_age(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(tickets(10), as_of=NOW - 30 * HOUR)
    any_shop.leave(tickets(10) | {"T0003": "Another text", "T0099": "A new text"}, as_of=NOW)
    rows = {row["key"]: moment(row["as_of"]) for row in assert_shows_the_frame(any_shop, any_place, "labels", Label)}
    assert rows.pop("T0003") == NOW - 30 * HOUR
    assert set(rows.values()) == {NOW}
    assert "T0099" not in rows


def test_a_partition_is_a_column_once_there_is_one(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(partitions={"a": tickets(2), "b": tickets(2, start=2)})
    assert columns(any_place, "results_labels") == ["key", "category", "urgent", "partition_key", *OWN]
    assert_shows_the_frame(any_shop, any_place, "labels", Label)


def test_vectors_are_bytes_and_other_answers_have_their_columns(any_shop: Shop, any_place: Place) -> None:
    ledger, provider = any_shop.ledger, any_shop.provider
    Shop(ledger, provider, asset="vectors", model=EMBEDDING_MODEL, output=None).buy(
        [Embedding(key="K", text="A text.")]
    )
    (vector,) = assert_shows_the_frame(any_shop, any_place, "vectors", None)
    assert len(vector["embedding"]) % 4 == 0
    Shop(ledger, provider, asset="flags", model="openai/omni-moderation-latest", output=None).buy(
        [Moderation(key="K", text="A text.")]
    )
    (flag,) = assert_shows_the_frame(any_shop, any_place, "flags", None)
    assert flag["flagged"] in {True, False}
    Shop(ledger, provider, asset="digests", output=None).buy([Chat(key="K", prompt="Say it in one sentence.")])
    (digest,) = assert_shows_the_frame(any_shop, any_place, "digests", None)
    assert digest["text"]


def test_view_and_frame_agree_row_by_row_over_a_ledger_of_many_plans(
    any_shop: Shop, any_place: Place, local_provider: LocalProvider
) -> None:
    random = Random(5)
    for step in range(8):
        rows = {
            part: {
                f"T{number:02d}": f"Text {part} {number} {random.randrange(3)}"
                for number in range(random.randrange(1, 9))
            }
            for part in random.sample(["mon", "tue", "wed"], random.randrange(1, 4))
        }
        asset = random.choice(["labels", "prefix/labels"])
        as_of = NOW + step * HOUR
        more: dict[str, Any] = {"asset": asset, "as_of": as_of, "code_version": str(step), "partitions": rows}
        if random.random() < 0.4:
            local_provider.fault("error_lines", share=0.4, code="invalid_request", times=None)
        if random.random() < 0.3 and step:
            any_shop.begin(**more)
        else:
            any_shop.buy(**more)
        local_provider.call("DELETE", "/local/faults")
        for name in ResultStore(any_shop.ledger).assets():
            if select_exists(any_place, view_name(name)):
                assert_shows_the_frame(any_shop, any_place, name, Label)
    assert select_exists(any_place, "results_prefix__labels")


def select_exists(place: Place, name: str) -> bool:
    with plain(place) as connection:
        if place.url.startswith("sqlite"):
            return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone())
        return connection.execute("SELECT to_regclass(%s) AS there", (f'"{name}"',)).fetchone()["there"] is not None


def test_an_erased_row_is_gone_from_the_view(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(tickets(3))
    erase(any_shop.ledger, "labels", "T0001", who="a test")
    assert [row["key"] for row in assert_shows_the_frame(any_shop, any_place, "labels", Label)] == ["T0000", "T0002"]


def test_nothing_but_selecting_is_possible(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(tickets(1))
    for statement in (
        "DELETE FROM results_labels",
        "UPDATE results_labels SET category = 'bug'",
        "INSERT INTO results_labels (key) VALUES ('K')",
    ):
        with (
            plain(any_place) as connection,
            pytest.raises((sqlite3.Error, psycopg.Error), match=r"view|updat|insert|delete"),
        ):
            connection.execute(statement)


def test_nothing_is_done_while_the_view_is_as_it_should_be(
    any_shop: Shop, any_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_shop.buy(tickets(2))

    def refuse(*_: object) -> None:
        raise AssertionError("a view was made again")

    monkeypatch.setattr(views, "_run", refuse)
    assert views.renew(any_shop.ledger.database, "labels", output=Label) is False
    with pytest.raises(AssertionError):
        views.renew(any_shop.ledger.database, "labels", output=Typed)


class Longer(Label):
    tone: str


def test_another_output_model_gives_the_view_its_columns(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(tickets(2))
    assert columns(any_place, "results_labels") == ["key", "category", "urgent", *OWN]
    any_shop.buy(tickets(3), output=Longer, code_version="2")
    assert columns(any_place, "results_labels") == ["key", "category", "urgent", "tone", *OWN]
    assert_shows_the_frame(any_shop, any_place, "labels", Longer)


ODD = ["with space", "per%cent", "quo'te", 'dou"ble', "back\\slash", "co:lon", "ünï", "%(pyformat)s", "$.a", "x" * 70]


def test_odd_names_of_fields_are_columns(any_shop: Shop, any_place: Place) -> None:
    fields: dict[str, Any] = dict.fromkeys(ODD, (str, ...)) | {
        'number "of" it': (int, ...),
        'list "of" it': (list[int], ...),
    }
    odd = create_model("Odd", **fields)
    Shop(any_shop.ledger, any_shop.provider, output=None).buy(tickets(1))
    values = {name: f"value of {name}" for name in ODD} | {'number "of" it': 3, 'list "of" it': [1]}
    answer(any_shop.ledger, "T0000", output=odd(**values).model_dump_json())
    views.renew(any_shop.ledger.database, "labels", output=odd)
    (row,) = select(any_place, "SELECT * FROM results_labels")
    for name in ODD[:-1]:
        assert row[name] == values[name]
    assert row['number "of" it'] == 3
    assert same(row['list "of" it'], [1])
    (cut,) = (name for name in row if name.startswith("xxx"))
    assert (len(cut), row[cut]) == (63, values[ODD[-1]])


def test_odd_names_of_assets_are_views(any_shop: Shop, any_place: Place) -> None:
    names = ["a/b", "a__b", "per%cent", "quo'te", 'dou"ble', "back\\slash", "x" * 80, "x" * 81, "select"]
    for name in names:
        any_shop.buy(tickets(1), asset=name)
    assert len({view_name(name) for name in names}) == len(names)
    assert view_name("a/b") == "results_a__b"
    for name in names:
        assert len(view_name(name).encode()) <= 63
        assert_shows_the_frame(any_shop, any_place, name, Label)


@pytest.mark.parametrize("name", ["a__b", "a_/b", "a__b/c", "é" * 40])
def test_a_name_that_two_assets_could_share_has_a_digest(name: str) -> None:
    assert view_name(name) != "results_" + "__".join(name.split("/"))
    assert view_name(name) == view_name(name)


def test_what_somebody_else_made_under_that_name_is_left_alone(
    any_shop: Shop, any_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with any_shop.ledger.database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE results_labels (mine TEXT)")
    with caplog.at_level(logging.WARNING):
        assert any_shop.buy(tickets(1)).rows == 1
    assert "labels: its rows are to be read in SQL as results_labels, but something else has that name" in caplog.text
    assert columns(any_place, "results_labels") == ["mine"]


def test_sqlite_does_not_take_one_assets_view_for_anothers(shop: Shop, place: Place) -> None:
    shop.buy(tickets(1))
    shop.buy(tickets(1), asset="Labels")
    with pytest.raises(ViewLeft, match="something else has that name"):
        views.renew(shop.ledger.database, "Labels", output=Label)
    assert_shows_the_frame(shop, place, "labels", Label)


def test_fields_that_sqlite_cannot_tell_apart_are_refused(shop: Shop) -> None:
    shop.buy(tickets(1))
    with pytest.raises(ViewLeft, match="does not tell the columns Model, model apart"):
        views.renew(shop.ledger.database, "labels", output=create_model("Alike", Model=(str, ...)))


@pytest.fixture
def postgres_shop(postgres_place: Place, open_account: Callable[..., Provider]) -> Iterator[Shop]:
    with postgres_place.open() as ledger:
        yield Shop(ledger, open_account())


def test_a_view_that_others_stand_on_is_left_with_its_columns(
    postgres_shop: Shop, postgres_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    postgres_shop.buy(tickets(1))
    with psycopg.connect(postgres_place.url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE VIEW dbt_model AS SELECT key, category FROM results_labels")
    longer = Shop(postgres_shop.ledger, postgres_shop.provider, output=Longer)
    with caplog.at_level(logging.WARNING):
        assert longer.buy(tickets(2), code_version="2").rows == 2
    (said,) = (each.getMessage() for each in caplog.records if "SQL view" in each.getMessage())
    assert "view dbt_model" in said
    assert 'DROP VIEW "results_labels" CASCADE' in said
    assert columns(postgres_place, "results_labels") == ["key", "category", "urgent", *OWN]
    assert len(select(postgres_place, "SELECT * FROM dbt_model")) == 2
    with psycopg.connect(postgres_place.url.replace("+psycopg", "")) as connection:
        connection.execute("DROP VIEW results_labels CASCADE")
    longer.buy(tickets(2))
    assert columns(postgres_place, "results_labels") == ["key", "category", "urgent", "tone", *OWN]


def test_those_who_may_read_a_view_may_read_it_when_it_was_made_anew(
    postgres_shop: Shop, postgres_place: Place
) -> None:
    postgres_shop.buy(tickets(1))
    role = f"reader_{postgres_place.url.rpartition('_')[2]}"
    address = postgres_place.url.replace("+psycopg", "")
    with psycopg.connect(address) as connection:
        connection.execute(f'CREATE ROLE "{role}"')
        connection.execute(f'GRANT SELECT ON results_labels TO "{role}"')
    assert views.renew(postgres_shop.ledger.database, "labels", output=Longer)
    with psycopg.connect(address) as connection:
        connection.execute(f'SET ROLE "{role}"')
        assert len(connection.execute("SELECT tone FROM results_labels").fetchall()) == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM answer")


def test_a_reader_who_does_not_let_go_is_not_waited_for_for_ever(
    postgres_shop: Shop, postgres_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LOCK_PATIENCE", "50ms")
    postgres_shop.buy(tickets(1))
    with psycopg.connect(postgres_place.url.replace("+psycopg", "")) as connection:
        connection.execute("SELECT * FROM results_labels")
        with pytest.raises(ViewLeft, match="the next landing renews it"):
            views.renew(postgres_shop.ledger.database, "labels", output=Longer)
    assert views.renew(postgres_shop.ledger.database, "labels", output=Longer)


def test_two_that_land_at_once_make_one_view(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(tickets(1))
    with any_shop.ledger.database.write() as connection:
        connection.exec_driver_sql("DROP VIEW results_labels")
    ledgers = [any_place.open() for _ in range(6)]
    barrier, done, failed = threading.Barrier(6), [], []

    def land(ledger: Ledger) -> None:
        barrier.wait()
        try:
            done.append(views.renew(ledger.database, "labels", output=Label))
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=land, args=(each,)) for each in ledgers]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for ledger in ledgers:
        ledger.close()
    assert failed == []
    assert sorted(done) == [False] * 5 + [True]
    assert_shows_the_frame(any_shop, any_place, "labels", Label)


def test_a_view_that_cannot_be_made_costs_no_run_its_rows(
    any_shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(views, "renew", fail)
    with caplog.at_level(logging.WARNING):
        assert any_shop.buy(tickets(1)).rows == 1
    assert "labels: no SQL view of its rows was made: RuntimeError: a mistake of ours" in caplog.text
