"""A plain Dagster project takes Offpeak in by the documented diff, beside a package of its own called `resources`.

Before, after and diff are read from the how-to page, so that what it shows is what was tried. The engine comes from the
wheel, in a process that cannot see this repository.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "move-a-realtime-asset-to-batch.md"

WAREHOUSE = """\
import pandas as pd


def read_reviews() -> pd.DataFrame:
    return pd.DataFrame(
        {"review_id": ["R-1", "R-2", "R-3"], "text": ["I love it", "It broke at once, I am angry", "It is a lamp"]}
    )
"""

MATERIALISE = """\
import json
import dagster as dg
import resources, reviews_project

given = reviews_project.defs
result = dg.materialize(list(given.assets), resources=dict(given.resources or {}))
(landed,) = result.asset_materializations_for_node("review_moods")
print(json.dumps({
    "resources": resources.__file__,
    "succeeded": result.success,
    "figures": {name: value.value for name, value in landed.metadata.items() if isinstance(value.value, int)},
    "columns": list(result.output_for_node("unhappy_reviews").columns),
}))
"""

WHERE = "import offpeak; print(offpeak.__file__)"


def block(language: str, *, under: str | None = None) -> str:
    """The one code block of the page, or of a section of it, with this information line."""
    (found,) = blocks(language, under=under)
    return found


def blocks(language: str, *, under: str | None = None) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    if under is not None:
        text = re.split(r"^## ", text.partition(f"\n## {under}\n")[2], maxsplit=1, flags=re.M)[0]
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, re.S | re.M)


def applied(diff: str) -> tuple[str, str]:
    """The text before and after a diff that shows its whole file."""
    lines = diff.splitlines(keepends=True)
    assert all(line[0] in " +-\n" for line in lines)
    before = [line[1:] for line in lines if line[0] in " -"]
    after = [line[1:] for line in lines if line[0] in " +"]
    return "".join(before), "".join(after)


@dataclass(frozen=True)
class Adopter:
    """A project that has the wheel installed, its own `resources`, and everything else from the environment."""

    folder: Path
    provider: Any

    def materialise(self, definitions: str) -> dict[str, Any]:
        """Materialise everything in a process of its own; what that printed."""
        self.define(definitions)
        printed: dict[str, Any] = json.loads(self.python(MATERIALISE).splitlines()[-1])
        return printed

    def define(self, definitions: str) -> None:
        """Put the project's module in its place."""
        (self.folder / "project" / "reviews_project.py").write_text(definitions, encoding="utf-8")

    def offpeak(self, line: str, *, code: int = 0) -> str:
        """What a command line of the page prints, without blanks at the ends of lines."""
        program, *words = line.split()
        assert program == "offpeak"
        printed = self.python(f"import sys; sys.argv[1:] = {words!r}; from offpeak.cli import main; main()", code=code)
        return "\n".join(each.rstrip() for each in printed.splitlines())

    def python(self, program: str, *, code: int = 0) -> str:
        project = self.folder / "project"
        places = [self.folder / "site", project, sysconfig.get_path("purelib")]
        ended = subprocess.run(
            # -S: no .pth file is read, so the editable install of this repository is not there
            [sys.executable, "-S", "-P", "-c", program],
            cwd=project,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "PYTHONPATH": os.pathsep.join(map(str, places)),
                "OPENAI_API_KEY": "key-of-a-test",
                "OPENAI_BASE_URL": f"{self.provider.url}/v1",
                "OFFPEAK_DATABASE_URL": f"sqlite:///{self.folder / 'offpeak.db'}",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == code, ended.stderr[-4000:]
        return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def adopter(wheel: Path, provider: Any, tmp_path: Path) -> Adopter:
    with zipfile.ZipFile(wheel) as archive:  # all that installing a pure wheel does, scripts apart
        archive.extractall(tmp_path / "site")
    own = tmp_path / "project" / "resources"
    own.mkdir(parents=True)
    (own / "__init__.py").touch()
    (own / "warehouse.py").write_text(WAREHOUSE, encoding="utf-8")
    return Adopter(tmp_path, provider)


def test_the_wheel_holds_offpeak_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"offpeak"}
    assert {"offpeak/money/price_sheet.toml", "offpeak/py.typed"} <= set(names)


def test_the_documented_diff_begins_with_the_documented_project() -> None:
    before, after = applied(block("diff"))
    assert before == block('python title="before"')
    assert "OpenAI" not in after


@pytest.mark.slow
def test_a_realtime_asset_becomes_a_batch_asset_by_the_documented_diff(adopter: Adopter) -> None:
    before, after = applied(block("diff"))
    provider = adopter.provider

    assert adopter.materialise(before)["columns"] == ["key", "mood"]
    assert (provider.get("/local/tally")["openai"]["realtime_calls"], provider.batches()) == (3, 0)

    assert adopter.python(WHERE).startswith(str(adopter.folder / "site"))
    first = adopter.materialise(after)
    assert first["succeeded"]
    assert first["resources"].startswith(str(adopter.folder / "project"))
    assert first["figures"]["bought"] == 3
    assert first["columns"] == [
        "key",
        "mood",
        "as_of",
        "produced_at",
        "effective_until",
        "model",
        "cost_usd",
        "rescued",
    ]

    again = adopter.materialise(after)
    assert (again["figures"]["bought"], again["figures"]["reused"]) == (0, 3)
    assert (provider.get("/local/tally")["openai"]["realtime_calls"], provider.batches()) == (3, 1)


@pytest.mark.slow
def test_the_lock_catches_the_documented_change_and_every_later_one(adopter: Adopter) -> None:
    before, after = applied(block("diff"))
    project = adopter.folder / "project"
    (project / "pyproject.toml").write_text(block('toml title="pyproject.toml"'), encoding="utf-8")
    adopter.define(before)
    adopter.offpeak(block("console", under="Before"))
    assert (project / "contracts.lock").is_file()
    assert "nothing to acknowledge" in adopter.offpeak("offpeak contracts check")

    check, accept = blocks("console", under="Each consumer agrees")
    caught, recorded = blocks("text", under="Each consumer agrees")
    adopter.define(after)
    assert adopter.offpeak(check, code=1) == caught.rstrip("\n")
    assert "made in the run itself, at realtime" in caught
    assert adopter.offpeak(accept) == recorded.rstrip("\n")
    assert "agrees" in adopter.offpeak(check)

    other_model = after.replace("openai/gpt-5-mini", "openai/gpt-4o-mini")
    adopter.define(other_model)
    assert "model openai/gpt-4o-mini, was openai/gpt-5-mini" in adopter.offpeak(check, code=1)
    adopter.offpeak(accept)
    assert "agrees" in adopter.offpeak(check)

    adopter.define(other_model.replace("valid_for=timedelta(hours=49)", "valid_for=timedelta(hours=61)"))
    assert "unhappy_reviews reads review_moods: valid_for 61 h, was 49 h" in adopter.offpeak(check, code=1)
    adopter.offpeak(accept)
    assert "agrees" in adopter.offpeak(check)
