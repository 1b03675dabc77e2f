"""`offpeak audit`: what it prints and writes, its exit codes, and what it refuses."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from offpeak.cli import build_app
from offpeak.errors import ConfigurationError, NotFound

SAMPLE = Path(__file__).parents[3] / "sample_data"
LOG, CODE, LIST = SAMPLE / "llm_calls.jsonl.gz", SAMPLE / "app", SAMPLE / "workloads.yaml"
ALL = ("--list", str(LIST), "--usage", str(LOG), "--code", str(CODE), "--zone", "Europe/Berlin")


def run(*arguments: str, code: int = 0) -> str:
    """What is printed on stdout; errors pass through."""
    result = CliRunner().invoke(build_app(), ["audit", *arguments], catch_exceptions=False, env={"COLUMNS": "220"})
    assert result.exit_code == code, result.output
    return str(result.stdout)


def test_it_ranks_what_runs_in_the_wrong_lane_and_says_why_the_rest_stays() -> None:
    shown = run(*ALL)
    assert "In the wrong lane: 7 of 10 jobs" in shown
    assert "Moving them saves: about $85 a month, to an order of magnitude and about $4.20 once" in shown
    assert shown.index("churn_scores") < shown.index("quarterly_report") < shown.index("inbox_agent")
    assert "app/morning_digest.py:13" in shown
    assert "Low volume: the move would save" in shown
    assert "What next? Move churn_scores to the batch lane, which saves about $57 a month" in shown
    assert "`" not in shown


def test_it_gives_everything_as_one_document() -> None:
    found = orjson.loads(run(*ALL, "--json"))
    by_name = {job["name"]: job for job in found["jobs"]}
    digest = by_name["morning_digest"]
    assert (digest["case"], digest["belongs_in"], digest["deadline"]) == ("schedule", "batch", "09:00 Europe/Berlin")
    assert digest["sources"] == ["list", "usage", "code"]
    assert float(digest["price"]["realtime_usd"]) == pytest.approx(2 * float(digest["price"]["batch_usd"]))
    assert len(found["findings"]) == 5
    assert {"path", "line", "case", "why"} <= found["findings"][0].keys()
    assert found["not_parsed"] == []


def test_it_writes_the_report_for_people_and_the_findings_for_tools(tmp_path: Path) -> None:
    html, markdown, sarif = tmp_path / "audit.html", tmp_path / "audit.md", tmp_path / "audit.sarif"
    run(*ALL, "--html", str(html), "--markdown", str(markdown), "--sarif", str(sarif))
    assert html.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    text = markdown.read_text(encoding="utf-8")
    assert text.startswith("# Workload audit, ")
    assert "## Design for the dearest" in text
    assert len(orjson.loads(sarif.read_bytes())["runs"][0]["results"]) == 5


def test_its_exit_code_tells_a_pipeline_whether_there_is_something() -> None:
    run(*ALL, "--check", code=3)
    run(*ALL, "--check", "--over", "50", code=3)
    run(*ALL, "--check", "--over", "50000")
    run("--code", str(CODE / "support_chat.py"), "--check")
    run(*ALL)


def test_a_list_in_the_current_folder_is_found_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"There is nothing to audit\. Name a list"):
        run()
    (tmp_path / "workloads.yaml").write_bytes(LIST.read_bytes())
    assert "tag_suggestions" in run()


REFUSED = {
    "a mapping without a name": (("--usage", str(LOG), "--column", "time"), "--column 'time' maps nothing"),
    "no amount": (("--code", str(CODE), "--over", "much"), "--over 'much' is no amount of dollars"),
    "less than nothing": (("--code", str(CODE), "--small", "-1"), "--small '-1' is no amount of dollars"),
    "no such zone": (("--usage", str(LOG), "--zone", "Mars/Base"), "'Mars/Base' is no time zone"),
    "no such code": (("--code", "nowhere"), "There is no code at nowhere"),
    "no such log": (("--usage", "nowhere.jsonl"), "nowhere.jsonl"),
    "no such list": (("--list", "nowhere.yaml"), "nowhere.yaml cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_audit_it_says(name: str) -> None:
    arguments, said = REFUSED[name]
    with pytest.raises(ConfigurationError, match=said):
        run(*arguments)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, in which the command is run."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "shop"\n'
    )
    (tmp_path / "ai_assets").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_scaffold_is_written_into_the_project_with_what_to_do_next(project: Path) -> None:
    shown = run("scaffold", "morning_digest", *ALL)
    assert "Wrote ai_assets/morning_digest.py" in shown
    assert "Wrote schedules/morning_digest.py" in shown
    assert "from schedules.morning_digest import morning_digest_schedule" in shown
    assert "def morning_digest(" in (project / "ai_assets" / "morning_digest.py").read_text(encoding="utf-8")
    assert '"0 21 * * *"' in (project / "schedules" / "morning_digest.py").read_text(encoding="utf-8")


def test_a_scaffold_never_writes_over_what_is_there(project: Path) -> None:
    mine = project / "ai_assets" / "morning_digest.py"
    mine.write_text("# mine\n")
    with pytest.raises(ConfigurationError, match=r"is there already, and nothing was written"):
        run("scaffold", "morning_digest", *ALL)
    assert mine.read_text() == "# mine\n"
    assert not (project / "schedules").exists()
    run("scaffold", "morning_digest", *ALL, "--force")
    assert mine.read_text() != "# mine\n"


def test_a_scaffold_needs_a_job_that_was_found_and_a_package_that_is_there(project: Path) -> None:
    with pytest.raises(NotFound, match=r"no job named 'morning_diget'. .*morning_digest"):
        run("scaffold", "morning_diget", *ALL)
    with pytest.raises(ConfigurationError, match=r"There is no folder .*shop.assets for the asset"):
        run("scaffold", "morning_digest", *ALL, "--package", "shop.assets")
    assert "class MorningDigestAnswer" in run("scaffold", "morning_digest", *ALL, "--dry-run")
    assert not list(project.glob("ai_assets/*"))
