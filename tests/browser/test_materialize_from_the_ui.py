"""A person opens the Dagster UI, presses Materialize, sees what was bought, and what is refused once it is too old.

With OFFPEAK_SCREENSHOT=1 three pages are also written to docs/images: ticket-labels.png, for the README, backfill.png,
and stale-labels.png.
"""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .chromium import CHROMIUM, MARKS, OFFLINE

ROOT = Path(__file__).parents[2]
SCREENSHOT = ROOT / "docs" / "images" / "ticket-labels.png"
STALE = ROOT / "docs" / "images" / "stale-labels.png"
BACKFILL = ROOT / "docs" / "images" / "backfill.png"
START_WITHIN_S = 240.0
LAND_WITHIN_MS = 120_000

pytestmark = MARKS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "offpeak.db"


@pytest.fixture(scope="module")
def provider_url() -> str:
    """Where the local provider will listen."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def dagster_url(tmp_path_factory: pytest.TempPathFactory, ledger_file: Path, provider_url: str) -> Iterator[str]:
    """The Dagster UI over this project and the local provider, with an instance and a ledger of its own."""
    folder = tmp_path_factory.mktemp("up")
    home = folder / "dagster"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    port, provider_port = free_port(), provider_url.rpartition(":")[2]
    provider = f"{sys.executable} -m local_provider --port {provider_port} --data {folder / 'provider'}"
    command = ["up", "--port", str(port), "--alongside", provider, "--wait-for", f"127.0.0.1:{provider_port}"]
    log = folder / "up.log"
    with log.open("w") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "offpeak.cli", *command],
            cwd=ROOT,
            env={
                **os.environ,
                "DAGSTER_HOME": str(home),
                "OFFPEAK_DATABASE_URL": f"sqlite:///{ledger_file}",
                "OFFPEAK_SOURCE_URL": f"folder:{ROOT / 'sample_data'}",
                "OFFPEAK_LOCAL_URL": provider_url,
                "OFFPEAK_PROVIDER": "local",
                "PYTHONUNBUFFERED": "1",
            },
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    assert up.stdout is not None
    too_slow = threading.Timer(START_WITHIN_S, up.terminate)
    too_slow.start()
    try:
        said = []
        for line in up.stdout:
            said.append(line)
            if "Ctrl-C ends" in line:
                break
        else:
            pytest.fail(f"`offpeak up` ended before Dagster was ready:\n{''.join(said)}{log.read_text()}")
        too_slow.cancel()
        yield f"http://127.0.0.1:{port}"
    finally:
        too_slow.cancel()
        up.terminate()
        up.wait(timeout=20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=OFFLINE)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1440, "height": 1300})
    yield page
    page.close()


def wait_until_landed(page: Page) -> None:
    """Reload until the materialization is there: the open page shows it only at its own next refresh."""
    deadline = time.monotonic() + LAND_WITHIN_MS / 1000
    while True:
        try:
            expect(page.get_by_text("bought", exact=True)).to_be_visible(timeout=10_000)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            page.reload()
        else:
            return


def metadata_value(page: Page, name: str) -> str:
    """The value beside `name` in the asset's metadata table; the preview inside it has rows of its own."""
    for row in page.get_by_role("row").all():
        cells = row.get_by_role("cell").all_inner_texts()
        if cells and cells[0].strip() == name:
            return cells[-1].strip()
    pytest.fail(f"the page shows no metadata called {name}")


def take_screenshot(page: Page) -> None:
    """Once the daemon has looked at the asset's freshness, which it does every 30 seconds."""
    page.wait_for_timeout(45_000)
    page.reload()
    expect(page.get_by_text("bought", exact=True)).to_be_visible(timeout=LAND_WITHIN_MS)
    page.wait_for_timeout(5_000)
    SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOT)


def test_materializing_ticket_labels_shows_what_was_bought_and_for_how_much(page: Page, dagster_url: str) -> None:
    page.goto(f"{dagster_url}/assets/ticket_labels")
    expect(page.get_by_text("Never materialized")).to_be_visible(timeout=LAND_WITHIN_MS)
    page.get_by_role("button", name="Materialize").first.click()
    expect(page.get_by_text("Launched run")).to_be_visible(timeout=LAND_WITHIN_MS)

    wait_until_landed(page)
    assert metadata_value(page, "rows") == "300"
    assert metadata_value(page, "bought") == "300"
    assert metadata_value(page, "failed") == "0"
    cost, realtime_cost = (float(metadata_value(page, name)) for name in ("cost_usd", "realtime_cost_usd"))
    assert 0 < cost < realtime_cost
    for moment in ("as_of", "produced_at", "effective_until"):
        assert metadata_value(page, moment).endswith("UTC")
    if os.environ.get("OFFPEAK_SCREENSHOT"):
        take_screenshot(page)


