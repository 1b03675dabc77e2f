"""A file of lines read in any order, of which only the offsets are held in memory."""

import os
import random
from array import array
from collections.abc import Sequence
from pathlib import Path

from local_provider.settings import ResultsOrder


class LineFile:
    """Lines of a file by number, blank ones left out. Stays readable when the file is deleted meanwhile."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._starts, self._lengths = array("Q"), array("L")
        position = 0
        for line in self._file:
            if not line.isspace():
                self._starts.append(position)
                self._lengths.append(len(line))
            position += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> bytes:
        return os.pread(self._file.fileno(), self._lengths[number], self._starts[number])

    def close(self) -> None:
        self._file.close()


def order_of(count: int, order: ResultsOrder, seed: str) -> Sequence[int]:
    """The order in which lines are answered: the same for the same seed."""
    numbers = array("L", range(count))
    match order:
        case ResultsOrder.SHUFFLED:
            random.Random(seed).shuffle(numbers)
        case ResultsOrder.REVERSED:
            numbers.reverse()
        case ResultsOrder.INPUT:
            pass
    return numbers
