"""`offpeak jobs resolve` shows what is unknown, says what can be done, and does what it is told."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from offpeak.cli import build_app
from offpeak.ledger import submissions

from ...conftest import LocalProvider, Shop, tickets

PROJECT = """
import dagster as dg
from offpeak import BatchApi, with_offpeak

defs = with_offpeak(dg.Definitions(resources={{"batch_api": BatchApi(openai_api_key="k", openai_base_url="{url}/v1")}}))
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, shop: Shop, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in a project whose account is at the local provider, and whose ledger is the shop's."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "resolved_project"\n'
        'code_location_target_module = "resolved_project"\n'
    )
    (folder / "resolved_project.py").write_text(PROJECT.format(url=local_provider.url))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    url = shop.ledger.database.url.render_as_string(hide_password=False)

    def command(*words: str) -> Result:
        return CliRunner().invoke(build_app(), ["jobs", "resolve", *words, "--database-url", url])

    return command


def lose(shop: Shop, local_provider: LocalProvider, fault: str) -> int:
    local_provider.fault(fault)
    shop.list_lag = timedelta(days=1)
    job_id = shop.begin(tickets(3))
    shop.work(job_id, asset="labels").hand_over(patience=timedelta(0))
    return job_id


def test_with_nothing_unknown_it_says_so(run: Run, shop: Shop) -> None:
    shop.buy(tickets(2))
    assert "The outcome of every create is known" in run().output
    assert json.loads(run("--json").output) == {"unknown": []}


def test_it_shows_the_batch_and_both_ways_out_and_takes_one(
    run: Run, shop: Shop, local_provider: LocalProvider
) -> None:
    job_id = lose(shop, local_provider, "ghost_reset")
    (batch,) = local_provider.batches()

    listed = run()
    assert listed.exit_code == 0, listed.output
    assert f"Submission 1, job {job_id} of labels: a create of 3 requests was sent to openai:127.0.0.1" in listed.output
    assert f"It is batch {batch['id']}" in listed.output
    assert "offpeak jobs resolve 1 --adopt BATCH" in listed.output
    assert "offpeak jobs resolve 1 --absent" in listed.output
    (told,) = json.loads(run("--json").output)["unknown"]
    assert (told["submission"], told["requests"], told["candidates"][0]["proven"]) == (1, 3, True)

    adopted = run("1", "--adopt", batch["id"])
    assert adopted.exit_code == 0, adopted.output
    assert f"Submission 1 is batch {batch['id']}. Materialise labels again" in adopted.output
    assert shop.collect(job_id).rows == 3


def test_what_became_nothing_is_queued_again(run: Run, shop: Shop, local_provider: LocalProvider) -> None:
    job_id = lose(shop, local_provider, "create_reset")
    assert "shows no batch that it could be" in run().output
    said = run("1", "--absent")
    assert "became nothing, and its 3 requests are queued again" in said.output
    assert submissions.of_job(shop.ledger, job_id)[0].stamp == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--absent"], "Name the submission"),
        (["1", "--absent", "--adopt", "batch_1"], "Say one of the two"),
        (["9"], "no submission 9"),
    ],
)
def test_what_cannot_be_done_is_refused(run: Run, shop: Shop, words: list[str], said: str) -> None:
    shop.buy(tickets(1))
    refused = run(*words)
    assert refused.exit_code != 0
    assert said in f"{refused.output}{refused.exception or ''}"
