"""Tables of a database."""

from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from offpeak.errors import ConfigurationError, CouldNotRead
from resources.sources import SourceTables


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE tickets (ticket_id TEXT, subject TEXT, seats INTEGER, updated_at TEXT)"
        )
        connection.exec_driver_sql(
            "INSERT INTO tickets VALUES ('T-1', NULL, 1, '2026-01-01'), ('T-2', 'Hi', NULL, '2026-01-02')"
        )
        connection.exec_driver_sql("CREATE TABLE plain (word TEXT)")
        connection.exec_driver_sql("INSERT INTO plain VALUES ('a'), ('b')")
    return engine


@pytest.fixture
def source(engine: sa.Engine) -> SourceTables:
    return SourceTables(url=str(engine.url))


def test_the_frame_and_the_stream_hold_the_same_values(source: SourceTables) -> None:
    frame, rows = source.frame("tickets"), list(source.rows("tickets"))

    assert [tuple(row) for row in frame.itertuples(index=False)] == [tuple(row) for row in rows]
    assert rows[0]._asdict() == {"ticket_id": "T-1", "subject": None, "seats": 1, "updated_at": "2026-01-01"}


def test_a_missing_value_is_none_and_leaves_the_columns_integers_whole(source: SourceTables) -> None:
    frame = source.frame("tickets")

    assert frame.subject.tolist() == [None, "Hi"]
    assert [repr(seats) for seats in frame.seats] == ["1", "None"]


def test_a_column_whose_name_is_no_identifier_is_named_by_its_place_as_itertuples_does(
    engine: sa.Engine, source: SourceTables
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE TABLE odd (a TEXT, "first name" TEXT)')
        connection.exec_driver_sql("INSERT INTO odd VALUES ('x', 'y')")

    (row,) = source.rows("odd")
    (same,) = source.frame("odd").itertuples(index=False)

    assert row._fields == same._fields == ("a", "_1")


def test_an_empty_table_is_a_frame_with_its_columns(engine: sa.Engine, source: SourceTables) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM tickets")

    assert list(source.frame("tickets").columns) == ["ticket_id", "subject", "seats", "updated_at"]
    assert list(source.rows("tickets")) == []


def test_each_load_reads_the_rows_as_they_are_then(engine: sa.Engine, source: SourceTables) -> None:
    assert len(source.frame("plain")) == 2
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO plain VALUES ('c')")

    assert len(source.frame("plain")) == 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tickets SET subject = 'x', updated_at = '2026-02-01' WHERE ticket_id = 'T-1'",
        "DELETE FROM tickets WHERE ticket_id = 'T-1'",
        "INSERT INTO tickets (ticket_id) VALUES ('T-3')",
    ],
)
def test_a_change_of_the_rows_is_a_new_version(engine: sa.Engine, source: SourceTables, change: str) -> None:
    before = source.version("tickets")
    assert source.version("tickets") == before

    with engine.begin() as connection:
        connection.exec_driver_sql(change)

    assert source.version("tickets") != before


def test_a_table_without_updated_at_has_a_version_of_all_its_rows(engine: sa.Engine, source: SourceTables) -> None:
    before = source.version("plain")

    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE plain SET word = 'z' WHERE word = 'a'")

    assert source.version("plain") != before


def test_a_view_is_a_table_too(engine: sa.Engine, source: SourceTables) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW open_tickets AS SELECT * FROM tickets")

    assert source.frame("open_tickets").ticket_id.tolist() == ["T-1", "T-2"]


def test_a_missing_table_names_the_asset_the_address_and_what_is_there(source: SourceTables) -> None:
    with pytest.raises(ConfigurationError) as refused:
        source.rows("documents")

    for part in ("documents", "sqlite:///", "plain, tickets"):
        assert part in str(refused.value)


def test_a_missing_sqlite_file_is_named_and_not_created(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"

    with pytest.raises(ConfigurationError, match=r"missing\.db.*no such file"):
        SourceTables(url=f"sqlite:///{missing}").frame("tickets")

    assert not missing.exists()


def test_a_file_that_is_no_database_is_never_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "app.db").write_text("this is no database, only prose that is long enough to be read as a header" * 9)

    with pytest.raises(CouldNotRead, match="not a database"):
        SourceTables(url=f"sqlite:///{tmp_path / 'app.db'}").frame("tickets")


def test_an_unreachable_server_is_named_without_its_password() -> None:
    # Port 1 of this machine refuses at once.
    source = SourceTables(url="postgresql+psycopg://reader:hunter2@127.0.0.1:1/app?application_name=hunter2")

    with pytest.raises(CouldNotRead) as refused:
        source.frame("tickets")

    assert "postgresql+psycopg://reader:***@127.0.0.1:1/app" in str(refused.value)
    assert "hunter2" not in _everything_said(refused.value)


@pytest.mark.parametrize(
    "url", ["hunter2", "nosuch+driver://me:hunter2@host/app", "postgresql://me:hunter2@host:x/app"]
)
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SQLAlchemy") as refused:
        SourceTables(url=url).frame("tickets")

    assert "hunter2" not in _everything_said(refused.value)


def _everything_said(error: BaseException) -> str:
    """The error as a log shows it, with what caused it."""
    parts = [str(error)]
    shown = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(parts + ([_everything_said(shown)] if shown else []))


def test_pandas_reads_the_stream(source: SourceTables) -> None:
    assert pd.DataFrame(source.rows("tickets")).ticket_id.tolist() == ["T-1", "T-2"]


def test_postgres_gives_its_own_types_and_streams_to_the_end(postgres: str) -> None:
    url = f"{postgres.replace('postgresql:', 'postgresql+psycopg:')}/postgres"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE source_rows (id bigint PRIMARY KEY, seats int, updated_at timestamptz)"
        )
        connection.exec_driver_sql(
            "INSERT INTO source_rows SELECT i, nullif(i, 2), '2026-01-01 12:00+01' FROM generate_series(1, 5000) i"
        )
    source = SourceTables(url=url)
    before = source.version("source_rows")

    frame = source.frame("source_rows").set_index("id")

    assert sum(row.id for row in source.rows("source_rows")) == 5000 * 5001 // 2
    assert [frame.seats[1], frame.seats[2]] == [1, None]
    assert frame.updated_at[1] == pd.Timestamp("2026-01-01 11:00", tz="UTC")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE source_rows SET updated_at = now() WHERE id = 7")
    assert source.version("source_rows") != before
    engine.dispose()
