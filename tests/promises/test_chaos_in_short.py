"""A short storm; the long one is in tests/faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.embedded_postgres import EmbeddedPostgres

from ..conftest import LocalProvider, Place, fleeting_postgres, postgres_or_skip
from .chaos import judge, rage, workers
from .conftest import Forge


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres that belongs to the test."""
    made = fleeting_postgres(tmp_path / "postgres")
    with postgres_or_skip(made):
        made.provide("ledger")
        yield made


def test_workers_and_postgres_may_die_at_any_moment_and_everything_is_bought_once(
    forge: Forge, server: EmbeddedPostgres, local_provider: LocalProvider, tmp_path: Path
) -> None:
    place = Place(f"{server.url.replace('postgresql:', 'postgresql+psycopg:')}/ledger", tmp_path / "spool")
    crew = workers(1_040, rounds=2)
    storm = rage(
        crew,
        forge,
        place,
        local_provider,
        server,
        restart_every_s=(1.5, 3.0),
        kill_every_s=(0.4, 1.2),
        calm_after_s=10,
        lost_replies=5,
    )
    assert storm.restarts >= 2, storm
    assert storm.kills >= 3, storm
    judge(crew, place, local_provider, storm)
