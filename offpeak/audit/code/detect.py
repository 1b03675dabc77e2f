"""Which calls in a folder of Python no person waits for.

Each call that buys tokens is followed upwards, through the loops around it and the functions that call its function, to
where the program is entered. It is found where a loop over data, a clock or a queue lies on the way. What only a person
enters, what tries again, and what nobody calls here, is left alone: an audit that cries wolf is read once.
"""

import gc
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from offpeak.audit.case import Case
from offpeak.audit.code import entries
from offpeak.audit.code.entries import Entered, Entry
from offpeak.audit.code.files import Source, sources
from offpeak.audit.code.finding import CodeAudit, Finding, Unread
from offpeak.audit.code.loops import Kind, Loop
from offpeak.audit.code.module import MODULE, Module, Use
from offpeak.audit.code.program import Place, Program
from offpeak.audit.code.reading import read_module

FARTHEST = 6
"""Functions on the way from a call upwards. Beyond, what is named alike is more often something else."""

SHARE = 0.4
"""Of the ways to a call, those that lead through a loop. Where fewer do, it is a call that everything goes through, and
what is to be moved is the loop."""

PROBE = re.compile(
    r"^_?(test|check|validate|verify|ping)_\w*(key|credential|connect|api|auth|token|access)", re.IGNORECASE
)
"""A function that tries once whether the provider answers at all."""

EMBEDS = re.compile(r"embed", re.IGNORECASE)
STREAMS = re.compile(r"stream", re.IGNORECASE)

ALLOWED = re.compile(rb"#\s*offpeak:\s*(fits|ignore)\b", re.IGNORECASE)
"""The comment on the line of a call that says that a person waits after all."""


def audit_code(root: Path, *, tests: bool = False) -> CodeAudit:
    """Read a folder, or a single file. With `tests`, also what is there to test the rest.

    Raises ConfigurationError where there is nothing at `root`. What cannot be parsed is named in `unread`.
    """
    modules: list[Module] = []
    unread: list[Unread] = []
    comments: dict[Path, frozenset[int]] = {}
    with _without_collecting():
        for source in sources(root, tests=tests):
            module = _read(source, unread)
            if module is not None:
                modules.append(module)
                comments[module.path] = _allowed(source.text)
    program = Program(modules, root if root.is_dir() else root.parent)
    sites = [(module, use) for module in modules for use in module.uses if use.buys]
    found = [
        finding
        for module, use in (*sites, *_awaited_batches(modules))
        if (finding := _judge(program, module, use)) is not None
    ]
    findings = [each for each in found if each.line not in comments[each.path]]
    return CodeAudit(
        root=root,
        findings=sorted(findings, key=lambda each: (str(each.path), each.line, each.column)),
        sites=len(sites),
        allowed=len(found) - len(findings),
        files=len(modules) + len(unread),
        unread=unread,
    )


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Syntax trees hold no cycles, and are millions of objects: looking for some takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _read(source: Source, unread: list[Unread]) -> Module | None:
    try:
        return read_module(source.path, source.text)
    except SyntaxError as error:
        unread.append(Unread(path=source.path, reason=f"line {error.lineno}: {error.msg}"))
    except (ValueError, RecursionError, MemoryError) as error:
        unread.append(Unread(path=source.path, reason=str(error) or type(error).__name__))
    return None


def _allowed(text: bytes) -> frozenset[int]:
    if b"offpeak:" not in text.lower():
        return frozenset()
    return frozenset(number for number, line in enumerate(text.splitlines(), 1) if ALLOWED.search(line))


