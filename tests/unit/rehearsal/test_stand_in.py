"""The program that stands in for the providers: what it is told, and what becomes of one that does not work."""

import json
import sys
import urllib.request
from pathlib import Path

import pytest

from offpeak.errors import ConfigurationError
from offpeak.processes import accepts_connections
from offpeak.rehearsal.limits import ModelLimits
from offpeak.rehearsal.stand_in import command_line, stand_in

LIMITS = {"openai/gpt-5-mini": ModelLimits(requests_per_minute=60, tokens_per_minute=None)}


def test_the_command_is_told_its_port_and_the_limits_as_one_word():
    words = command_line("serve --at=:{port} --limits {limits}", port=4010, limits=LIMITS)
    assert words[:2] == ["serve", "--at=:4010"]
    assert json.loads(words[3]) == {"openai/gpt-5-mini": {"requests_per_minute": 60}}


def test_a_leading_python_is_the_one_that_runs_here():
    assert command_line("python -m x {port} {limits}", port=1, limits={})[:3] == [sys.executable, "-m", "x"]
    assert command_line("python3 -m x {port} {limits}", port=1, limits={})[0] == "python3"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (None, "Nothing stands in for the providers"),
        ("serve {port}", r"has no \{limits\}"),
        ("serve {limits}", r"has no \{port\}"),
        ("serve '{port} {limits}", "is no command"),
    ],
)
def test_a_command_that_cannot_work_is_refused_with_what_to_write(command, said):
    with pytest.raises(ConfigurationError, match=said):
        command_line(command, port=1, limits={})


SERVER = """python -c '
import http.server, sys
class Told(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Told).serve_forever()
' {port} {limits}"""


def test_it_serves_until_the_block_ends(tmp_path: Path):
    with (
        stand_in(SERVER, LIMITS, folder=tmp_path, logs=tmp_path) as url,
        urllib.request.urlopen(url, timeout=10) as answer,
    ):
        assert answer.read() == b'{"openai/gpt-5-mini":{"requests_per_minute":60}}'
    assert not accepts_connections(url.removeprefix("http://"))


def test_one_that_ends_at_once_is_an_error_with_its_last_lines(tmp_path: Path):
    command = """python -c 'raise SystemExit("no such model")' {port} {limits}"""
    with (
        pytest.raises(ConfigurationError, match=r"(?s)ended by itself with exit code 1.*no such model"),
        stand_in(command, LIMITS, folder=tmp_path, logs=tmp_path),
    ):
        pass


def test_one_that_cannot_be_started_is_an_error(tmp_path: Path):
    with (
        pytest.raises(ConfigurationError, match=r"no-such-program .* cannot be started"),
        stand_in("no-such-program {port} {limits}", LIMITS, folder=tmp_path, logs=tmp_path),
    ):
        pass
