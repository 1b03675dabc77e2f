"""Uploads and downloads: streamed, whole or refused, and with the key going nowhere else."""

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offpeak.clock import EPOCH
from offpeak.errors import ConfigurationError, DownloadIncomplete, ProviderUnavailable, SubmissionRejected
from offpeak.providers import anthropic, open_provider
from offpeak.providers.base import BatchState, BatchView, Provider

from .conftest import ROOT, SECRET, Loopback, Reply

LINE = b'{"custom_id":"c1"}'


def ended(*refs: str) -> BatchView:
    return BatchView(id="b1", state=BatchState.COMPLETED, created_at=EPOCH, result_refs=refs)


@pytest.fixture
def elsewhere() -> Iterator[Loopback]:
    server = Loopback()
    server.answer = lambda seen: Reply(200, LINE)
    yield server
    server.close()


def openai_at(loopback: Loopback) -> Provider:
    return open_provider("openai", api_key=SECRET, base_url=loopback.url + "/v1", read_retries=0)


def anthropic_at(loopback: Loopback, path: str = "") -> Provider:
    return open_provider("anthropic", api_key=SECRET, base_url=loopback.url + path, read_retries=0)


def test_an_output_and_an_error_file_follow_one_another(loopback: Loopback, tmp_path: Path) -> None:
    contents = {"/v1/files/out/content": b"1\n2", "/v1/files/err/content": b"3\n"}
    loopback.answer = lambda seen: Reply(200, contents[seen.path])
    openai_at(loopback).download(ended("out", "err"), tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == b"1\n2\n3\n"


def test_a_batch_without_results_is_an_empty_file(loopback: Loopback, tmp_path: Path) -> None:
    openai_at(loopback).download(ended(), tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == b""
    assert loopback.seen == []


def test_a_compressed_download_is_read(provider: Provider, loopback: Loopback, tmp_path: Path) -> None:
    loopback.answer = lambda seen: Reply(200, gzip.compress(LINE * 500), headers={"Content-Encoding": "gzip"})
    provider.download(ended("f"), tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == LINE * 500 + b"\n"


@pytest.mark.parametrize(
    "reply",
    [Reply(200, LINE * 100, cut=50), Reply(404, {}), Reply(302, b"", headers={"Location": "/x"})],
    ids=["cut", "not there yet", "redirected"],
)
def test_a_torn_download_leaves_nothing_behind(
    provider: Provider, loopback: Loopback, tmp_path: Path, reply: Reply
) -> None:
    loopback.answer = lambda seen: reply
    with pytest.raises(DownloadIncomplete):
        provider.download(ended("f"), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_download_that_stops_is_torn(provider: Provider, loopback: Loopback, tmp_path: Path) -> None:
    loopback.answer = lambda seen: Reply(200, LINE, silent=True)
    with pytest.raises(DownloadIncomplete):
        provider.download(ended("f"), tmp_path / "r")


def test_a_broken_provider_is_asked_again_for_its_results(
    provider: Provider, loopback: Loopback, tmp_path: Path
) -> None:
    loopback.answer = lambda seen: Reply(503, {}, headers={"Retry-After": "3"})
    with pytest.raises(ProviderUnavailable) as caught:
        provider.download(ended("f"), tmp_path / "r")
    assert caught.value.retry_after is not None


DOCUMENTED = "/v1/messages/batches/b1/results"


@pytest.mark.parametrize(
    ("results_url", "asked"),
    [
        (None, DOCUMENTED),
        ("", DOCUMENTED),
        (DOCUMENTED, DOCUMENTED),
        (DOCUMENTED.lstrip("/"), DOCUMENTED),
        ("https://elsewhere.invalid" + DOCUMENTED, DOCUMENTED),
        ("//elsewhere.invalid/v1/other/place", "/v1/other/place"),
        ("https://elsewhere.invalid//double.invalid/x", "/double.invalid/x"),
        ("https://elsewhere.invalid/v1/{braces}", DOCUMENTED),
        ("https://elsewhere.invalid/v1/../admin", DOCUMENTED),
        ("https://elsewhere.invalid/v1/r?token=1", DOCUMENTED),
        ("https://[broken", DOCUMENTED),
    ],
)
def test_results_are_asked_of_our_own_host_whatever_their_address_says(
    loopback: Loopback, tmp_path: Path, results_url: str | None, asked: str
) -> None:
    loopback.answer = lambda seen: Reply(200, LINE)
    batch = anthropic.view({"id": "b1", "processing_status": "ended", "results_url": results_url})
    anthropic_at(loopback).download(batch, tmp_path / "r")
    assert [seen.path for seen in loopback.seen] == [asked]
    assert (tmp_path / "r").read_bytes() == LINE + b"\n"


def test_a_gateways_path_is_not_doubled(loopback: Loopback, tmp_path: Path) -> None:
    loopback.answer = lambda seen: Reply(200, LINE)
    batch = anthropic.view({"id": "b1", "results_url": f"{loopback.url}/gateway{DOCUMENTED}"})
    anthropic_at(loopback, "/gateway").download(batch, tmp_path / "r")
    assert [seen.path for seen in loopback.seen] == ["/gateway" + DOCUMENTED]


def test_results_at_an_unknown_path_are_asked_for_at_the_documented_one(loopback: Loopback, tmp_path: Path) -> None:
    loopback.answer = lambda seen: Reply(200, LINE) if seen.path == DOCUMENTED else Reply(404, {})
    batch = anthropic.view({"id": "b1", "results_url": "results"})
    anthropic_at(loopback).download(batch, tmp_path / "r")
    assert [seen.path for seen in loopback.seen] == ["/results", DOCUMENTED]


@pytest.mark.parametrize("how", ["address", "redirect"])
def test_the_key_never_goes_to_another_host(
    provider: Provider, loopback: Loopback, elsewhere: Loopback, tmp_path: Path, how: str
) -> None:
    if how == "redirect":
        loopback.answer = lambda seen: Reply(302, b"", headers={"Location": elsewhere.url + seen.path})
    else:
        loopback.answer = lambda seen: Reply(200, LINE)
    batch = anthropic.view({"id": "b1", "results_url": elsewhere.url + DOCUMENTED})
    try:
        provider.download(batch, tmp_path / "r")
    except DownloadIncomplete:
        assert how == "redirect"
    assert elsewhere.seen == []
    assert all(SECRET in seen.headers["authorization"] for seen in loopback.seen)


def test_an_upload_is_the_spool_file_for_the_batch_api(loopback: Loopback, tmp_path: Path) -> None:
    spool = tmp_path / "chunk"
    spool.write_bytes(LINE * 3)
    loopback.answer = lambda seen: Reply(200, {"id": "file-1"})
    assert openai_at(loopback).upload(spool, name="offpeak-7.jsonl") == "file-1"
    (seen,) = loopback.seen
    assert seen.path == "/v1/files"
    assert LINE * 3 in seen.body
    for part in (b'name="purpose"\r\n\r\nbatch', b'filename="offpeak-7.jsonl"', b'name="expires_after[seconds]"'):
        assert part in seen.body


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(413, {}), SubmissionRejected),
        (Reply(401, {}), ConfigurationError),
        (Reply(429, {}), ProviderUnavailable),
        (Reply(500, {}), ProviderUnavailable),
        (Reply(reset=True), ProviderUnavailable),
        (Reply(200, {"id": ""}), ProviderUnavailable),
    ],
)
def test_what_a_failed_upload_means(
    loopback: Loopback, tmp_path: Path, reply: Reply, expected: type[Exception]
) -> None:
    (tmp_path / "chunk").write_bytes(LINE)
    loopback.answer = lambda seen: reply
    with pytest.raises(expected) as caught:
        openai_at(loopback).upload(tmp_path / "chunk", name="n")
    assert type(caught.value) is expected


def test_anthropic_uploads_nothing(tmp_path: Path) -> None:
    assert open_provider("anthropic", api_key=SECRET).upload(tmp_path / "missing", name="n") is None


SEND = """
import resource, sys, threading, socket, pathlib
from offpeak.providers import open_provider
from offpeak.providers.base import Kind
name, path = sys.argv[1:]
server = socket.create_server(("127.0.0.1", 0))
def swallow():
    connection, _ = server.accept()
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        head += connection.recv(4096)
    head, _, rest = head.partition(b"\\r\\n\\r\\n")
    left = int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0]) - len(rest)
    buffer = bytearray(1 << 16)
    while left:
        left -= connection.recv_into(buffer)
    connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\n{"id":"x"}')
    connection.close()
threading.Thread(target=swallow, daemon=True).start()
provider = open_provider(name, api_key="k", base_url=f"http://127.0.0.1:{server.getsockname()[1]}", read_retries=0)
spool = pathlib.Path(path)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if name == "openai":
    provider.upload(spool, name="n")
else:
    provider.create(spool, kind=Kind.CHAT, file_id=None, metadata={})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_spool_file_is_not_read_into_memory(name: str, tmp_path: Path) -> None:
    spool = tmp_path / "chunk"
    with spool.open("wb") as file:
        file.truncate(150_000_000)
    done = subprocess.run(
        [sys.executable, "-c", SEND, name, str(spool)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    grown_mb = int(done.stdout)
    assert grown_mb < 30