def _awaited_batches(modules: Sequence[Module]) -> Iterator[tuple[Module, Use]]:
    """Where a program asks again and again whether a batch has ended."""
    for module in modules:
        for use in module.uses:
            if use.batch and use.names[-1] == "retrieve" and use.loops:
                yield module, use


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A way from a call up to where nobody calls any more."""

    place: Place
    """The function that was reached."""
    path: tuple[Place, ...]
    loop: Loop | None = None
    """The innermost one over data."""
    looping: Place | None = None
    """The function that loop stands in."""
    poll: Loop | None = None
    entered: Entered | None = None


def _judge(program: Program, module: Module, use: Use) -> Finding | None:
    if PROBE.search(use.scope.rpartition(".")[2]):
        return None
    ways = [_strong(program, way) for way in _ways(program, module, use)]
    if use.batch:
        return _batch_awaited(module, use, ways)
    persons = [way for way in ways if way.entered is not None and way.entered.entry is Entry.PERSON]
    looped = [way for way in ways if way.loop is not None]
    tasks = [way for way in ways if way.entered is not None and way.entered.entry is Entry.TASK]
    polls = [way for way in ways if way.poll is not None]
    waits = [way for way in persons if way.loop is not None]
    if use.streams and not tasks and len(looped) < len(ways):
        return None
    if waits and len(waits) == len(persons):
        return _finding(module, use, Case.PLEASE_WAIT, waits[0])
    if tasks and not persons:
        return _finding(module, use, Case.SCHEDULE, tasks[0])
    if polls and not persons:
        return _finding(module, use, Case.POLLING, polls[0])
    if len(looped) >= SHARE * len(ways) and looped and _nearer(looped, persons):
        way = min(looped, key=lambda each: len(each.path))
        serial = way.loop is not None and way.loop.bar and not way.loop.together
        return _finding(module, use, Case.SERIAL if serial else Case.LOOP, way)
    return None


def _strong(program: Program, way: _Way) -> _Way:
    """The way, without a loop that says nothing of who waits.

    Such is the one by which a wrapper for embeddings cuts what it is given into requests, where nobody calls it here:
    a search embeds its one query through the same. And the one that goes through an answer as it streams.
    """
    if way.loop is None or way.looping is None:
        return way
    name = way.looping[1].rpartition(".")[2]
    given = program.function(way.looping)
    own = given is not None and any(
        re.search(rf"\b{each}\b", way.loop.over) for each in given.parameters if each not in ("self", "cls")
    )
    lasts = [scope.rpartition(".")[2] for _, scope in way.path[way.path.index(way.looping) :]]
    passed = own and way.entered is None and all(EMBEDS.search(each) for each in lasts)
    return replace(way, loop=None, looping=None) if passed or STREAMS.search(name) else way


def _nearer(looped: Sequence[_Way], persons: Sequence[_Way]) -> bool:
    """Whether the loop is nearer to the call than a person who waits without one."""
    direct = [len(way.path) for way in persons if way.loop is None]
    return not direct or min(len(way.path) for way in looped) < min(direct)


def _ways(program: Program, module: Module, use: Use) -> Iterator[_Way]:
    start: Place = (module.path, use.scope)
    first = _through(_Way(place=start, path=(start,)), use.loops, start)
    if first is None:
        yield _Way(place=start, path=(start,), entered=Entered(entry=Entry.PERSON, by="a person who types"))
        return
    waiting = deque([first])
    seen = {(start, first.loop is None)}
    while waiting:
        way = waiting.popleft()
        reached = False
        entered = _entered(program, way.place)
        if entered is not None:
            yield replace(way, entered=entered)
            if entered.entry is not Entry.COMMAND:
                continue
        for call in program.callers(way.place) if len(way.path) <= FARTHEST else ():
            reached = True
            caller = call.caller
            later = entries.of_use(call.use, program.modules[caller[0]])
            if later is not None:
                yield replace(way, entered=later)
                continue
            if call.use.handed_to and caller[1].endswith(".__init__"):
                yield way  # kept for later, and nothing says when
                continue
            step = replace(way, place=caller, path=(*way.path, caller))
            further = _through(step, call.use.loops, caller)
            if further is None:
                yield replace(step, entered=Entered(entry=Entry.PERSON, by="a person who types"))
            elif (caller, further.loop is None) not in seen:
                seen.add((caller, further.loop is None))
                waiting.append(further)
        if entered is None and not reached:
            yield way


def _through(way: _Way, loops: Sequence[Loop], place: Place) -> _Way | None:
    """The way with the loops that it passes; None where one of them waits for a person."""
    if any(loop.kind is Kind.PERSON for loop in loops):
        return None
    data = next((loop for loop in reversed(loops) if loop.kind is Kind.DATA), None)
    poll = next((loop for loop in loops if loop.kind is Kind.POLL), None)
    return replace(way, loop=way.loop or data, looping=way.looping or (place if data else None), poll=way.poll or poll)


def _entered(program: Program, place: Place) -> Entered | None:
    module = program.modules[place[0]]
    if place[1] == MODULE:
        return entries.of_module(module)
    function = module.functions.get(place[1])
    return None if function is None else entries.of_function(function, module)


def _batch_awaited(module: Module, use: Use, ways: Sequence[_Way]) -> Finding | None:
    """A batch that somebody waits for within a web request."""
    way = next((each for each in ways if each.entered is not None and each.entered.entry is Entry.PERSON), None)
    if way is None or way.entered is None:
        return None
    return _finding(module, use, Case.PLEASE_WAIT, way)


def _finding(module: Module, use: Use, case: Case, way: _Way) -> Finding:
    place = way.looping or way.place
    return Finding(
        path=module.path,
        line=use.line,
        column=use.column,
        case=case,
        job=_job(place),
        call=".".join(use.names),
        why=_why(use, case, way),
        model=use.model,
        max_tokens=use.max_tokens,
        calls=_calls(way.loop),
    )


def _job(place: Place) -> str:
    path, scope = place
    return path.stem if scope == MODULE or scope.rpartition(".")[2] == "main" else scope


def _calls(loop: Loop | None) -> int | None:
    """How often a loop goes round, where that is written."""
    found = re.search(r"range\(([\d_]+)\)", loop.over) if loop else None
    return int(found[1].replace("_", "")) if found else None


def _why(use: Use, case: Case, way: _Way) -> str:
    said = []
    if use.batch:
        said.append(f"a batch is awaited in a loop (line {use.loops[-1].line})")
    elif way.loop is not None:
        bar = " behind a progress bar" if way.loop.bar else ""
        together = ", several at a time" if way.loop.together else ""
        where = "" if way.looping in (None, way.path[0]) else f" in `{_shown(way.looping, use)}`"
        said.append(f"called in a loop over `{way.loop.over}` (line {way.loop.line}{where}){bar}{together}")
    if case is Case.POLLING and way.poll is not None:
        said.append(f"asked again and again, with a pause, in the endless loop of line {way.poll.line}")
    if way.entered is not None and way.entered.entry is not Entry.COMMAND:
        ran = "while a person waits for" if way.entered.entry is Entry.PERSON else "run by"
        said.append(f"{ran} {way.entered.by}")
    elif way.entered is not None:
        said.append(f"run by {way.entered.by}")
    between = [_shown(place, use) for place in way.path[1:] if place != way.looping and place[1] != MODULE]
    if between:
        said.append(f"through {' < '.join(f'`{each}`' for each in between)}")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}."


def _shown(place: Place | None, use: Use) -> str:
    if place is None:
        return use.scope
    path, scope = place
    return path.name if scope == MODULE else f"{path.name}:{scope}"
