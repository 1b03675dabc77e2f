"""A few schedules of the simulation; `make test-faults` carries out 500, `python -m tests.simulation` any number."""

import subprocess
import sys

import pytest

from ..conftest import ROOT

SCHEDULES = 20


@pytest.mark.slow
def test_nothing_is_bought_twice_or_lost_whatever_goes_wrong() -> None:
    """By the provider's tally, over schedules of faults, kills and stops; each is named by its seed."""
    command = [sys.executable, "-m", "tests.simulation", "--schedules", str(SCHEDULES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SCHEDULES} schedules" in done.stdout
    assert "0 in trouble" in done.stdout


@pytest.mark.slow
def test_a_step_that_is_left_out_is_noticed() -> None:
    """Here the question to the provider whether a create whose answer never came has come to something."""
    command = [sys.executable, "-m", "tests.simulation", "--schedules", "10", "--without", "asking"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 usable answers were bought" in done.stdout
