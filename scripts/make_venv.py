"""Make `.venv` from the hash-locked set, or say in one line why that cannot be done.

Runs on whatever Python the user has, so it keeps to the standard library and to syntax that old versions can compile.
A stamp inside `.venv` is written last. Without it, or when it tells of another lock, place or Python, the environment
is made again from nothing: an install that was interrupted half-way is never taken for a whole one.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
LOCK = "requirements.lock"
STAMP = "offpeak-lock.json"


def refusal_of_old_python(version: "tuple[int, ...]", executable: str) -> "str | None":
    """One line for a Python that is too old; None for one that serves."""
    if tuple(version[:2]) >= OLDEST:
        return None
    wanted = ".".join(map(str, OLDEST))
    found = ".".join(map(str, version[:3]))
    return (
        f"Offpeak needs Python {wanted} or newer, and {executable} is {found}: "
        f"choose another with PYTHON, for example `make run PYTHON=python{wanted}`."
    )


def wanted_stamp(root: Path) -> "dict[str, str]":
    """What a whole `.venv` of this checkout was made from."""
    return {
        "lock": hashlib.sha256((root / LOCK).read_bytes()).hexdigest(),
        "place": str(root.resolve()),
        "python": ".".join(map(str, sys.version_info[:2])),
    }


def reason_to_remake(root: Path) -> "str | None":
    """Why the environment has to be made (again), in one line; None when it is whole and of this lock."""
    venv = root / ".venv"
    if not venv.exists():
        return "Making .venv from requirements.lock."
    try:
        found = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ".venv is half made (an earlier install did not finish): it is being made again."
    wanted = wanted_stamp(root)
    if not isinstance(found, dict) or found.get("place") != wanted["place"]:
        return ".venv was made for another folder: it is being made again."
    if found.get("lock") != wanted["lock"]:
        return "requirements.lock has changed since .venv was made: it is being made again."
    return None


def install_commands(root: Path, uv: "str | None") -> "list[list[str]]":
    """The commands that fill `.venv`: with uv where there is one, else with pip."""
    venv, python = str(root / ".venv"), str(root / ".venv" / "bin" / "python")
    create = [uv, "venv", "--quiet", "--python", sys.executable, venv] if uv else [sys.executable, "-m", "venv", venv]
    install = (
        [uv, "pip", "install", "--quiet", "--python", python]
        if uv
        else [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    )
    return [
        create,
        # The lock names everything, so nothing is left to resolve; pip refuses extras of hashed packages otherwise.
        [*install, "--no-deps", "--require-hashes", "-r", str(root / LOCK)],
        [*install, "--no-deps", "--no-build-isolation", "-e", str(root)],
    ]


def main(root: Path) -> int:
    refusal = refusal_of_old_python(sys.version_info[:3], sys.executable)
    if refusal:
        print(refusal, file=sys.stderr)
        return 1
    reason = reason_to_remake(root)
    if reason is None:
        return 0
    uv = shutil.which("uv")
    print(f"{reason} ({'uv' if uv else 'pip, about a minute'})", flush=True)
    shutil.rmtree(root / ".venv", ignore_errors=True)
    for command in install_commands(root, uv):
        code = subprocess.run(command, cwd=root, check=False).returncode
        if code != 0:
            print(f"`{' '.join(command)}` ended with {code}: .venv is not usable; see above.", file=sys.stderr)
            return 1
    (root / ".venv" / STAMP).write_text(json.dumps(wanted_stamp(root)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent))
