"""How often the audit of code is right, on open-source packages that use the SDKs; and how long it takes.

    python -m tests.bench.bench_audit_code --archives FOLDER [--round 5] [--misses]

`audit_labels/sites.csv` has calls that somebody looked at before the detector ran on their package, each with a
verdict: `misfit` where the package's own code shows that nobody watches the call, else `fits`, also where that could
not be decided. `packages.csv` names the archives of those packages. FOLDER has to hold them, as they come from the
package registry: they are checked by their hash and unpacked in a temporary folder. Nothing of them is run, which is
why they are not downloaded here: pip runs what a source distribution brings along to be built.

Rounds were labelled one after the other. The detector was built on the first, and each later one was labelled before it
had run on any of its packages, so that the first run on a round says how it does on code that it was not tuned by.
Those first runs stand in docs/reference/code-audit.md; what is printed is how it does now.
"""

import argparse
import csv
import hashlib
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from offpeak.audit.code.detect import audit_code
from offpeak.audit.code.finding import Finding

LABELS = Path(__file__).parent / "audit_labels"
NEAR = 2
"""Lines by which a call that is broken over several may be off."""


@dataclass(frozen=True)
class Site:
    file: str
    line: int
    misfit: bool


@dataclass(frozen=True)
class Package:
    round: int
    name: str
    version: str
    archive: str
    sha256: str


@dataclass
class Score:
    """What was found of what there is."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    left: int = 0
    """Calls that fit and were not found."""
    packages: int = 0

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missed)

    def add(self, other: "Score") -> None:
        self.right += other.right
        self.wrong += other.wrong
        self.missed += other.missed
        self.left += other.left
        self.packages += other.packages

    def row(self, name: str) -> str:
        sites = self.right + self.wrong + self.missed + self.left
        return (
            f"{name:<8}{self.packages:>9}{sites:>7}{self.right + self.missed:>9}{self.right:>7}{self.wrong:>7}"
            f"{self.missed:>8}{self.precision:>11.2f}{self.recall:>8.2f}"
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    arguments.add_argument("--round", type=int, help="only this one")
    arguments.add_argument("--misses", action="store_true", help="name each call that was judged otherwise")
    arguments.add_argument("--archives", type=Path, required=True, help="the folder that holds the archives")
    given = arguments.parse_args()
    sites, packages = _sites(), [each for each in _packages() if given.round in (None, each.round)]
    scores: dict[int, Score] = defaultdict(Score)
    files, seconds = 0, 0.0
    with tempfile.TemporaryDirectory() as temporary:
        for package in packages:
            root = _unpacked(package, given.archives, Path(temporary))
            began = time.process_time()
            audit = audit_code(root)
            seconds += time.process_time() - began
            files += audit.files
            score, lines = _scored(sites[package.name], audit.findings, root)
            scores[package.round].add(score)
            if given.misses:
                print("\n".join(f"{package.name}: {line}" for line in lines), end="\n" if lines else "")
    print(
        f"{'round':<8}{'packages':>9}{'sites':>7}{'misfits':>9}{'right':>7}{'wrong':>7}{'missed':>8}{'precision':>11}{'recall':>8}"
    )
    total = Score()
    for number, score in sorted(scores.items()):
        print(score.row(str(number)))
        total.add(score)
    print(total.row("all"))
    print(f"{files:,} files in {seconds:.1f} s of CPU: {2_000 * seconds / files:.1f} s for 2,000")


def _sites() -> dict[str, list[Site]]:
    found: dict[str, list[Site]] = defaultdict(list)
    with (LABELS / "sites.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[row["package"]].append(Site(row["file"], int(row["line"]), row["verdict"] == "misfit"))
    return found


def _packages() -> list[Package]:
    with (LABELS / "packages.csv").open(encoding="utf-8", newline="") as file:
        return [
            Package(int(row["round"]), row["package"], row["version"], row["archive"], row["sha256"])
            for row in csv.DictReader(file)
        ]


def _unpacked(package: Package, archives: Path, temporary: Path) -> Path:
    path = archives / package.archive
    if not path.exists():
        sys.exit(f"{path} is not there: put the archive of {package.name} {package.version} into {archives}.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        sys.exit(f"{path} is not the archive that was labelled: its hash is another one.")
    into = temporary / package.name
    if path.suffix == ".whl" or path.suffix == ".zip":
        with zipfile.ZipFile(path) as file:
            file.extractall(into)
    else:
        with tarfile.open(path) as file:
            file.extractall(into, filter="data")
    inner = [each for each in into.iterdir() if each.is_dir()]
    return inner[0] if len(inner) == 1 and path.suffix != ".whl" else into


def _scored(sites: Sequence[Site], findings: Iterable[Finding], root: Path) -> tuple[Score, list[str]]:
    found = {(each.path.relative_to(root).as_posix(), each.line): each for each in findings}
    score, lines = Score(packages=1), []
    for site in sites:
        near = (found.get((site.file, site.line + off)) for off in sorted(range(-NEAR, NEAR + 1), key=abs))
        hit = next((each for each in near if each is not None), None)
        if site.misfit and hit:
            score.right += 1
        elif site.misfit:
            score.missed += 1
            lines.append(f"missed {site.file}:{site.line}")
        elif hit:
            score.wrong += 1
            lines.append(f"wrong {site.file}:{site.line} {hit.why}")
        else:
            score.left += 1
    return score, lines


if __name__ == "__main__":
    main()
