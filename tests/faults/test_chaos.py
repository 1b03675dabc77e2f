"""A storm over 20,000 requests: Postgres goes down every few seconds, workers are killed at random."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.embedded_postgres import EmbeddedPostgres

from ..conftest import LocalProvider, Place, fleeting_postgres, postgres_or_skip
from ..promises.chaos import judge, rage, workers
from ..promises.conftest import Forge, running

pytestmark = pytest.mark.slow


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    with running("buyer", tmp_path) as program:
        yield Forge(program)


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
    crew = workers(20_000, rounds=10)
    storm = rage(
        crew,
        forge,
        place,
        local_provider,
        server,
        restart_every_s=(2.0, 5.0),
        kill_every_s=(0.3, 1.2),
        calm_after_s=90,
        lost_replies=40,
    )
    assert storm.restarts >= 10, storm
    assert storm.kills >= 40, storm
    judge(crew, place, local_provider, storm)
