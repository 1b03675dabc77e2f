"""Whatever lies in a folder of code, the audit goes on."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offpeak.audit.code.detect import audit_code
from offpeak.audit.code.reading import read_module
from offpeak.errors import ConfigurationError

from .writing import CALL, HEAD, audited, written

LOOP = f"{HEAD}\nfor row in rows:\n    {CALL}\n"

BROKEN = {
    "half of a line": b"def label(:\n",
    "python 2": b"print 'hello'\n",
    "no text at all": bytes(range(256)),
    "a null byte": b"x = 1\x00\n",
    "another encoding than it says": b"# -*- coding: utf-8 -*-\nx = '\xff\xfe'\n",
    "an encoding that there is not": b"# -*- coding: klingon -*-\nx = 1\n",
    "brackets without an end": b"(" * 5_000,
    "absurdly nested": b"x = " + b"-" * 50_000 + b"1\n",
    "a template": b"{% for each in names %}\nx = {{ each }}\n{% endfor %}\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_parse_is_named_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.py").write_bytes(BROKEN[name])
    audit = audited(tmp_path, good=LOOP)
    assert [finding.path.name for finding in audit.findings] == ["good.py"]
    assert [each.path.name for each in audit.unread] == ["broken.py"]
    assert audit.unread[0].reason
    assert audit.files == 2


def test_a_long_chain_of_calls_is_read(tmp_path: Path) -> None:
    """As builders are written; nested calls that the parser still takes."""
    audit = audited(tmp_path, chain="x = a" + ".b()" * 80 + "\n", good=LOOP)
    assert len(audit.findings) == 1


def test_deep_trees_that_parse_are_no_end_of_the_audit(tmp_path: Path) -> None:
    deep = "x = " + "[" * 90 + "]" * 90 + "\n" + "y = " + " + ".join(["1"] * 3_000) + "\n"
    audit = audited(tmp_path, deep=deep, good=LOOP)
    assert len(audit.findings) == 1
    assert audit.files == 2


def test_names_that_hold_each_other_end(tmp_path: Path) -> None:
    circles = "a = b\nb = a\nclass A(B): pass\nclass B(A): pass"
    text = f"{HEAD}\n{circles}\ndef f():\n    {CALL}\nfor x in xs:\n    a(x)\n    f()\n"
    assert len(audited(tmp_path, good=text).findings) == 1


def test_imports_in_a_circle_end(tmp_path: Path) -> None:
    audit = audited(
        tmp_path,
        one=f"{HEAD}\nfrom two import g\ndef f():\n    {CALL}\n",
        two="from one import g\nfrom one import f\nfor row in rows:\n    f()\n    g()\n",
    )
    assert len(audit.findings) == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_module_or_no_python(text: bytes) -> None:
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        read_module(Path("any.py"), text)


def test_the_standard_library_is_read() -> None:
    """Thousands of lines of every construct that there is."""
    folder = Path(os.__file__).parent
    audit = audit_code(folder / "asyncio")
    assert audit.files > 20
    assert not audit.unread
    assert not audit.findings


def test_what_others_wrote_is_left_out_and_tests_unless_asked_for(tmp_path: Path) -> None:
    written(
        tmp_path,
        **dict.fromkeys(
            ("app", "venv/lib", "node_modules/x", "build/lib", "tests/thing", "test_app", "conftest"), LOOP
        ),
    )
    hidden = tmp_path / ".tox"
    hidden.mkdir()
    (hidden / "x.py").write_text(LOOP)
    names = {finding.path.name for finding in audit_code(tmp_path).findings}
    assert names == {"app.py"}
    names = {finding.path.name for finding in audit_code(tmp_path, tests=True).findings}
    assert names == {"app.py", "thing.py", "test_app.py", "conftest.py"}


def test_one_file_is_audited_by_itself(tmp_path: Path) -> None:
    written(tmp_path, app=LOOP, other=LOOP)
    assert [finding.path.name for finding in audit_code(tmp_path / "app.py").findings] == ["app.py"]


def test_where_there_is_no_code_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no code at .*missing: give a folder, or a file of Python"):
        audit_code(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="There is no Python under"):
        audit_code(tmp_path)
