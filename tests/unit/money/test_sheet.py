"""The project's own prices: what an entry changes, and how a malformed sheet is refused."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import pytest

from offpeak.errors import ConfigurationError
from offpeak.money import PriceSheet
from offpeak.money.prices import find_price_sheet
from offpeak.providers.base import Usage

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[3]

Load = Callable[[str], PriceSheet]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> PriceSheet:
        path = tmp_path / "price_sheet.toml"
        path.write_text(text)
        return PriceSheet.load(path)

    return load


def entry(body: str, *, model: str = "acme/large", since: str = "2026-11-01") -> str:
    return f'[[price]]\nmodel = "{model}"\nsince = {since}\nsource = "contract 7"\n{body}\n'


BOTH = "batch = { input = 1, output = 2 }\nrealtime = { input = 2, output = 4 }"


def test_a_negotiated_batch_price_replaces_the_list_price_and_leaves_the_realtime_price(load: Load) -> None:
    batch = "batch = { input = 0.45, output = 2.25, cache_read = 0.045, cache_write = 0.5625, cache_write_1h = 0.9 }"
    rates = load(entry(batch, model="anthropic/claude-haiku-4-5")).rates("anthropic/claude-haiku-4-5", at=NOW)
    assert rates.cost(Usage(1_000, 10))[:2] == (1_000 * 450_000 + 10 * 2_250_000, 1_000 * 1_000_000 + 10 * 5_000_000)
    assert (rates.batch.cited, str(rates.batch.since)) == ("contract 7", "2026-11-01")


def test_an_entry_applies_from_its_day_on_and_a_later_one_takes_over(load: Load) -> None:
    sheet = load(entry(BOTH) + entry(BOTH.replace("input = 1", "input = 0.5"), since="2026-11-15"))
    for day, pico in ((14, 1_000_000), (15, 500_000), (16, 500_000)):
        assert sheet.rates("acme/large", at=datetime(2026, 11, day, tzinfo=UTC)).cost(Usage(1)).batch_pico == pico


def test_before_an_entrys_day_its_model_has_no_price(load: Load) -> None:
    with pytest.raises(ConfigurationError, match="first entry in a price sheet begins on 2026-11-01"):
        load(entry(BOTH)).rates("acme/large", at=NOW - timedelta(days=30))


def test_an_entry_for_a_model_prices_its_dated_snapshots_unless_they_have_their_own(load: Load) -> None:
    haiku = "anthropic/claude-haiku-4-5"
    rates = "{{ input = {0}, output = 1, cache_read = 1, cache_write = 1, cache_write_1h = 1 }}"
    sheet = load(
        entry("batch = " + rates.format(1), model=haiku)
        + entry("batch = " + rates.format(2), model=f"{haiku}-20251001")
    )
    assert sheet.rates(f"{haiku}-20260101", at=NOW).batch.base.input == 1_000_000
    assert sheet.rates(f"{haiku}-20251001", at=NOW).batch.base.input == 2_000_000


def test_decimals_are_read_exactly(load: Load) -> None:
    rates = load(entry("batch = { input = 0.000001 }\nrealtime = { input = 0.1 }")).rates("acme/large", at=NOW)
    assert rates.cost(Usage(1))[:2] == (1, 100_000)


def test_long_context_steps_apply_above_their_threshold(load: Load) -> None:
    text = entry(
        "[price.batch]\ninput = 1\n[[price.batch.long_context]]\nabove_input_tokens = 100\ninput = 3\n"
        "[price.realtime]\ninput = 2\n"
    )
    rates = load(text).rates("acme/large", at=NOW)
    assert rates.cost(Usage(100))[:2] == (100 * 10**6, 200 * 10**6)
    assert rates.cost(Usage(101))[:2] == (303 * 10**6, 202 * 10**6)


def test_a_batch_price_that_leaves_out_what_the_realtime_price_names_is_refused(load: Load) -> None:
    sheet = load(entry("batch = { input = 0.4, output = 2 }", model="anthropic/claude-haiku-4-5"))
    with pytest.raises(ConfigurationError, match="leaves out cache_read, cache_write, cache_write_1h"):
        sheet.rates("anthropic/claude-haiku-4-5", at=NOW)


def test_a_batch_price_without_the_long_context_of_the_realtime_price_is_refused(load: Load) -> None:
    batch = "batch = { input = 0.04, output = 0.2, cache_read = 0.004, cache_write = 0.05 }"
    with pytest.raises(ConfigurationError, match="no long_context step above 272000 input tokens"):
        load(entry(batch, model="openai/gpt-6-luna")).rates("openai/gpt-6-luna", at=NOW)


def test_a_model_of_ones_own_needs_a_realtime_price_too(load: Load) -> None:
    with pytest.raises(ConfigurationError, match="no realtime price, so what it saves cannot be told"):
        load(entry("batch = { input = 1 }")).rates("acme/large", at=NOW)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (entry("batch = { input = -1 }"), r"entry 1 \(acme/large\), batch.input: .*greater than or equal to 0"),
        (entry("batch = { input = '0.01' }"), r"entry 1 \(acme/large\), batch.input: .*write a number"),
        (entry("batch = { input = true }"), r"batch.input: .*write a number"),
        (entry("batch = { input = nan }"), r"batch.input: .*finite number"),
        (entry("batch = { input = 0.0000001 }"), r"batch.input: .*whole number of pico-dollars"),
        (entry("batch = { output = 1 }"), r"batch.input: Field required"),
        (entry("batch = { input = 1, ouput = 1 }"), r"batch.ouput: Extra inputs are not permitted"),
        (entry(BOTH) + entry("batch = { input = 1 }", model="large"), r"entry 2 \(large\), model: "),
        (entry("batch = { input = 1 }", since='"soon"'), r"entry 1 \(acme/large\), since: "),
        (entry(""), r"entry 1 \(acme/large\): .*batch table, a realtime table"),
        (entry(BOTH) + entry(BOTH), r"acme/large has two entries since 2026-11-01"),
        ('[[price]]\nmodel = "a/b"\nsince = 2026-01-01\nbatch = { input = 1 }', r"entry 1 \(a/b\), source: "),
        ("price = [3]", r"entry 1 \(not a table\): "),
        ("prices = []", r"prices: Extra inputs"),
        ("[[price]", r"is not valid TOML"),
        (
            entry(
                "[price.batch]\ninput = 1\noutput = 1\n[[price.batch.long_context]]\nabove_input_tokens = 9\ninput = 1"
            ),
            r"batch: .*long_context above 9: give a price for each of input, output",
        ),
    ],
)
def test_a_malformed_sheet_is_refused_naming_file_entry_and_field(
    load: Load, tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        load(text)
    assert str(tmp_path / "price_sheet.toml") in str(refused.value)


def test_a_named_sheet_that_is_missing_is_an_error_and_not_an_empty_sheet(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"could not be read .*mend it"):
        PriceSheet.load(tmp_path / "absent.toml")


def test_the_projects_own_sheet_is_found_from_any_folder_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.dg]\n")
    (tmp_path / "price_sheet.toml").write_text(entry(BOTH))
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project]\n")
    monkeypatch.chdir(inner)
    sheet = PriceSheet.load()
    assert sheet.path == tmp_path / "price_sheet.toml"
    assert "acme/large" in sheet.models()


def test_without_a_project_the_shipped_prices_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_price_sheet(tmp_path) is None
    assert PriceSheet.load().rates("openai/text-embedding-3-small", at=NOW).batch.base.input == 10_000


def test_the_examples_in_the_documentation_work(load: Load) -> None:
    page = (ROOT / "docs/reference/prices.md").read_text()
    toml, python = (re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("toml", "python"))
    assert (len(toml), len(python)) == (2, 1)
    assert "my-gateway/large-1" in load(toml[0]).models()
    assert load(toml[0]).rates("my-gateway/large-1", at=NOW).cost(Usage(1_000, 10))[:2] == (515 * 10**6, 1030 * 10**6)
    exec(compile(python[0], "docs/reference/prices.md", "exec"), {})
    terms = load(toml[1]).terms("my-gateway/large-1")
    assert terms is not None
    assert (terms.window_hours, terms.requests_per_minute, terms.tokens_per_minute) == (2, 600, 200_000)


def test_the_examples_in_this_projects_sheet_work_when_uncommented(load: Load) -> None:
    lines = (ROOT / "price_sheet.toml").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("# [[price]]"))
    examples = takewhile(lambda line: line.startswith("#"), lines[first:])
    sheet = load("\n".join(line.removeprefix("#").removeprefix(" ") for line in examples))
    assert sheet.terms("my-gateway/large-1") is not None
    for model in ("anthropic/claude-haiku-4-5", "openai/gpt-6-luna"):
        rates = sheet.rates(model, at=datetime(2026, 12, 1, tzinfo=UTC))
        assert rates.batch.cited.startswith("contract")
        assert rates.batch.base.input * 20 == rates.realtime.base.input * 9


def test_terms_of_a_model_go_before_those_of_its_provider_and_the_projects_before_the_shipped_ones(load: Load) -> None:
    sheet = load(
        '[[terms]]\nmodel = "openai/*"\nsource = "ours"\nwindow_hours = 7\nrequests_per_minute = 5\n'
        '[[terms]]\nmodel = "openai/gpt-6-luna"\nsource = "its own"\nrequests_per_minute = 9\n'
    )
    luna, other = sheet.terms("OpenAI/gpt-6-luna"), sheet.terms("openai/gpt-5-mini")
    assert luna is not None
    assert other is not None
    assert (luna.window_hours, luna.requests_per_minute, luna.cache_minimum_tokens) == (7, 9, 1024)
    assert (other.window_hours, other.requests_per_minute) == (7, 5)
    assert luna.source.startswith("its own; ours; https://developers.openai.com")
    assert sheet.terms("acme/large") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            '[[terms]]\nmodel = "acme/*"\nsource = "x"\n',
            r"terms 1 \(acme/\*\): .*give window_hours, requests_per_minute",
        ),
        ('[[terms]]\nmodel = "acme/*"\nsource = "x"\nwindow_hours = 0\n', r"terms 1 \(acme/\*\), window_hours: "),
        ('[[terms]]\nmodel = "acme"\nsource = "x"\nwindow_hours = 1\n', r"terms 1 \(acme\), model: "),
        (
            2 * '[[terms]]\nmodel = "acme/*"\nsource = "x"\nwindow_hours = 1\n',
            r"acme/\* has two terms tables",
        ),
    ],
)
def test_terms_that_cannot_be_meant_are_refused(load: Load, text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        load(text)