def test_no_dialogue_asks_to_sign_up(page: Page, dagster_url: str) -> None:
    page.goto(f"{dagster_url}/overview")
    expect(page.get_by_role("link", name="Catalog")).to_be_visible(timeout=LAND_WITHIN_MS)
    expect(page.get_by_role("dialog")).to_have_count(0)


def asked(url: str, query: str | None = None) -> Any:
    """What a server answers to a GET, or Dagster to a GraphQL query."""
    data = None if query is None else json.dumps({"query": query}).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_a_backfill_of_twelve_months_is_one_job_and_one_batch_and_succeeds(
    page: Page, dagster_url: str, provider_url: str, ledger_file: Path
) -> None:
    def batches() -> int:
        return int(asked(f"{provider_url}/local/tally")["anthropic"]["batches_created"])

    before = batches()
    page.goto(f"{dagster_url}/assets/archive_labels")
    page.get_by_role("button", name="Materialize").first.click()
    dialogue = page.get_by_role("dialog")
    dialogue.get_by_role("button", name="All", exact=True).click()
    expect(dialogue.get_by_text("12 partitions")).to_be_visible(timeout=LAND_WITHIN_MS)
    expect(dialogue.get_by_text("Backfills all partitions in a single run.")).to_be_visible()
    dialogue.get_by_role("button", name="Launch backfill").click()
    toast = page.get_by_text("Created backfill")
    expect(toast).to_be_visible(timeout=LAND_WITHIN_MS)
    backfill = toast.inner_text().split()[2]

    page.goto(f"{dagster_url}/runs/b/{backfill}")
    expect(page.get_by_text("Succeeded", exact=True).first).to_be_visible(timeout=2 * LAND_WITHIN_MS)
    expect(page.get_by_text("100% completed")).to_be_visible(timeout=LAND_WITHIN_MS)
    if os.environ.get("OFFPEAK_SCREENSHOT"):
        page.set_viewport_size({"width": 1440, "height": 330})
        page.screenshot(path=BACKFILL)
    query = (
        f'{{partitionBackfillOrError(backfillId: "{backfill}") {{... on PartitionBackfill {{status numPartitions}}}}}}'
    )
    told = asked(f"{dagster_url}/graphql", query)["data"]["partitionBackfillOrError"]
    assert told == {"status": "COMPLETED_SUCCESS", "numPartitions": 12}
    with closing(sqlite3.connect(ledger_file)) as connection:
        jobs = connection.execute("SELECT state, rows, new FROM job WHERE asset = 'archive_labels'").fetchall()
    assert jobs == [("completed", 72, 72)]
    assert batches() - before == 1


def let_pass(ledger_file: Path, duration: timedelta) -> None:
    """Make what the ledger holds as old as if so much time had passed."""
    with closing(sqlite3.connect(ledger_file)) as connection, connection:
        connection.execute("UPDATE target SET as_of = as_of - ?", [duration // timedelta(microseconds=1)])


def test_a_dashboard_is_refused_stale_labels_and_the_check_says_since_when(
    page: Page, dagster_url: str, ledger_file: Path
) -> None:
    let_pass(ledger_file, timedelta(hours=52))
    page.goto(f"{dagster_url}/assets/support_dashboard")
    page.get_by_role("button", name="Materialize").first.click()
    launched = page.get_by_text("Launched run")
    expect(launched).to_be_visible(timeout=LAND_WITHIN_MS)
    run = re.search(r"[0-9a-f]{8}", launched.inner_text())
    assert run is not None
    page.goto(f"{dagster_url}/runs")
    page.get_by_role("link", name=run.group()).first.click(timeout=LAND_WITHIN_MS)
    refusal = page.get_by_text("tolerates rows of ticket_labels up to 2 d 2 h old", exact=False).first
    expect(refusal).to_be_visible(timeout=LAND_WITHIN_MS)

    page.goto(f"{dagster_url}/assets/ticket_labels?view=checks&checkDetail=fresh")
    expect(page.get_by_text("Stale since", exact=False).first).to_be_visible(timeout=LAND_WITHIN_MS)
    if os.environ.get("OFFPEAK_SCREENSHOT"):
        page.set_viewport_size({"width": 1440, "height": 800})
        page.wait_for_timeout(3_000)
        page.screenshot(path=STALE)
