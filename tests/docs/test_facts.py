"""What the reference lists is what the code has: links, pictures, arguments, variables, states."""

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import apprise
import pytest

import offpeak
from offpeak import BatchApi, BatchAssetComponent, OffpeakResults, batch_asset
from offpeak.assets import parking
from offpeak.assets.declaration import RESERVED_COLUMNS
from offpeak.assets.materialize import WAIT_TAG
from offpeak.assets.orders import APPROVE_TAG, LANE_TAG
from offpeak.cli.up import KEEP_BACKFILLS
from offpeak.lanes.rescue import RETRY_SHARE, Awaited, Rate, RescueTerms, judge, reserve
from offpeak.ledger.conditions import Condition
from offpeak.ledger.notify import NoticeKind
from offpeak.ledger.sampling import SAMPLE_TAG
from offpeak.ledger.states import ChunkState, JobState, NoticeState, ParkedState, SampleState, SubmissionState
from offpeak.money import PriceSheet
from offpeak.money.caching import Hits, terms

from .pages import PAGES, ROOT, anchors, first_column, name, prose, section

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
CONFIGURATION = REFERENCE / "configuration.md"
LONGEST_README = 150
"""Lines."""


def links(page: Path) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(page))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_its_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}"
        assert target.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(target), f"{name(page)} links to {link}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
        waiting += [target for target in targets if target.suffix == ".md"]
    assert set(PAGES) <= reached


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < LONGEST_README


def test_the_arguments_of_the_decorator_are_listed() -> None:
    taken = {each.name for each in inspect.signature(batch_asset).parameters.values() if each.kind is each.KEYWORD_ONLY}
    assert first_column(section(REFERENCE / "decorator.md", "`@batch_asset`")) == taken


def test_every_public_name_is_in_the_reference() -> None:
    text = (REFERENCE / "decorator.md").read_text(encoding="utf-8")
    assert [each for each in offpeak.__all__ if each not in text] == []


def test_nothing_but_the_public_names_is_exported() -> None:
    assert dir(offpeak) == sorted(offpeak.__all__)
    assert all(getattr(offpeak, each) is not None for each in offpeak.__all__)


def test_the_fields_of_the_resources_are_listed() -> None:
    listed = first_column(section(CONFIGURATION, "Resources"))
    resources = (BatchApi, OffpeakResults, offpeak.Notifier, offpeak.SourceTables)
    assert listed == {field for resource in resources for field in resource.model_fields}


def test_the_attributes_of_the_component_are_listed() -> None:
    page = DOCS / "how-to" / "write-assets-in-yaml.md"
    assert first_column(prose(page)) == set(BatchAssetComponent.model_fields)


def test_the_variables_that_are_read_are_listed() -> None:
    listed = first_column(section(CONFIGURATION, "Environment variables"))
    folders = ("offpeak", "resources", "scripts", "ai_assets", "schedules")
    sources = [file.read_text(encoding="utf-8") for folder in folders for file in (ROOT / folder).rglob("*.py")]
    sources.append((ROOT / "Makefile").read_text(encoding="utf-8"))
    read = {word for text in sources for word in re.findall(r"\bOFFPEAK_[A-Z_]+\b", text)}
    assert read <= listed
    sdk = {f"{provider}_{what}" for provider in ("OPENAI", "ANTHROPIC") for what in ("API_KEY", "BASE_URL")}
    assert listed - read == sdk | {"DAGSTER_HOME", "DAGSTER_POSTGRES_URL", *KEEP_BACKFILLS}


def test_the_run_tags_are_listed() -> None:
    assert first_column(section(CONFIGURATION, "Run tags")) == {APPROVE_TAG, LANE_TAG, SAMPLE_TAG, WAIT_TAG}


def test_the_tags_that_offpeak_writes_are_listed_with_the_phases() -> None:
    text = section(CONFIGURATION, "Tags that Offpeak writes on runs")
    tags = {parking.PHASE_TAG, parking.PROGRESS_TAG, parking.JOB_TAG, parking.ORIGIN_TAG}
    assert first_column(text) == tags | {parking.HOLD_TAG, parking.LEDGER_TAG}
    for phase in (parking.SUBMITTING, parking.SUBMITTED, parking.PARKED, parking.COLLECTING):
        assert f"`{phase}`" in text


