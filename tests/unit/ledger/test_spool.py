"""The bytes that get uploaded are on the disk, whole, before anything is said about them."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpeak.errors import CouldNotRead
from offpeak.ledger import spool
from offpeak.ledger.spool import SpoolFile, SpoolWriter
from offpeak.providers.base import Spooling

LINES = Spooling(head=b"", separator=b"\n", tail=b"\n")
ARRAY = Spooling(head=b'{"requests":[\n', separator=b",\n", tail=b"\n]}")


def written(folder: Path, lines: list[bytes], spooling: Spooling = LINES, name: str = "one.spool") -> SpoolFile:
    with SpoolWriter(folder, name, spooling) as writer:
        writer.write(lines[:1])
        writer.write(lines[1:])
        return writer.finish()


@pytest.mark.parametrize(
    ("spooling", "expected"),
    [(LINES, b'{"a":1}\n{"b":2}\n{"c":3}\n'), (ARRAY, b'{"requests":[\n{"a":1},\n{"b":2},\n{"c":3}\n]}')],
    ids=["lines", "array"],
)
def test_lines_written_in_parts_are_one_file_and_are_found_by_offset(
    tmp_path: Path, spooling: Spooling, expected: bytes
) -> None:
    lines = [b'{"a":1}', b'{"b":2}', b'{"c":3}']
    file = written(tmp_path, lines, spooling)
    path = tmp_path / file.name

    assert path.read_bytes() == expected
    assert (file.size, file.sha256) == (len(expected), hashlib.sha256(expected).hexdigest())
    assert list(spool.lines(path, file.offsets, [2, 0, 1], spooling)) == [lines[2], lines[0], lines[1]]


def test_a_file_that_was_not_finished_leaves_nothing_behind(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "one.spool", LINES) as writer:
        writer.write([b"{}"])

    assert list(tmp_path.iterdir()) == []


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "one.spool", LINES) as writer:
        writer.write([b"{}"])
        assert [path.name for path in tmp_path.iterdir()] != ["one.spool"]
        writer.finish()

    assert [path.name for path in tmp_path.iterdir()] == ["one.spool"]


@pytest.mark.parametrize("damage", ["cut", "edited", "longer"])
def test_a_torn_file_is_refused(tmp_path: Path, damage: str) -> None:
    file = written(tmp_path, [b'{"a":1}', b'{"b":2}'])
    path = tmp_path / file.name
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-3], "edited": content.replace(b"1", b"7"), "longer": content + b"\n"}[damage])

    with pytest.raises(CouldNotRead, match=r"one\.spool is not what the ledger recorded"):
        spool.check(path, sha256=file.sha256)


def test_a_lost_file_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CouldNotRead, match="materialise the asset"):
        spool.check(tmp_path / "one.spool", sha256="0" * 64)


def test_a_whole_file_is_accepted(tmp_path: Path) -> None:
    file = written(tmp_path, [b'{"a":1}'])

    spool.check(tmp_path / file.name, sha256=file.sha256)


@pytest.mark.parametrize("spooling", [LINES, ARRAY], ids=["lines", "array"])
def test_a_new_stamp_changes_the_custom_ids_and_nothing_else(tmp_path: Path, spooling: Spooling) -> None:
    said = b"ledgerid" + b"aaaaaaab"  # a text may hold what looks like a stamp
    lines = [
        b'{"custom_id":"ledgeridaaaaaaab%032d","text":"\\"%s %s"}' % (number, said, b"x" * number)
        for number in range(5)
    ]
    file = written(tmp_path, lines, spooling)
    old = tmp_path / file.name

    fresh = spool.restamp(old, tmp_path / "two.spool", file.offsets, ledger="ledgerid", old="aaaaaaab", new="aaaaaaac")

    expected = old.read_bytes().replace(b'"custom_id":"ledgeridaaaaaaab', b'"custom_id":"ledgeridaaaaaaac')
    assert (tmp_path / "two.spool").read_bytes() == expected
    assert expected.count(said) == 5
    assert fresh.sha256 == hashlib.sha256(expected).hexdigest()
    assert (fresh.size, fresh.offsets) == (file.size, file.offsets)
    spool.check(old, sha256=file.sha256)


@given(st.lists(st.integers(min_value=0, max_value=2**63), max_size=20))
def test_offsets_come_back_as_they_were_stored(numbers: list[int]) -> None:
    stored = b"".join(number.to_bytes(8, "little") for number in numbers)

    assert list(spool.read_offsets(stored)) == numbers
    assert spool.offsets_bytes(spool.read_offsets(stored)) == stored
