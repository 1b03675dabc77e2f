"""Jobs that live for hours outside Dagster, in a deployment with a daemon, from the UI to the provider's tally.

With OFFPEAK_SCREENSHOT=1 and -k in_the_ui, the runs page is also written to docs/images/parked-run.png.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from ..browser.chromium import CHROMIUM, MARKS, OFFLINE
from ..conftest import ROOT, LocalProvider
from .deployment import SOURCE_ROWS, Deployment, deployed
from .scenarios import QUICK, Scenario, carried_out, is_parked, lands, names

SCREENSHOT = ROOT / "docs" / "images" / "parked-run.png"
SHOWN_WITHIN_MS = 120_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, local_provider_server: LocalProvider) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment"), local_provider_server) as found:
        yield found


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[dict[Scenario, Future[None]]]:
    with carried_out(request, deployment) as found:
        yield found


def materialize_in_the_ui_parks_shows_its_progress_and_lands(deployment: Deployment) -> None:
    deployment.hold("claude-haiku-5-5")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=OFFLINE)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{deployment.ui.url}/locations/parked/asset-groups/classification/lineage")
        page.get_by_role("button", name="Materialize all").click(timeout=SHOWN_WITHIN_MS)
        expect(page.get_by_text("Launched run")).to_be_visible(timeout=SHOWN_WITHIN_MS)
        (origin,) = deployment.runs(dagster__from_ui="true")
        assert names(origin) == {"ticket_labels", "support_dashboard"}

        parked = is_parked(deployment, origin.run_id)
        shows = {
            origin.run_id: ("Success", "offpeak/phase: submitted"),
            parked.run_id: ("Queued", "offpeak/phase: parked", f"offpeak/progress: 0%: 0 of {SOURCE_ROWS} requests"),
        }
        for run_id, texts in shows.items():
            page.goto(f"{deployment.ui.url}/runs?q[0]=id:{run_id}")
            for text in texts:
                expect(page.get_by_text(text, exact=True)).to_be_visible(timeout=SHOWN_WITHIN_MS)
        if os.environ.get("OFFPEAK_SCREENSHOT"):
            take_screenshot(deployment, page)

        lands(deployment, origin.run_id, parked.run_id)
        page.goto(f"{deployment.ui.url}/assets/ticket_labels")
        expect(page.get_by_text("bought", exact=True)).to_be_visible(timeout=SHOWN_WITHIN_MS)
        browser.close()


def take_screenshot(deployment: Deployment, page: Page) -> None:
    """With a second parked run: OpenAI tells how many requests of a batch are done, Anthropic only when all are."""
    deployment.hold("text-embedding-3-small", share=0.6)
    parked = deployment.wait_until_parked(deployment.launch("document_embeddings"))
    deployment.until(
        lambda: deployment.run(parked.run_id).tags["offpeak/progress"].startswith("60%"), what="A report of progress"
    )
    page.goto(f"{deployment.ui.url}/runs")
    expect(page.get_by_text("offpeak/progress: 60%")).to_be_visible(timeout=SHOWN_WITHIN_MS)
    page.screenshot(path=SCREENSHOT)
    deployment.heal("document_embeddings")


@pytest.mark.parametrize(
    "scenario",
    [*QUICK, pytest.param(materialize_in_the_ui_parks_shows_its_progress_and_lands, marks=MARKS)],
    ids=lambda scenario: scenario.__name__,
)
def test_parked_run(scenario: Scenario, outcomes: dict[Scenario, Future[None]]) -> None:
    outcomes[scenario].result()
