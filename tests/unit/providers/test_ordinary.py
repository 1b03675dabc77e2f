"""The faster reading of ordinary lines says what the wire modules say, or nothing."""

import base64
import json
import random
import struct
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from offpeak.errors import DownloadIncomplete
from offpeak.providers import anthropic_wire, open_provider, openai_wire, ordinary, wire
from offpeak.providers.base import Kind, Provider, ResultLine
from offpeak.providers.ordinary import Reader

from .test_answers import COMPLETION, MESSAGE, RESPONSE, ok, succeeded

Json = dict[str, Any]

TEXT = {"type": "output_text", "text": "fine", "annotations": [], "logprobs": []}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "content": None}
EMBEDDED = {
    "object": "list",
    "data": [
        {"object": "embedding", "index": 0, "embedding": base64.b64encode(struct.pack("<3f", 0.25, -1.5, 3)).decode()}
    ],
    "model": "e-3",
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}


@dataclass(frozen=True)
class Shape:
    """One shape of ordinary line, and both ways of reading it."""

    line: Json
    kind: Kind
    provider: Provider
    decode: Callable[[Json], ResultLine]
    reader: Reader | None

    def reads(self, line: bytes) -> bool:
        """Whether `line` is read as an ordinary one; if so, it must be read as the wire module reads it."""
        assert self.reader is not None
        said = self.reader(line)
        if said is None:
            return False
        # By their repr: 1.0 and True are equal to 1, and are something else.
        assert repr(said) == repr(self.decode(orjson.loads(line)))
        return True


def openai_shape(body: Json, kind: Kind = Kind.CHAT, endpoint: openai_wire.ChatEndpoint = "responses") -> Shape:
    provider = open_provider("openai", api_key="k", chat_endpoint=endpoint)
    return Shape(ok(body), kind, provider, openai_wire.decoder(kind, endpoint), ordinary.openai(kind, endpoint))


SHAPES = {
    "response": openai_shape(RESPONSE | {"output": [REASONING, {"type": "message", "content": [TEXT]}]}),
    "completion": openai_shape(COMPLETION, endpoint="chat.completions"),
    "embedding": openai_shape(EMBEDDED, Kind.EMBEDDING),
    "message": Shape(
        succeeded(MESSAGE | {"content": [{"type": "thinking", "thinking": "..."}, {"type": "text", "text": "fine"}]}),
        Kind.CHAT,
        open_provider("anthropic", api_key="k"),
        anthropic_wire.decode,
        ordinary.anthropic(),
    ),
}

ABSENT = object()
ODD = [
    ABSENT, None, True, False, 0, 1, -1, 7, 200, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 0.0, -0.0, 1.5, 200.0,
    1e300, "", "x", "0", "\u2028", "null", "{}", "fi\x00né 😀", [], {}, [[]], [{}], [None], ["x"], [1], {"type": "x"},
    {"x": None}, [{"type": "text", "text": "x"}], [TEXT], [TEXT, TEXT], [TEXT, {"type": "refusal", "refusal": "no"}],
    [{"type": "refusal", "refusal": "no"}], [{"type": "output_text"}], [{"type": "output_text", "text": None}],
    {"content": "x"}, {"content": None}, {"content": "x", "refusal": "no"}, {"content": [{"text": "x"}]},
    {"embedding": [0.5, 1]}, {"cached_tokens": 1}, {"ttl_12h_tokens": 1}, {"input_tokens": 1}, {"total_tokens": 3},
    "message", "succeeded", "errored", "completed", "failed", "incomplete", "cancelled", "in_progress", "end_turn",
    "stop_sequence", "max_tokens", "refusal", "stop", "length", "content_filter", "tool_calls", "output_text",
    "AAAA", "AAA=", "AAAAAA==", "AAAAAB==", "AAAAAA", "AAAA AA==", "AA==AAAA", "AAAAAA\n==", "AAAA-_==", "\xe4AAAAA==",
]  # fmt: skip
ADDED: list[tuple[str, object]] = [
    ("choices", None), ("choices", []), ("choices", COMPLETION["choices"]), ("output", None), ("output", []),
    ("error", {"code": "x"}), ("completed_at", 1764000009), ("completed_at", 0), ("completed_at", None),
    ("refusal", "no"), ("refusal", ""), ("input_tokens", 3), ("input_tokens", None), ("output_tokens", None),
    ("completion_tokens", 2), ("prompt_tokens_details", {"cached_tokens": 2}), ("text", None), ("text", "x"),
    ("content", "x"), ("content", [TEXT]), ("status", "incomplete"), ("type", "message"), ("unheard_of", {"a": [1.5]}),
]  # fmt: skip


def places(value: object, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """The path to every value inside `value`."""
    if path:
        yield path
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    ):
        yield from places(inner, *path, name)


def at(line: Json, path: tuple[str | int, ...]) -> Any:
    found: Any = line
    for name in path:
        found = found[name]
    return found


def variations(line: Json) -> Iterator[Json]:
    """Every value in turn replaced by each odd one, every list lengthened, every object given fields."""
    for path in places(line):
        for odd in ODD:
            changed = deepcopy(line)
            if odd is ABSENT:
                del at(changed, path[:-1])[path[-1]]
            else:
                at(changed, path[:-1])[path[-1]] = odd
            yield changed
        inner = at(line, path)
        if isinstance(inner, list):
            for more in [*inner, None, {}, {"type": "function_call", "content": None}, REASONING]:
                for position in (0, len(inner)):
                    changed = deepcopy(line)
                    at(changed, path).insert(position, more)
                    yield changed
        if isinstance(inner, dict):
            for name, value in ADDED:
                changed = deepcopy(line)
                at(changed, path)[name] = value
                yield changed


