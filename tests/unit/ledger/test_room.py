"""Disks that are full, or cannot be written: refused or waited out, with nothing lost and nothing bought twice."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from offpeak.errors import ConfigurationError, LedgerUnavailable
from offpeak.ledger import room, tables
from offpeak.ledger.ledger import Ledger
from offpeak.providers.base import Provider
from offpeak.requests import Request

from ...conftest import LocalProvider, Place, QuickClock, Shop, Through, requests, tickets

ROWS = tickets(6)


@dataclass
class Disk:
    """A small disk of its own."""

    folder: Path
    full: bool = False

    def fill(self) -> None:
        """Leave not one byte free."""
        self.full = True
        with (self.folder / "ballast").open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def clear(self) -> None:
        self.full = False
        (self.folder / "ballast").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk with a little more room than a ledger asks for."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={room.FREE_AT_LEAST + (8 << 20)}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a disk of its own has to be mounted, which this user may not: {mounted.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(params=["sqlite", "postgres"])
def place_on_disk(request: pytest.FixtureRequest, disk: Disk) -> Place:
    """A ledger's address: on SQLite with everything on the small disk, on Postgres with its spool files."""
    if request.param == "sqlite":
        return Place(f"sqlite:///{disk.folder / 'ledger.db'}", disk.folder / "spool")
    found: Place = request.getfixturevalue("postgres_place")
    return Place(found.url, disk.folder / "spool")


@pytest.fixture
def ledger_on_disk(place_on_disk: Place) -> Iterator[Ledger]:
    with place_on_disk.open() as ledger:
        yield ledger


class Clearing(QuickClock):
    """A clock by which somebody makes room at the third nap after the disk became full."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk, self.naps = disk, 0

    def sleep(self, duration: timedelta) -> None:
        super().sleep(duration)
        self.naps += self._disk.full
        if self.naps == 3:
            self._disk.clear()


def once(act: Callable[[], None], call: str, *, before: bool) -> dict[str, Callable[..., Any]]:
    """A provider's method, with `act` before or after its first call."""
    left = [act]

    def method(inner: Provider, *arguments: Any, **more: Any) -> Any:
        if before and left:
            left.pop()()
        answer = getattr(inner, call)(*arguments, **more)
        if left:
            left.pop()()
        return answer

    return {call: method}


def bought_once(local_provider: LocalProvider, name: str, rows: int = len(ROWS)) -> None:
    assert local_provider.answered(at_least=2) == []
    tally = local_provider.tally(name)
    assert (tally["batches_created"], tally["answers_delivered"]) == (1, rows)


class TestADiskThatIsFull:
    @pytest.mark.parametrize(("call", "before"), [("create", False), ("download", True), ("download", False)])
    def test_a_run_pauses_until_there_is_room(
        self,
        disk: Disk,
        ledger_on_disk: Ledger,
        open_account: Callable[..., Provider],
        local_provider: LocalProvider,
        provider_name: str,
        call: str,
        before: bool,
    ) -> None:
        account: Any = Through(open_account(provider_name), **once(disk.fill, call, before=before))
        clock = Clearing(disk)
        receipt = Shop(ledger_on_disk, account, clock=clock).buy(ROWS)

        assert (receipt.rows, receipt.bought, receipt.failed) == (6, 6, 0)
        assert not list(ledger_on_disk.spool.glob("*.writing"))
        bought_once(local_provider, provider_name)

    def test_what_waits_to_be_written_is_what_makes_it_pause(
        self,
        disk: Disk,
        ledger_on_disk: Ledger,
        open_account: Callable[..., Provider],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        account: Any = Through(open_account(), **once(disk.fill, "download", before=True))
        clock = Clearing(disk)
        Shop(ledger_on_disk, account, clock=clock).buy(ROWS)

        assert clock.naps == 3
        assert "could not be written to its end" in caplog.text
        assert "its ledger could not be used for" in caplog.text

    def test_a_plan_is_taken_back_and_can_be_made_again(
        self,
        disk: Disk,
        ledger_on_disk: Ledger,
        open_account: Callable[..., Provider],
        local_provider: LocalProvider,
        provider_name: str,
    ) -> None:
        def rows() -> Iterator[Request]:
            yield from requests(ROWS, shop.system)
            disk.fill()

        shop = Shop(ledger_on_disk, open_account(provider_name))
        with pytest.raises(LedgerUnavailable, match="materialise again"):
            shop.buy(rows())
        assert local_provider.tally(provider_name)["batches_created"] == 0

        disk.clear()
        assert shop.buy(ROWS).rows == 6
        bought_once(local_provider, provider_name)


def test_with_too_little_room_nothing_is_planned(any_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FREE_AT_LEAST", 1 << 60)
    with pytest.raises(
        LedgerUnavailable, match=r"Only [\d,]+ MiB are free on the disk of .*Nothing is planned or sent"
    ):
        any_shop.buy(ROWS)
    with any_shop.ledger.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.job)).scalar_one() == 0


def test_with_too_little_room_nothing_is_sent_until_there_is_more(
    any_shop: Shop, local_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = any_shop.begin(ROWS)
    naps: list[int] = []

    class Waiting(QuickClock):
        def sleep(self, duration: timedelta) -> None:
            super().sleep(duration)
            naps.append(local_provider.tally("openai")["batches_created"])
            if len(naps) == 3:
                monkeypatch.undo()

    any_shop.clock = Waiting()
    monkeypatch.setattr(room, "FREE_AT_LEAST", 1 << 60)
    assert any_shop.collect(job_id).rows == 6
    assert naps[:3] == [0, 0, 0]
    bought_once(local_provider, "openai")


@pytest.mark.parametrize(
    ("code", "said"), [("53100", "run out of disk, memory or connections"), ("57P03", "is away"), ("22012", None)]
)
def test_what_ails_a_postgres_server_is_told_from_what_ails_a_statement(
    postgres_place: Place, code: str, said: str | None
) -> None:
    with postgres_place.open() as ledger:
        raising = pytest.raises(LedgerUnavailable, match=said) if said else pytest.raises(DBAPIError)
        with raising, ledger.database.write() as connection:
            connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")


class TestAFolderThatCannotBeWritten:
    @pytest.fixture
    def closed(self, disk: Disk) -> Path:
        """A folder on a disk that was mounted for reading."""
        (disk.folder / "spool").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", disk.folder], check=True)
        return disk.folder

    def test_no_ledger_is_opened_there(self, closed: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"cannot be written\. Nothing was opened"):
            Ledger.open(f"sqlite:///{closed / 'ledger.db'}")

    def test_no_spool_files_are_written_there(self, closed: Path, any_place: Place) -> None:
        with pytest.raises(ConfigurationError, match=r"The spool folder .* cannot be written"):
            Ledger.open(any_place.url, spool_dir=closed / "spool")

    def test_a_ledger_whose_file_may_only_be_read_is_not_opened(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.open().close()
        file = place.spool.with_name("ledger.db")
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != file)  # root may write everywhere
        with pytest.raises(ConfigurationError, match=r"ledger\.db cannot be written"):
            place.open()
