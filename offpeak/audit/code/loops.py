"""What kind of loop a call stands in: only one over data means that nobody watches the single call.

A loop that tries again, takes turns with a model or talks with a person is no reason to move a call to another lane.
They are told apart by what they count and by how they end: who returns or breaks right after the call makes it once.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

FEW = 10
"""A loop over so many fixed numbers, or fewer, is no volume."""

LONGEST = 60
"""Characters of what is looped over that are shown."""

AGAIN = re.compile(
    r"retr(y|ies)|attempt|\btr(y|ies)\b|_tr(y|ies)\b|turn|step|round|iteration|\biter\b|_iters?\b|max_iter|backoff"
    r"|improve|refine|depth|hops?\b|backend|fallback|api_?keys?\b|endpoints?\b|temperatures?\b",
    re.IGNORECASE,
)
"""Names of what counts tries, or the turns of one conversation."""

ONE_ANSWER = re.compile(r"^range\((self\.)?(n|k|best_of)\)$|^range\((\w+\.)?MAX_[A-Z_]+\)$")
"""Several answers to one question, or turns up to a bound of the program's own."""

BARS = frozenset({"tqdm", "trange", "atqdm", "track", "progressbar", "progress_bar", "alive_it", "stqdm", "progress"})
"""Functions that show a bar over what they are given."""

ASKS = frozenset({"raw_input", "prompt_async", "getpass", "listen", "recognize_google", "chat_input"})
"""Functions by which a program waits for a person to type or to speak."""

ASKED_OF = frozenset({"Prompt", "IntPrompt", "Confirm", "questionary", "inquirer", "session", "click", "typer",
                      "console", "stdin"})  # fmt: skip
"""What asks a person through functions whose names others use too: `Prompt.ask`, `click.prompt`, `stdin.readline`."""

UNTIL_EMPTY = re.compile(
    r"<=?\s*len\(|len\([^)]*\)\s*(<|(>|!=)\s*0)|empty\(|qsize|queue|remaining|pending|todo|batch|offset|cursor|page",
    re.IGNORECASE,
)
"""Conditions of a `while` that goes on until there is no more, or enough."""

SLEEPS = frozenset({"sleep", "wait"})

ARRIVING = re.compile(
    r"websocket|\bws\b|socket|stdin|\binput\(|receive|\bstream|delta|tool_?calls?",
    re.IGNORECASE,
)
"""Loops over these are one conversation, or the pieces of one answer."""

CONVERSATION = re.compile(r"(^|[._])(msgs?|messages|history|turns)$", re.IGNORECASE)
"""What was said so far. Parts of it, cut into chunks, are data again."""


class Kind(StrEnum):
    """What a loop goes through."""

    DATA = "data"
    """Rows, documents, files: one call each."""
    AGAIN = "again"
    """Tries, or turns of a conversation."""
    PERSON = "person"
    """It waits for a person to type."""
    POLL = "poll"
    """It sleeps and asks again, without an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One loop around a call."""

    kind: Kind
    over: str
    """What is looped over, as it is written."""
    line: int
    bar: bool = False
    """It shows a progress bar."""
    together: bool = False
    """Its calls are in flight at the same time."""


def of_for(node: ast.For | ast.AsyncFor | ast.comprehension, *, line: int, body: Sequence[ast.stmt] = ()) -> Loop:
    """What a `for` goes through. A comprehension has no body."""
    whole = ast.unparse(node.iter)
    bar = _calls(node.iter) & BARS != frozenset() or bool(_updates(body))
    named = _names(node.target)
    if (
        any(AGAIN.search(name) for name in named)
        or _counts_tries(node.iter)
        or ARRIVING.search(whole)
        or CONVERSATION.search(whole)
    ):
        kind = Kind.AGAIN
    elif _asks(body):
        kind = Kind.PERSON
    else:
        kind = Kind.DATA
    return Loop(kind=kind, over=shortened(whole), line=line, bar=bar)