def dumped(line: Json) -> bytes:
    """As JSON; unlike orjson, this writes integers of any size."""
    return json.dumps(line, ensure_ascii=False).encode()


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


def test_an_ordinary_line_is_read_the_fast_way(shape: Shape) -> None:
    assert shape.reads(orjson.dumps(shape.line) + b"\n")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("response", {"output": [{"type": "message", "content": [TEXT]}]}),
        ("response", {"output": [REASONING, {"type": "web_search_call"}, {"type": "message", "content": [TEXT]}]}),
        ("response", {"completed_at": None}),
        ("response", {"completed_at": 1764000009}),
        ("response", {"created_at": 1764000000.5, "completed_at": None}),
        ("response", {"usage": {"input_tokens": 1, "output_tokens": 0}}),
        ("response", {"model": None}),
        ("completion", {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None}}),
        ("completion", {"created": None}),
        ("embedding", {"usage": {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}}),
        ("message", {"content": [{"type": "text", "text": ""}]}),
        ("message", {"usage": {"input_tokens": 1, "output_tokens": 2, "cache_creation": None}}),
        ("message", {"usage": {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": None}}),
    ],
)
def test_what_providers_leave_out_or_add_is_still_ordinary(name: str, change: Json) -> None:
    shape = SHAPES[name]
    path = ("result", "message") if name == "message" else ("response", "body")
    line = deepcopy(shape.line)
    at(line, path).update(change)
    assert shape.reads(dumped(line))


@pytest.mark.parametrize("text", ["", "naïve 😀 日本", "\u2028\u2029\x85", "\x00\x7f", 'a"b\\/\n\t', "{}", "\ufeff"])
@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("name", ["response", "completion", "message"])
def test_any_text_is_ordinary_however_it_is_escaped(name: str, text: str, escaped: bool) -> None:
    line = json.dumps(SHAPES[name].line).replace('"fine"', json.dumps(text, ensure_ascii=escaped))
    assert SHAPES[name].reads(line.encode())


def test_the_order_of_fields_and_an_escaped_name_change_nothing(shape: Shape) -> None:
    def turned(value: Any) -> Any:
        return {name: turned(value[name]) for name in reversed(value)} if isinstance(value, dict) else value

    assert shape.reads(dumped(turned(shape.line)))
    assert shape.reads(dumped(shape.line).replace(b'"custom_id"', b'"custom\\u005fid"'))


def test_every_variation_of_a_line_reads_the_same_both_ways(shape: Shape, tmp_path: Path) -> None:
    lines = [dumped(line) for line in variations(shape.line)]
    fast = sum(map(shape.reads, lines))
    assert len(lines) > 1000
    assert 0 < fast < len(lines)

    path = tmp_path / "results.jsonl"
    path.write_bytes(b"\n".join(lines))
    both = shape.provider.results(path, kind=shape.kind)
    assert list(map(repr, both)) == list(map(repr, wire.read_lines(path, shape.decode)))


def test_a_field_that_stands_twice_counts_as_the_wire_modules_count_it(shape: Shape) -> None:
    line = dumped(shape.line)
    for path in places(shape.line):
        name, before = path[-1], dumped(at(shape.line, path))
        for odd in (b"null", b"7", b'"x"', b"{}", b"[]", before):
            field = f'"{name}": '.encode()
            shape.reads(line.replace(field, field + odd + b", " + field, 1))
            shape.reads(line.replace(field + before, field + before + b", " + field + odd, 1))


def test_a_damaged_line_is_never_read_differently(shape: Shape) -> None:
    chance = random.Random(20)
    line = json.dumps(shape.line | {"note": "naïve 😀"}, ensure_ascii=False).encode()
    whole = 0
    for _ in range(5000):
        start = chance.randrange(len(line))
        end = start + chance.choice((0, 1, 1, 2, 20))
        put = chance.choice(
            (b"", b"0", b"-", b".", b"e", b'"', b"\\", b"{", b"]", b",", b"\x00", b"\x1f", b"\xff", b"\xc3")
        )
        whole += shape.reads(line[:start] + put + line[end:])
    assert whole > 0
    assert not any(shape.reads(line[:end]) for end in range(len(line)))


@pytest.mark.parametrize("torn", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x01", b"\\ud800", b"\\q"])
def test_damage_in_a_field_that_nobody_reads_is_a_torn_download(shape: Shape, tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(dumped(shape.line) + b"\n" + dumped(shape.line | {"note": "torn"}).replace(b"torn", torn))
    with pytest.raises(DownloadIncomplete, match="line 2"):
        list(shape.provider.results(path, kind=shape.kind))


@pytest.mark.parametrize("line", [b"", b"\n", b"null", b"[]", b"{}", b"<html>", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_line_at_all_is_left_to_the_wire_modules(shape: Shape, line: bytes) -> None:
    assert not shape.reads(line)


def test_a_number_that_nobody_reads_may_be_of_any_size(shape: Shape) -> None:
    assert shape.reader is not None
    for number in (b"1e999", b"1" * 400):
        assert shape.reader(dumped(shape.line)[:-1] + b', "note": ' + number + b"}") is not None


def test_no_moderation_is_ordinary() -> None:
    assert ordinary.openai(Kind.MODERATION, "responses") is None
