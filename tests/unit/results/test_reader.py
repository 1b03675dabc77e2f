"""`offpeak.read`: the same rows and the same gate as inside Dagster, from a program that knows neither."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import offpeak
from offpeak.errors import ConfigurationError, DefinitionError, LedgerUnreadable, OffpeakError, StaleInput
from offpeak.requests import Chat, Embedding

from ...conftest import EMBEDDING_MODEL, Label, LocalProvider, Place, Shop, tickets

DAY = timedelta(days=1)


def test_a_structured_output_is_read_as_its_fields_without_its_definition(any_shop: Shop, any_place: Place) -> None:
    any_shop.buy(tickets(3))
    frame = offpeak.read("labels", max_staleness=DAY, database_url=any_place.url)
    assert list(frame["key"]) == ["T0000", "T0001", "T0002"]
    assert frame.equals(any_shop.frame())
    assert set(Label.model_fields) <= set(frame.columns)


def test_a_plain_text_output_is_read_as_text(shop: Shop, place: Place) -> None:
    plain = Shop(shop.ledger, shop.provider, asset="digests", output=None)
    plain.buy([Chat(key="K", prompt="Say it in one sentence.")])
    frame = offpeak.read("digests", max_staleness=DAY, database_url=place.url)
    assert frame["text"][0]
    assert frame.equals(plain.frame())


def test_vectors_are_read_as_arrays(shop: Shop, place: Place) -> None:
    Shop(shop.ledger, shop.provider, asset="vectors", model=EMBEDDING_MODEL, output=None).buy(
        [Embedding(key="K", text="A text.")]
    )
    frame = offpeak.read("vectors", max_staleness=DAY, database_url=place.url)
    assert frame["embedding"][0].dtype == "float32"


def test_an_empty_partition_still_has_the_outputs_columns(shop: Shop, place: Place) -> None:
    shop.buy(partitions={"a": tickets(1), "b": {}})
    frame = offpeak.read("labels", max_staleness=DAY, partitions="b", database_url=place.url)
    assert len(frame) == 0
    assert set(Label.model_fields) <= set(frame.columns)


def test_rows_older_than_tolerated_are_refused_with_the_argument_to_change(shop: Shop, place: Place) -> None:
    shop.buy(tickets(1), as_of=datetime.now(UTC) - timedelta(hours=5))
    assert len(offpeak.read("labels", max_staleness=timedelta(hours=6), database_url=place.url)) == 1
    with pytest.raises(StaleInput, match=r"read\(\.\.\., max_staleness=timedelta\(hours=6\)\)"):
        offpeak.read("labels", max_staleness=timedelta(hours=2), database_url=place.url)


def test_fewer_rows_than_accepted_are_refused(shop: Shop, place: Place, local_provider: LocalProvider) -> None:
    local_provider.fault("error_lines", share=0.5, code="invalid_request")
    shop.buy(tickets(4))
    with pytest.raises(StaleInput, match="have an answer"):
        offpeak.read("labels", max_staleness=DAY, database_url=place.url)
    frame = offpeak.read("labels", max_staleness=DAY, min_coverage=0.5, database_url=place.url)
    assert 0 < len(frame) < 4


def test_chosen_partitions_are_one_frame_and_one_that_never_landed_is_refused(shop: Shop, place: Place) -> None:
    shop.buy(partitions={"a": tickets(1), "b": tickets(1, start=1), "c": tickets(1, start=2)})
    frame = offpeak.read("labels", max_staleness=DAY, partitions=["a", "c"], database_url=place.url)
    assert list(frame["partition_key"]) == ["a", "c"]
    assert len(offpeak.read("labels", max_staleness=DAY, database_url=place.url)) == 3
    with pytest.raises(StaleInput, match="never landed for partition d"):
        offpeak.read("labels", max_staleness=DAY, partitions=["a", "d"], database_url=place.url)


def test_an_asset_that_never_landed_is_refused_with_the_nearest_name(shop: Shop, place: Place) -> None:
    shop.buy(tickets(1))
    with pytest.raises(StaleInput, match=r"lables.*Did you mean labels"):
        offpeak.read("lables", max_staleness=DAY, database_url=place.url)


def test_a_tolerance_that_makes_no_sense_is_refused(place: Place) -> None:
    with pytest.raises(DefinitionError):
        offpeak.read("labels", max_staleness=timedelta(0), database_url=place.url)
    with pytest.raises(DefinitionError, match=r"partitions=\[\]"):
        offpeak.read("labels", max_staleness=DAY, partitions=[], database_url=place.url)


def test_reading_where_there_is_no_ledger_makes_none(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnreadable, match="There is no ledger"):
        offpeak.read("labels", max_staleness=DAY, database_url=f"sqlite:///{tmp_path / 'none.db'}")
    (tmp_path / "other.db").touch()
    with pytest.raises(LedgerUnreadable, match="There is no ledger"):
        offpeak.read("labels", max_staleness=DAY, database_url=f"sqlite:///{tmp_path / 'other.db'}")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(ConfigurationError):
        offpeak.read("labels", max_staleness=DAY, database_url="mysql://host/name")


def test_a_postgres_that_cannot_be_reached_is_an_error_without_its_password() -> None:
    address = "postgresql://reader:s3cret@127.0.0.1:1/ledger"
    with pytest.raises(OffpeakError, match="cannot be reached") as caught:
        offpeak.read("labels", max_staleness=DAY, database_url=address)
    assert "s3cret" not in str(caught.value)


def test_a_program_elsewhere_reads_by_environment_alone(shop: Shop, place: Place, tmp_path: Path) -> None:
    shop.buy(tickets(2))
    program = (
        "from datetime import timedelta; import offpeak\n"
        "frame = offpeak.read('labels', max_staleness=timedelta(days=1))\n"
        "print(len(frame), sorted(frame.columns)[:2])"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    printed = subprocess.check_output(
        [sys.executable, "-c", program], cwd=elsewhere, env={"OFFPEAK_DATABASE_URL": place.url}, text=True
    )
    assert printed == "2 ['as_of', 'category']\n"