def test_the_columns_that_offpeak_writes_are_listed() -> None:
    text = section(REFERENCE / "metadata.md", "The consumer's frame")
    refused = text[text.index("An output field with one of the names") : text.index("is refused when")]
    assert set(re.findall(r"`(\w+)`", refused)) == RESERVED_COLUMNS


@pytest.mark.parametrize(
    ("heading", "states"),
    [
        ("States of a job", JobState),
        ("States of a chunk", ChunkState),
        ("States of a submission", SubmissionState),
        ("States of a parked run", ParkedState),
        ("States of a sample", SampleState),
        ("States of a notice", NoticeState),
    ],
)
def test_the_states_are_listed(heading: str, states: type[StrEnum]) -> None:
    text = section(REFERENCE / "job-states.md", heading)
    assert first_column(text) == {state.value for state in states}


def test_the_kinds_of_notices_are_listed() -> None:
    assert first_column(section(DOCS / "how-to" / "get-told.md", "Say of what")) == {kind.value for kind in NoticeKind}


def test_the_addresses_of_destinations_are_such_as_apprise_understands() -> None:
    text = section(DOCS / "how-to" / "get-told.md", "Say where")
    addresses = re.findall(r"^\|[^|]*\| `([a-z]+://[^`]+)`", text, re.M)
    assert len(addresses) >= 6
    assert [each for each in addresses if apprise.Apprise.instantiate(each) is None] == []


def test_the_conditions_of_open_jobs_are_listed() -> None:
    text = section(DOCS / "how-to" / "watch-what-is-on-its-way.md", "What the conditions mean")
    assert first_column(text) == {condition.value for condition in Condition}


def test_the_glossary_is_in_order_and_names_each_word_once() -> None:
    words = re.findall(r"^\| ([a-z_][\w ]*?) \|", prose(DOCS / "glossary.md"), re.M)[1:]
    assert len(words) > 30
    assert words == sorted(words, key=lambda word: word.replace("_", " ").casefold())
    assert len(set(words)) == len(words)


def test_the_example_of_the_last_safe_moment_adds_up() -> None:
    due_at, rate = datetime(2026, 1, 1, 6, tzinfo=UTC), Rate(requests=4_000)
    page = prose(DOCS / "explanation" / "making-the-deadline.md")
    rows = re.findall(r"^\| (\d+) batches \| ([\d.]+) min \| ([\d:]+) \|", page, re.M)
    assert len(rows) == 3
    for batches, minutes, moment in rows:
        time = rate.time_for(int(batches) * 5_000, 0)
        assert minutes == f"{time * (1 + RETRY_SHARE) / timedelta(minutes=1):.1f}"
        awaited = [Awaited(chunk_id=each, due_at=due_at, time=time / int(batches)) for each in range(int(batches))]
        found = judge(awaited, [], RescueTerms(), now=due_at - timedelta(hours=12)).moment
        assert found is not None
        assert moment == f"{found:%H:%M:%S}"
    assert f"{due_at - reserve(rate.time_for(8 * 5_000, 0), RescueTerms()):%H:%M:%S}" in page


def test_every_picture_has_words_for_those_who_cannot_see_it() -> None:
    pictures = [match for page in PAGES for match in re.findall(r"!\[([^\]]*)\]\(", prose(page))]
    assert pictures
    assert all(len(words) > 10 for words in pictures)


PREFIX_ROW = re.compile(r"^\| `(\S+)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)% \| (\d+) \|$", re.MULTILINE)


def test_the_page_on_prefixes_reckons_with_the_price_sheet() -> None:
    rows = PREFIX_ROW.findall((DOCS / "how-to" / "share-a-prefix.md").read_text(encoding="utf-8"))
    assert len(rows) == 6
    for model, write, read, least, fewest in rows:
        tariff = PriceSheet.load().rates(model, at=datetime(2026, 11, 20, tzinfo=UTC)).batch
        told = model.startswith("anthropic/")
        price = tariff.base.cache_write_1h if told else tariff.base.cache_write
        assert (float(write), float(read)) == (price / tariff.base.input, tariff.base.cache_read / tariff.base.input)
        share = (price - tariff.base.input) / (price - tariff.base.cache_read)
        assert float(least) == round(100 * share, 1)
        assert terms(tariff, Hits(), when_told=told).fewest == int(fewest)