def of_while(node: ast.While) -> Loop:
    """What a `while` goes through."""
    whole = ast.unparse(node.test)
    if _asks(node.body):
        kind = Kind.PERSON
    elif _forever(node.test):
        kind = Kind.POLL if _sleeps(node.body) and not _ends(node.body) else Kind.AGAIN
    elif UNTIL_EMPTY.search(whole):
        kind = Kind.DATA
    else:
        kind = Kind.AGAIN
    return Loop(kind=kind, over=shortened(whole), line=node.lineno, bar=bool(_updates(node.body)))


def shortened(code: str) -> str:
    """Code on one line, cut where it is long."""
    text = " ".join(code.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _counts_tries(it: ast.expr) -> bool:
    """Whether it is a range over a few fixed numbers, or over a number of tries."""
    if isinstance(it, ast.Call) and _names(it.func) <= {"enumerate", "tqdm", "zip", "list"} and len(it.args) == 1:
        return _counts_tries(it.args[0])
    if isinstance(it, ast.Subscript) and isinstance(it.slice, ast.Slice):
        return it.slice.lower is None and _few(it.slice.upper)
    if not isinstance(it, ast.Call) or not isinstance(it.func, ast.Name) or it.func.id not in {"range", "count"}:
        return _fixed(it) or (isinstance(it, ast.Tuple | ast.List) and len(it.elts) <= FEW and not _starred(it))
    if it.func.id == "count":
        return True
    if ONE_ANSWER.search(ast.unparse(it)):
        return True
    last = it.args[-1] if len(it.args) == 1 else it.args[1] if it.args else None
    if isinstance(last, ast.Constant):
        return _few(last)
    return last is not None and "len(" not in (text := ast.unparse(last)) and AGAIN.search(text) is not None


def _fixed(it: ast.expr) -> bool:
    """Whether it is a constant of the program: `CRITERIA`, or `CRITERIA.items()`."""
    if isinstance(it, ast.Call) and isinstance(it.func, ast.Attribute) and not it.args:
        it = it.func.value
    name = it.id if isinstance(it, ast.Name) else it.attr if isinstance(it, ast.Attribute) else ""
    return name.isupper()


def _few(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value <= FEW


def _starred(it: ast.Tuple | ast.List) -> bool:
    return any(isinstance(each, ast.Starred) for each in it.elts)


def _forever(test: ast.expr) -> bool:
    return isinstance(test, ast.Constant) and bool(test.value)


def _asks(body: Sequence[ast.stmt]) -> bool:
    return any(_waits_for_a_person(node) for statement in body for node in ast.walk(statement))


def _waits_for_a_person(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name == "input" or name in ASKS
        case ast.Call(func=ast.Attribute(attr=name, value=of)):
            return name in ASKS or bool(_names(of) & ASKED_OF and name in {"ask", "prompt", "input", "readline"})
    return False


def _sleeps(body: Sequence[ast.stmt]) -> bool:
    return bool(_called(body) & SLEEPS)


def _ends(body: Sequence[ast.stmt]) -> bool:
    """Whether something in it leaves the loop for good."""
    return any(isinstance(node, ast.Return | ast.Break) for node in _within(body))


def _updates(body: Sequence[ast.stmt]) -> set[str]:
    """The bar that is moved on by hand."""
    return {
        name
        for node in _within(body)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"update", "advance", "tick"}
        for name in _names(node.func.value)
        if re.search(r"bar|progress|tqdm", name, re.IGNORECASE)
    }


def _called(body: Sequence[ast.stmt]) -> frozenset[str]:
    return frozenset(name for statement in body for name in _calls(statement))


def _calls(node: ast.AST) -> frozenset[str]:
    """The last names of all functions that are called within."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Call):
            match each.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    found.add(name)
    return frozenset(found)


def _names(node: ast.expr) -> set[str]:
    return {
        each.id if isinstance(each, ast.Name) else each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Name | ast.Attribute)
    }


def _within(body: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """All nodes of a body that belong to it, and not to a function that is defined in it."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
