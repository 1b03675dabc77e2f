"""The sample log and the sample application hold the classic cases: each is found, named and priced."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from offpeak.audit.audit import Audit, audit
from offpeak.audit.case import Case
from offpeak.audit.job import Lane, Source
from offpeak.audit.report import WorkloadAudit, report
from offpeak.audit.words import what

from .jobs import NOW

SAMPLE = Path(__file__).parents[3] / "sample_data"

CLASSICS = {
    "morning_digest": Case.SCHEDULE,
    "review_labels": Case.LOOP,
    "inbox_agent": Case.POLLING,
    "quarterly_report": Case.PLEASE_WAIT,
    "caption_images": Case.SERIAL,
}
"""The 9 am digest in the realtime lane, ten thousand reviews in a loop, the agent that looks into an inbox every
minute, the four-hour "please wait", and the progress bar over serial calls."""


@pytest.fixture(scope="module")
def from_both() -> Audit:
    return audit(usage=[SAMPLE / "llm_calls.jsonl.gz"], code=[SAMPLE / "app"], zone="Europe/Berlin", now=NOW)


@pytest.fixture(scope="module")
def from_all() -> WorkloadAudit:
    return report(
        audit(
            workloads=SAMPLE / "workloads.yaml",
            usage=[SAMPLE / "llm_calls.jsonl.gz"],
            code=[SAMPLE / "app"],
            zone="Europe/Berlin",
            now=NOW,
        )
    )


@pytest.mark.parametrize("name", CLASSICS)
def test_each_classic_case_is_found_in_the_log_and_priced_by_the_month(name: str) -> None:
    found = audit(usage=[SAMPLE / "llm_calls.jsonl.gz"], zone="Europe/Berlin", now=NOW).job(name)
    assert found.job.case is CLASSICS[name]
    assert (found.lane, found.misfit) == (Lane.BATCH, True)
    assert found.saving_pico > 10**12
    assert found.job.assumed == ""


@pytest.mark.parametrize("name", CLASSICS)
def test_each_classic_case_is_found_in_the_code_and_priced_by_a_guess(name: str) -> None:
    found = audit(code=[SAMPLE / "app"], now=NOW)
    (one,) = [each for each in found.misfits if f"/{name}.py:" in each.job.where[0]]
    assert one.job.case is CLASSICS[name]
    assert one.saving_pico > 0
    assert not one.monthly
    assert not any("done once" in text for text in one.exceptions)
    assert one.signals[2].holds is None
    assert "tokens in" in one.job.assumed


@pytest.mark.parametrize("name", CLASSICS)
def test_the_log_and_the_code_tell_of_one_job(from_both: Audit, name: str) -> None:
    found = from_both.job(name)
    assert found.job.sources == (Source.USAGE, Source.CODE)
    assert any(f"app/{name}.py:" in place for place in found.job.where)
    assert what(found).startswith(CLASSICS[name].heading)


def test_what_people_watch_and_what_is_on_the_batch_tier_is_no_misfit(from_both: Audit) -> None:
    assert {each.job.name for each in from_both.misfits} == set(CLASSICS)
    assert {each.job.name for each in from_both.verdicts} - set(CLASSICS) == {"support_chat", "nightly_tags"}


def test_the_first_screen_ranks_them_by_dollars_and_says_what_to_do(from_all: WorkloadAudit) -> None:
    rows = [line for line in from_all.summary.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [each.job.name for each in from_all.audit.misfits]
    assert rows[0].startswith("| `churn_scores` | realtime | batch | about $110 a month | about $57 a month |")
    assert "**What next?** Move `churn_scores` to the batch lane" in from_all.summary
    assert "Log: 31,466 calls" in from_all.summary
    assert "Code: app, 8 files, 7 calls that buy tokens, 5 of them unwatched." in from_all.summary
    savings = [each.saving_pico for each in from_all.audit.misfits]
    assert savings == sorted(savings, reverse=True)


def test_the_exceptions_are_spelled_out(from_all: WorkloadAudit) -> None:
    assert "Low volume: the move would save" in from_all.fits
    assert "Its deadline, 20 h, lies just inside the window" in from_all.closely
    assert "It was done once" in from_all.closely


def test_the_design_answers_what_has_to_be_decided(from_all: WorkloadAudit) -> None:
    for question in ("When is it submitted?", "Which queue?", "What is tried again?", "What if the queue is full?"):
        assert question in from_all.design


def test_the_page_needs_no_other_and_the_figures_are_those_of_the_month(
    from_all: WorkloadAudit, tmp_path: Path
) -> None:
    path = from_all.write(tmp_path / "audit.html")
    html = path.read_text(encoding="utf-8")
    assert "<code>offpeak audit scaffold churn_scores</code>" in html
    assert "http" not in html
    assert from_all.figures["jobs"] == 10
    assert from_all.figures["misfits"] == 7
    assert 0 < from_all.figures["saving_usd"] < from_all.figures["misfit_usd"]


def test_the_findings_are_there_for_code_review_tools(from_all: WorkloadAudit) -> None:
    document: dict[str, Any] = orjson.loads(from_all.sarif)
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == [case.value for case in Case]
    results = run["results"]
    assert len(results) == len(CLASSICS)
    for result in results:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert "`" not in result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]
        lines = (Path.cwd() / place["artifactLocation"]["uri"]).read_text(encoding="utf-8").splitlines()
        region = place["region"]
        assert "client." in lines[region["startLine"] - 1][region["startColumn"] - 1 :]
    assert len({result["partialFingerprints"]["offpeakJob/v1"] for result in results}) == len(results)


def test_a_fingerprint_stays_when_lines_move_and_a_path_is_an_address(tmp_path: Path) -> None:
    text = (SAMPLE / "app" / "caption_images.py").read_text(encoding="utf-8")

    def fingerprints(added: str) -> list[str]:
        (tmp_path / "caption images.py").write_text(added + text, encoding="utf-8")
        (run,) = orjson.loads(report(audit(code=[tmp_path], now=NOW)).sarif)["runs"]
        (result,) = run["results"]
        location = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert location["uri"] == f"{tmp_path.name}/caption%20images.py"
        return [result["partialFingerprints"]["offpeakJob/v1"]]

    assert fingerprints("") == fingerprints("# one more line\n\n")
