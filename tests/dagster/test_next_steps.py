"""The lines that `make run` shows to paste do what is said beside them, run in a shell as a reader would run them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("ai_assets", "resources", "schedules", "local_provider", "offpeak", "scripts", "sample_data", "docs")
FILES = ("definitions.py", "dagster.yaml", "workspace.yaml", "pyproject.toml", "price_sheet.toml", "launches.yaml")
FAMILIES = "ticket_labels,document_embeddings,support_dashboard"
WITHIN_S = 300
LATENCY_S = 0.1

pytestmark = pytest.mark.slow


def lines_to_paste() -> list[str]:
    text = (ROOT / "docs" / "next-steps.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.startswith("  ") and not line.startswith("   ")]


class Checkout:
    """A copy of the project with everything up, so that nobody's own tickets are edited."""

    def __init__(self, folder: Path, provider_url: str) -> None:
        self.folder = folder
        self.provider_url = provider_url
        self.landed: dict[str, list[str]] = {}
        """Rows, bought and reused of each asset, from the table that `offpeak up` printed."""
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OFFPEAK_", "DAGSTER_"))},
            "PYTHONPATH": str(folder),  # before the editable install of the real checkout
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OFFPEAK_PROVIDER": "local",
            "OFFPEAK_LOCAL_URL": provider_url,
        }

    def run(self, line: str) -> str:
        """What a line prints on stdout. Fails the test when it ends with an error."""
        pasted = f". .offpeak/env && {line}"
        ended = subprocess.run(
            ["sh", "-c", pasted],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr[-3000:]}"
        return ended.stdout

    def tally(self, provider: str) -> dict[str, Any]:
        """What the provider sold, by its own count."""
        with urllib.request.urlopen(f"{self.provider_url}/local/tally", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)[provider]
        return found


def bought_by_the_newest_job(printed: str) -> int:
    """The column "new" of the first row of `offpeak jobs`."""
    rows = [line.split() for line in printed.splitlines()]
    header = next(index for index, row in enumerate(rows) if row[:2] == ["id", "asset"])
    return int(rows[header + 1][rows[header].index("new")])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    folder = tmp_path_factory.mktemp("checkout")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, folder)
    with socket.socket() as ui, socket.socket() as provider:
        ui.bind(("127.0.0.1", 0))
        provider.bind(("127.0.0.1", 0))
        port, provider_port = ui.getsockname()[1], provider.getsockname()[1]
    made = Checkout(folder, f"http://127.0.0.1:{provider_port}")
    for script in (["-m", "resources.sample_data", "load"], ["scripts/write_shell_settings.py"]):
        subprocess.run([sys.executable, *script], cwd=folder, env=made.env, check=True, capture_output=True)
    serve = f"{sys.executable} -m local_provider --port {provider_port} --latency {LATENCY_S}"
    beside = ["--alongside", serve, "--wait-for", f"127.0.0.1:{provider_port}"]
    command = [sys.executable, "-m", "offpeak.cli", "up", "--port", str(port), "--select", FAMILIES, *beside]
    up = subprocess.Popen(
        command, cwd=folder, env=made.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert up.stdout is not None
    try:
        said = []
        for line in up.stdout:
            said.append(line)
            if "Ctrl-C ends" in line:
                break
        else:
            pytest.fail(f"`offpeak up` ended before everything had landed:\n{''.join(said)}")
        made.landed = {
            line.split()[0]: line.split()[1:4] for line in said if line.startswith(tuple(FAMILIES.split(",")))
        }
        yield made
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(timeout=20)


def test_the_families_land_in_one_run_and_each_row_is_sold_once(checkout: Checkout) -> None:
    for asset, rows, provider in [("ticket_labels", 300, "anthropic"), ("document_embeddings", 439, "openai")]:
        assert checkout.landed[asset] == [str(rows), str(rows), "0"]
        assert checkout.tally(provider)["answers_delivered"] == rows
        assert checkout.tally(provider)["realtime_calls"] == 0
    assert "support_dashboard" in checkout.landed


def test_the_five_lines_do_what_is_said_beside_them(checkout: Checkout) -> None:
    plan, again, edit, kill, stale = lines_to_paste()
    assert "0 to buy" in checkout.run(plan)

    assert bought_by_the_newest_job(checkout.run(again)) == 0
    assert bought_by_the_newest_job(checkout.run(edit)) == 1

    killed = checkout.run(kill)
    assert "Killed with signal 9 while msgbatch_" in killed
    assert "Batches made: 1." in killed
    assert "ever answered twice: 0." in killed

    assert "Refused: impatient_dashboard tolerates rows of ticket_labels up to 1 s old" in checkout.run(stale)
