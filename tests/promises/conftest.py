"""Purchases in processes of their own, that can be killed."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ROOT, LocalProvider, Place, stop

DIED = -9
"""The exit code of a process that was sent SIGKILL."""


@dataclass
class Purchase:
    """One process that buys."""

    forge: "Forge"
    pid: int
    out: Path

    def wait(self) -> int:
        """Its exit code, once it has one."""
        code: int = self.forge.say({"wait": self.pid})["code"]
        return code

    def said(self) -> dict[str, Any]:
        """What it reported at its end, having ended by itself."""
        assert self.wait() == 0
        found: dict[str, Any] = json.loads(self.out.read_text())
        return found

    def receipt(self) -> dict[str, Any]:
        """Its receipt: it raised nothing."""
        said = self.said()
        assert "error" not in said, said
        return said

    def ticks(self) -> int:
        """How often it has looked at its batches so far."""
        path = self.out.with_suffix(".ticks")
        return int(path.read_text() or 0) if path.exists() else 0


@dataclass
class Forge:
    """Starts purchases: a program that has imported everything, and forks."""

    process: "subprocess.Popen[str]"
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def say(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def start(self, place: Place, local_provider: LocalProvider, provider: str, **job: Any) -> Purchase:
        out = self.folder / f"{next(self.numbers)}.json"
        base_url = local_provider.url + ("/v1" if provider == "openai" else "")
        said = self.say(
            {
                "url": place.url,
                "spool": str(place.spool),
                "provider": provider,
                "base_url": base_url,
                "out": str(out),
                **job,
            }
        )
        return Purchase(self, said["pid"], out)


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Starts purchases in processes of their own."""
    program = Path(__file__).with_name("buyer.py")
    process = subprocess.Popen(
        [sys.executable, str(program)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Forge(process, tmp_path_factory.mktemp("purchases"))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        stop(process)
