"""`workload_audit`, materialised: what the UI shows of it, and the file."""

from pathlib import Path

import dagster as dg
import pytest

from ai_assets import audits
from ai_assets.audits import workload_audit
from offpeak.audit import report


def test_it_shows_what_runs_in_the_wrong_lane_and_writes_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "offpeak_folder", lambda: tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([workload_audit], instance=instance)
    (landed,) = result.asset_materializations_for_node("workload_audit")
    shown = {name: value.value for name, value in landed.metadata.items()}
    assert (shown["jobs"], shown["misfits"]) == (10, 7)
    assert 0 < shown["saving_usd"] < shown["misfit_usd"]
    assert "**What next?** Move `churn_scores`" in shown["summary"]
    assert "When is it submitted?" in shown["design"]
    assert "support_chat" in shown["what_stays"]
    assert "caption_images" in shown["closely"]
    assert Path(shown["file"]).parent == tmp_path / "reports"
    assert "churn_scores" in Path(shown["file"]).read_text(encoding="utf-8")


def test_what_it_reads_is_there() -> None:
    for path in (audits.WORKLOADS, *audits.CALLS, *audits.CODE):
        assert path.exists()
