"""The program: how it starts, what it says, and that it ends."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quietly_within_two_seconds_while_a_batch_runs(starting, chats, sig):
    server = starting("--latency", "600")
    server.submit(chats(500))
    server.post("/local/faults", [{"fault": "ghost_hang"}])
    hanging = threading.Thread(target=lambda: server.submit(chats(1)), daemon=True)
    threading.excepthook, before = lambda _: None, threading.excepthook
    try:
        hanging.start()
        server.until(lambda: server.get("/local/faults")["fired"], bool)
        began = time.monotonic()
        assert server.stop(sig) == (0, "")
        assert time.monotonic() - began < 2
        hanging.join(5)
    finally:
        threading.excepthook = before


def test_a_port_in_use_is_one_clear_line(starting):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "local_provider", "--port", str(port)], capture_output=True, text=True, timeout=20
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"port {port}" in done.stderr


def test_the_config_file_sets_settings_and_faults(starting, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"settings": {"answers": "cheap", "latency_seconds": 9}, "faults": [{"fault": "create_429"}]})
    )
    server = starting("--config", str(config), "--latency", "0.5")
    settings = server.get("/local/settings")
    assert (settings["answers"], settings["latency_seconds"]) == ("cheap", 0.5)
    assert server.get("/local/faults")["rules"][0]["fault"] == "create_429"
    assert server.get("/local/health")["status"] == "ok"


def test_settings_can_be_put_back_to_what_it_was_started_with(starting, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"settings": {"openai_models_without_flex": ["gpt-5.5"], "latency_seconds": 9}}))
    server = starting("--config", str(config), "--latency", "0.5")
    before = server.get("/local/settings")
    changes = {"openai_models_without_flex": [], "latency_seconds": 7, "openai_requests_per_minute": 3}
    changed = server.post("/local/settings", {**changes, "answers": "cheap"})
    assert (changed["openai_models_without_flex"], changed["latency_seconds"]) == ([], 7)
    assert json.loads(server.raw("DELETE", "/local/settings")[2]) == server.get("/local/settings") == before
    assert before["openai_models_without_flex"] == ["gpt-5.5"]


def test_a_batch_in_flight_goes_on_after_an_orderly_restart(starting, chats, tmp_path):
    options = ("--data", str(tmp_path / "data"), "--latency", "3")
    first = starting(*options)
    first.post("/local/settings", {"answers": "cheap"})
    batch = first.submit(chats(60))
    first.until(lambda: first.get("/local/tally")["openai"]["answers_delivered"], lambda n: n > 5)
    first.stop()
    second = starting(*options)
    second.post("/local/settings", {"answers": "cheap"})
    lines = second.output(second.ended(batch.id))
    assert sorted(line["custom_id"] for line in lines) == sorted(f"c{n}" for n in range(60))
    assert second.get("/local/tally")["openai"]["answers_delivered"] == 60
    assert second.get("/local/tally/requests?at_least=2")["requests"] == []


def test_http_answers_while_a_large_batch_is_answered(server, chats):
    server.post("/local/settings", {"latency_seconds": 0})
    batch = server.submit(chats(4_000))
    slowest, status = 0.0, "validating"
    while status != "completed":
        began = time.monotonic()
        status = server.openai.batches.retrieve(batch.id).status
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1


def test_it_listens_on_the_loopback_address_only(server):
    assert server.url.startswith("http://127.0.0.1:")
