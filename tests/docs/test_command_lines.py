"""Every command line of the pages is one that exists, with options that it takes."""

import configparser
import importlib.util
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from dagster_dg_cli.cli import create_dg_cli

from offpeak.cli import build_app
from resources import sample_data

from .pages import PAGES, ROOT, blocks, name

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
VARIABLES = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.M)) | set(re.findall(r"\$\(([A-Z]+)\)", MAKEFILE))
FIVE_LINES = ROOT / "docs" / "next-steps.txt"


# Typer brings a click of its own, so there are two of everything.
REFUSALS = (click.ClickException, *(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"))


def parsed(command: Any, words: Sequence[str], program: str) -> None:
    """Raise click's own error when `command` does not take these words; nothing is run."""
    with command.make_context(program, list(words)) as context:
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if hasattr(command, "commands") and rest:
            found, inner, arguments = command.resolve_command(context, rest)
            parsed(inner, arguments, f"{program} {found}")


def offpeak(words: Sequence[str]) -> None:
    parsed(typer.main.get_command(build_app()), words, "offpeak")


def dg(words: Sequence[str]) -> None:
    parsed(create_dg_cli(), words, "dg")


def make(words: Sequence[str]) -> None:
    for word in words:
        variable, equals, _ = word.partition("=")
        assert variable in (VARIABLES if equals else TARGETS), f"make has no {word}"


def python(words: Sequence[str]) -> None:
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file()
        return
    assert importlib.util.find_spec(words[1]), f"there is no module {words[1]}"
    if words[1] == "resources.sample_data":
        parsed(typer.main.get_command(sample_data.app), words[2:], words[1])


def pip(words: Sequence[str]) -> None:
    verb, package = words
    assert verb == "install"
    assert re.fullmatch(r"path/to/this/repository(\[(notify|postgres|reports)\])?", package)


def export(words: Sequence[str]) -> None:
    assert all("=" in word for word in words)
    assert {word.partition("=")[0] for word in words} <= known_variables()


def source(words: Sequence[str]) -> None:
    assert list(words) == [".offpeak/env"]
    assert (ROOT / "scripts" / "write_shell_settings.py").is_file()


PROGRAMS: dict[str, Callable[[Sequence[str]], None]] = {
    "offpeak": offpeak,
    "dg": dg,
    "make": make,
    "python": python,
    "pip": pip,
    "export": export,
    ".": source,
}


def known_variables() -> set[str]:
    """The variables that the reference lists."""
    text = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    return set(re.findall(r"`([A-Z_]{4,})`", text))


def check(line: str) -> None:
    for part in line.split(" && "):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            export([words.pop(0)])
        assert words[0] in PROGRAMS, f"no test knows the program {words[0]!r}"
        PROGRAMS[words[0]](words[1:])


def lines_of(page: Path) -> list[str]:
    if page.name == "command-line.md":  # usage lines and options; the examples stand below the blocks
        return re.findall(r"^Example: (.+)$", page.read_text(encoding="utf-8"), re.M)
    return [line for block in blocks(page, "console") for line in block.text.splitlines() if line.strip()]


def inline(page: Path) -> list[str]:
    """Commands within the running text."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return [line for line in re.findall(r"`((?:make|offpeak|dg) [a-z][^`]*)`", text) if "." not in line.split()[1]]


@pytest.mark.parametrize("page", [page for page in PAGES if lines_of(page)], ids=name)
def test_its_command_lines_exist(page: Path) -> None:
    for line in lines_of(page):
        check(line)


def test_the_lines_that_make_run_prints_exist() -> None:
    lines = [line.strip() for line in FIVE_LINES.read_text(encoding="utf-8").splitlines() if re.match(r"  \S", line)]
    assert len(lines) == 5
    for line in lines:
        check(line)


def test_verbs_named_in_the_text_exist() -> None:
    verbs = set(typer.main.get_command(build_app()).commands)  # type: ignore[attr-defined]
    for page in PAGES:
        for line in inline(page):
            program, verb = line.split()[:2]
            if program == "offpeak":
                assert verb in verbs, f"{name(page)} names `{line}`"
            if program == "make":
                make([verb])


@pytest.mark.parametrize("line", ["offpeak plan", "offpeak jobs --opne", "offpeak approve 7", "make rnu", "dg lunch"])
def test_a_line_that_does_not_exist_is_found_out(line: str) -> None:
    with pytest.raises((*REFUSALS, AssertionError)):
        check(line)


def test_the_service_of_the_how_to_runs_a_command_that_exists() -> None:
    (unit,) = blocks(ROOT / "docs" / "how-to" / "wake-on-data.md", "ini")
    settings = configparser.ConfigParser()
    settings.read_string(unit.text)
    program, *words = shlex.split(settings["Service"]["ExecStart"])
    assert program.endswith("/bin/offpeak")
    offpeak(words)
