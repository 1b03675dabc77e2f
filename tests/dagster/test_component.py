"""`BatchAssetComponent` in a project that `dg` reads: its YAML is checked, and its asset can be bought."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from offpeak import BatchAssetComponent

DEFS_YAML = """\
type: offpeak.components.BatchAssetComponent
attributes:
  key: ticket_topics
  model_ref: openai/gpt-5-mini
  source: support_tickets
  key_column: ticket_id
  prompt: "$subject"
  output_fields:
    topic: [billing, bug]
  waiting: nobody
  deadline_hours: 24
  valid_for_hours: 37
"""


@pytest.fixture
def yaml_project(tmp_path: Path) -> Path:
    """A Dagster project whose only definitions are in YAML."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "yamlproject"\nversion = "0"\n\n'
        '[tool.dg]\ndirectory_type = "project"\n\n[tool.dg.project]\nroot_module = "yamlproject"\n'
    )
    (tmp_path / ".dg.toml").write_text("[cli.telemetry]\nenabled = false\n")
    folder = tmp_path / "yamlproject" / "defs" / "topics"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder.parent.parent):
        (package / "__init__.py").touch()
    (folder / "defs.yaml").write_text(DEFS_YAML)
    return tmp_path


def checked(project: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(Path(sys.executable).parent / "dg"), "check", "yaml"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(project), "HOME": str(project)},
    )


@pytest.mark.slow
def test_dg_check_yaml_takes_it(yaml_project: Path) -> None:
    result = checked(yaml_project)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_dg_check_yaml_names_a_wrong_attribute(yaml_project: Path) -> None:
    file = yaml_project / "yamlproject" / "defs" / "topics" / "defs.yaml"
    file.write_text(DEFS_YAML.replace("model_ref:", "model_reference:"))
    result = checked(yaml_project)
    assert result.returncode != 0
    assert "model_reference" in result.stdout + result.stderr


def test_the_asset_that_yaml_declares_is_bought(project: Any) -> None:
    @dg.asset
    def support_tickets() -> pd.DataFrame:
        return pd.DataFrame({"ticket_id": ["T-1"], "subject": ["Refund"]})

    component = BatchAssetComponent.resolve_from_yaml(DEFS_YAML.split("attributes:\n")[1].replace("\n  ", "\n").strip())
    made = project(support_tickets, *(component.build_defs(None).assets or ()))  # type: ignore[arg-type]
    made.run("support_tickets", "ticket_topics")
    frame = made.defs.load_asset_value("ticket_topics", instance=made.instance)
    assert set(frame["topic"]) <= {"billing", "bug"}
