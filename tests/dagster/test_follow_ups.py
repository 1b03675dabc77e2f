"""The hybrid as the application lives it: an insert, a batch, and the answer at the user's next visit."""

import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ai_assets.follow_ups import follow_up_results
from ai_assets.sources import follow_up_requests
from offpeak import read
from resources import sample_data
from resources.sources import SourceTables

from ..docs.pages import ROOT, blocks

INSERT = "INSERT INTO follow_up_requests VALUES (?, ?, ?, ?, ?)"
ASKED = (
    "Why is my payout late?",
    "Payouts come twice a week. The first one is held for seven days.",
    "2026-11-21T10:00Z",
)


@pytest.fixture
def application(tmp_path: Path) -> Path:
    sample_data.create(tmp_path / "source.db")
    return tmp_path / "source.db"


def test_an_inserted_request_is_answered_by_the_next_visit_and_nothing_is_bought_twice(
    project: Any, application: Path, tmp_path: Path, provider: Any
) -> None:
    tables = SourceTables(url=f"sqlite:///{application}")
    family = project(follow_up_results, follow_up_requests, resources={"source_tables": tables})

    def bought() -> tuple[int, int]:
        metadata = family.landed("follow_up_results")["follow_up_results", None].metadata
        return metadata["bought"], metadata["removed"]

    assert bought() == (8, 0)
    assert bought() == (0, 0)
    with sqlite3.connect(application) as connection:
        connection.execute(INSERT, ("F-9001", "U-031", *ASKED))
    assert bought() == (1, 0)

    ledger = f"sqlite:///{tmp_path / 'offpeak.db'}"
    answers = read("follow_up_results", max_staleness=timedelta(hours=14), database_url=ledger).set_index("key")
    assert answers.loc["F-9001", "headline"]
    assert answers.loc["F-9001", "steps"]
    with sqlite3.connect(f"file:{tmp_path / 'offpeak.db'}?mode=ro", uri=True) as connection:
        view = connection.execute("SELECT headline FROM results_follow_up_results WHERE key = 'F-9001'").fetchall()
    assert view == [(answers.loc["F-9001", "headline"],)]

    with sqlite3.connect(application) as connection:  # the user has seen it
        connection.execute("DELETE FROM follow_up_requests WHERE request_id = 'F-9001'")
    assert bought() == (0, 1)
    assert "F-9001" not in set(read("follow_up_results", max_staleness=timedelta(hours=14), database_url=ledger)["key"])


def test_the_lines_of_the_page_queue_a_request_and_read_its_answer(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: Any
) -> None:
    page, ledger = ROOT / "docs" / "how-to" / "queue-follow-ups.md", tmp_path / "offpeak.db"
    create, insert, select, delete = (block.text for block in blocks(page, "sql"))
    (read_answers,) = (block.text for block in blocks(page, "python"))
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute(create)
        connection.execute(insert)
    tables = SourceTables(url=f"sqlite:///{tmp_path / 'app.db'}")
    family = project(follow_up_results, follow_up_requests, resources={"source_tables": tables})
    family.run("follow_up_results")
    monkeypatch.setenv("OFFPEAK_DATABASE_URL", f"sqlite:///{ledger}")
    namespace: dict[str, Any] = {}
    exec(read_answers, namespace)
    (answer,) = namespace["answers_to"](["F-9001", "F-unknown"]).itertuples()
    with sqlite3.connect(ledger) as connection:
        ((headline, _, steps),) = connection.execute(select).fetchall()
    assert (headline, json.loads(steps)) == (answer.headline, answer.steps)
    with sqlite3.connect(tmp_path / "app.db") as connection:
        assert connection.execute(delete).rowcount == 1


def test_two_users_who_ask_the_same_do_not_share_an_answer(project: Any, application: Path, provider: Any) -> None:
    with sqlite3.connect(application) as connection:
        connection.execute("DELETE FROM follow_up_requests")
        for number, user in enumerate(("U-1", "U-2", "U-2"), start=1):
            connection.execute(INSERT, (f"F-{number}", user, *ASKED))
    tables = SourceTables(url=f"sqlite:///{application}")
    family = project(follow_up_results, follow_up_requests, resources={"source_tables": tables})
    landed = family.landed("follow_up_results")["follow_up_results", None].metadata
    assert (landed["rows"], landed["bought"]) == (3, 2), "one user who asks twice is answered once, two are not one"
