"""The browser that tests drive, and the marks of a test that drives it."""

from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")

OFFLINE = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""No request leaves the machine: Chromium would look for updates and its maker's hosts otherwise."""

MARKS = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}; .ci/run installs it"),
]
