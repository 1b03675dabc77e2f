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


def block(language: str) -> str:
    """The one code block of the page with this information line."""
    found = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(found) == 1, f"{PAGE.name} has {len(found)} blocks {language!r}"
    return str(found[0])


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
        (self.folder / "project" / "reviews_project.py").write_text(definitions, encoding="utf-8")
        printed: dict[str, Any] = json.loads(self.python(MATERIALISE).splitlines()[-1])
        return printed

    def python(self, program: str) -> str:
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
        assert ended.returncode == 0, ended.stderr[-4000:]
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
    assert first["columns"] == ["key", "mood", "as_of", "produced_at", "effective_until", "model", "cost_usd"]

    again = adopter.materialise(after)
    assert (again["figures"]["bought"], again["figures"]["reused"]) == (0, 3)
    assert (provider.get("/local/tally")["openai"]["realtime_calls"], provider.batches()) == (3, 1)
