"""Reads a file of Python in one pass over its syntax tree, with what stands around the node that is read."""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from offpeak.audit.code import sdk
from offpeak.audit.code.loops import Kind, Loop, of_for, of_while, shortened
from offpeak.audit.code.module import MODULE, Decorator, Function, Module, Use

MAPS = re.compile(r"(^|_)(p?map|amap|u?imap|starmap|apply|foreach)(_|$)|^(filter|ThreadPoolMap)$")
"""What calls a function once for each of many rows: `map`, `pool.imap_unordered`, `thread_map`, `df.progress_apply`."""

TOGETHER = frozenset({"gather", "as_completed", "submit", "create_task", "ensure_future", "apply_async", "map_async",
                      "start_soon", "wait", "imap", "imap_unordered", "starmap", "thread_map", "process_map",
                      "amap", "run_in_executor", "TaskGroup"})  # fmt: skip
"""What lets calls run at the same time."""


def read_module(path: Path, source: bytes) -> Module:
    """Parse a file. Raises what `ast.parse` raises for what is no Python: SyntaxError, ValueError, and for absurdly
    nested code RecursionError or MemoryError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    reader = _Reader(path, known=_uses_sdk(tree, source))
    reader.read(tree)
    return reader.module()


def _uses_sdk(tree: ast.Module, source: bytes) -> bool:
    """Whether it imports an SDK, or something that is named after one."""
    if not any(name.encode() in source or name.title().encode() in source for name in (*sdk.SDKS, "OpenAI")):
        return False
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                said = [each.name for each in names]
            case ast.ImportFrom(module=module, names=names):
                said = [module or "", *(each.name for each in names)]
            case _:
                continue
        if any(name in each.lower() for each in said for name in sdk.SDKS):
            return True
    return False


@dataclass(slots=True)
class _Block:
    """Statements of which one is being read."""

    statements: Sequence[ast.stmt]
    at: int = 0
    orelse: Sequence[ast.stmt] = ()
    """What runs after it where nothing was raised."""


@dataclass(slots=True)
class _Frame:
    """A loop that is being read, and the blocks between it and what is read."""

    loop: Loop
    blocks: list[_Block] = field(default_factory=list)

    def seen(self) -> Loop:
        """The loop as it is for what is read now: one that is left right after it goes round once."""
        if self.loop.kind in (Kind.DATA, Kind.POLL) and any(_leaves(block) for block in self.blocks):
            return Loop(kind=Kind.AGAIN, over=self.loop.over, line=self.loop.line)
        return self.loop


def _leaves(block: _Block) -> bool:
    rest = (*block.statements[block.at :], *block.orelse)
    return any(isinstance(each, ast.Return | ast.Break) for each in rest)


class _Reader:
    """One pass over a tree, with what stands around the node that is read."""

    def __init__(self, path: Path, *, known: bool) -> None:
        self._path, self._known = path, known
        self._imports: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._functions: dict[str, Function] = {}
        self._bases: dict[str, tuple[tuple[str, ...], ...]] = {}
        self._uses: list[Use] = []
        self._types: dict[tuple[str, str], tuple[str, ...]] = {}
        self._stands_for: dict[tuple[str, str], list[tuple[str, ...]]] = {}
        self._texts: dict[str, str] = {}
        self._resources: set[str] = set()
        self._methods: set[str] = set()
        self._scope: list[str] = []
        self._class: list[str] = []
        self._frames: list[_Frame] = []
        self._together = 0

    def read(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                self._alias(node.targets[0], node.value)
        self._body(tree.body)

    def module(self) -> Module:
        return Module(
            path=self._path,
            imports=self._imports,
            functions=self._functions,
            bases=self._bases,
            uses=self._uses,
            types=self._types,
            stands_for=self._stands_for,
        )

    # statements

    def _body(self, statements: Sequence[ast.stmt], orelse: Sequence[ast.stmt] = ()) -> None:
        block = _Block(statements, orelse=orelse)
        if self._frames:
            self._frames[-1].blocks.append(block)
        for at, statement in enumerate(statements):
            block.at = at
            self._statement(statement)
        if self._frames:
            self._frames[-1].blocks.pop()

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._import(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node)
            case ast.ClassDef():
                self._class_of(node)
            case ast.For() | ast.AsyncFor():
                self._expression(node.iter)
                with self._looping(of_for(node, line=node.lineno, body=node.body)):
                    self._body(node.body)
                self._body(node.orelse)
            case ast.While():
                with self._looping(of_while(node)):
                    self._expression(node.test)
                    self._body(node.body)
                self._body(node.orelse)
            case ast.If():
                self._expression(node.test)
                self._body(node.body)
                self._body(node.orelse)
            case ast.Try() | ast.TryStar():
                self._body(node.body, node.orelse)
                for handler in node.handlers:
                    self._body(handler.body)
                self._body(node.orelse)
                self._body(node.finalbody)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self._expression(item.context_expr)
                self._body(node.body)
            case ast.Match():
                self._expression(node.subject)
                for case in node.cases:
                    self._body(case.body)
            case _:
                if isinstance(node, ast.Assign | ast.AnnAssign):
                    self._assigned(node)
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._expression(child)

    @contextmanager
    def _looping(self, loop: Loop) -> Iterator[None]:
        self._frames.append(_Frame(loop))
        yield
        self._frames.pop()

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for each in node.names:
                parts = tuple(each.name.split("."))
                self._imports[each.asname or parts[0]] = (0, parts if each.asname else parts[:1])
            return
        module = tuple(node.module.split(".")) if node.module else ()
        for each in node.names:
            self._imports[each.asname or each.name] = (node.level, (*module, each.name))

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self._expression(decorator)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        defaults = [*node.args.defaults, *(each for each in node.args.kw_defaults if each is not None)]
        for default in defaults:
            self._expression(default)
        scope = ".".join((*self._scope, node.name))
        direct = bool(self._class) and self._scope == self._class
        self._functions[scope] = Function(
            scope=scope,
            owner=".".join(self._class) if direct else None,
            decorators=tuple(_decorator(each) for each in node.decorator_list),
            parameters=tuple(each.arg for each in arguments),
            annotations={each.arg: found for each in arguments if (found := _annotated(each.annotation))},
            returns=_annotated(node.returns),
        )
        for each in arguments:
            if annotated := _annotated(each.annotation):
                self._types[scope, each.arg] = annotated
        positional = [*node.args.posonlyargs, *node.args.args]
        for argument, default in zip(reversed(positional), reversed(node.args.defaults), strict=False):
            self._text(argument.arg, default)
        for argument, kw_default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            self._text(argument.arg, kw_default)
        frames, self._frames = self._frames, []
        self._scope.append(node.name)
        self._body(node.body)
        self._scope.pop()
        self._frames = frames

    def _class_of(self, node: ast.ClassDef) -> None:
        for each in (*node.decorator_list, *node.bases):
            self._expression(each)
        owners, self._class = self._class, [*self._scope, node.name]
        self._bases[".".join(self._class)] = tuple(_names(each) for each in node.bases)
        frames, self._frames = self._frames, []
        self._scope.append(node.name)
        self._body(node.body)
        self._scope.pop()
        self._class, self._frames = owners, frames

    def _assigned(self, node: ast.Assign | ast.AnnAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            names = _names(target)
            if isinstance(node, ast.AnnAssign) and (annotated := _annotated(node.annotation)):
                self._typed(names, annotated)
            if node.value is not None:
                if isinstance(node.value, ast.Call):
                    self._typed(names, _names(node.value.func))
                elif names:
                    self._held(names, node.value)
                if isinstance(node.value, ast.Name) and node.value.id in self._parameters():
                    self._typed(names, self._types.get((self._here, node.value.id), ()))
                if names:
                    self._text(names[-1], node.value)

    def _held(self, names: tuple[str, ...], value: ast.expr) -> None:
        """Remember functions that a variable may hold."""
        match value:
            case ast.IfExp():
                self._held(names, value.body)
                self._held(names, value.orelse)
            case ast.Dict():
                for each in value.values:
                    self._held(names, each)
            case ast.Name() | ast.Attribute() if found := _names(value):
                scope = self._class[-1:] and ".".join(self._class) if names[0] in {"self", "cls"} else self._here
                self._stands_for.setdefault((scope or self._here, names[-1]), []).append(found)

    def _typed(self, names: tuple[str, ...], of: tuple[str, ...]) -> None:
        if not of:
            return
        if len(names) == 1:
            self._types.setdefault((self._here, names[0]), of)
        elif len(names) == 2 and names[0] in {"self", "cls"} and self._class:
            self._types.setdefault((".".join(self._class), names[1]), of)

    def _parameters(self) -> tuple[str, ...]:
        function = self._functions.get(self._here)
        return function.parameters if function else ()

    def _text(self, name: str, value: ast.expr | None) -> None:
        """Remember what a name stands for where it is a text, or an environment variable with a default."""
        if isinstance(value, ast.Call) and value.args and _names(value.func)[-1:] in (("getenv",), ("get",)):
            value = value.args[-1] if len(value.args) == 2 else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            self._texts.setdefault(name, value.value)

    def _alias(self, target: ast.expr, value: ast.expr) -> None:
        """`self.client = OpenAI().chat.completions`, and `create = client.chat.completions.create`."""
        names, stands_for = _names(target), _names(value)
        if isinstance(value, ast.Call) or not names or len(stands_for) < 3:
            return
        if sdk.resource(stands_for, known=self._known):
            self._resources.add(names[-1])
        elif stands_for[-1] in sdk.VERBS and sdk.resource(stands_for[:-1], known=self._known):
            self._methods.add(names[-1])

    # expressions

    def _expression(self, node: ast.expr) -> None:
        match node:
            case ast.Call():
                self._call(node)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                self._comprehension(node)
            case ast.Lambda():
                self._expression(node.body)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._expression(child)
                    elif isinstance(child, ast.keyword):
                        self._expression(child.value)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        first = node.generators[0]
        self._expression(first.iter)
        with self._looping(of_for(first, line=first.iter.lineno)):
            for each in node.generators:
                if each is not first:
                    self._expression(each.iter)
                for test in each.ifs:
                    self._expression(test)
            for value in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                self._expression(value)

    def _call(self, node: ast.Call) -> None:
        names = _names(node.func)
        last = names[-1] if names else ""
        if names:
            self._uses.append(self._use(node, names))
        if not isinstance(node.func, ast.Name):
            for child in ast.iter_child_nodes(node.func):
                if isinstance(child, ast.expr):
                    self._expression(child)
        together = last in TOGETHER
        self._together += together
        maps = MAPS.search(last) is not None and len(node.args) >= (2 if len(names) == 1 else 1)
        rows = Loop(kind=Kind.DATA, over=_rows(node), line=node.lineno, together=together) if maps else None
        for argument in (*node.args, *(each.value for each in node.keywords)):
            handed = _names(argument) if isinstance(argument, ast.Name | ast.Attribute) else ()
            if handed:
                self._hand_on(node, names, handed, rows)
            if rows is not None and (isinstance(argument, ast.Lambda) or _partial(argument)):
                with self._looping(rows):
                    self._expression(argument)
            elif not isinstance(argument, ast.Name):
                self._expression(argument)
        self._together -= together

    def _hand_on(self, call: ast.Call, to: tuple[str, ...], names: tuple[str, ...], rows: Loop | None) -> None:
        """A function that is given to another one."""
        if rows is None:
            self._uses.append(self._use(call, names, handed_to=to))
            return
        with self._looping(rows):
            self._uses.append(self._use(call, names, handed_to=to))

    def _use(self, call: ast.Call, names: tuple[str, ...], handed_to: tuple[str, ...] = ()) -> Use:
        keywords = {each.arg for each in call.keywords}
        buys = (
            sdk.buys(names, keywords, known=self._known)
            or (len(names) >= 2 and names[-1] in sdk.VERBS and names[-2] in self._resources)
            or (names[-1] in self._methods and (not handed_to or "model" in keywords))
        )
        given = {each.arg: each.value for each in call.keywords if each.arg}
        tokens = given.get("max_tokens") or given.get("max_completion_tokens") or given.get("max_output_tokens")
        stream = given.get("stream")
        return Use(
            names=names,
            scope=self._here,
            line=call.lineno,
            column=call.col_offset + 1,
            loops=self._around(),
            buys=buys,
            batch=sdk.batch(names),
            model=self._model(given.get("model") or given.get("engine")) if buys else None,
            max_tokens=tokens.value if isinstance(tokens, ast.Constant) and isinstance(tokens.value, int) else None,
            streams=names[-1] == "stream" or (isinstance(stream, ast.Constant) and stream.value is True),
            handed_to=handed_to,
            text=next((text for each in call.args if (text := _constant(each)) is not None), None),
        )

    def _around(self) -> tuple[Loop, ...]:
        loops = [frame.seen() for frame in self._frames]
        if self._together and loops:
            loops[-1] = replace(loops[-1], together=True)
        return tuple(loops)

    def _model(self, value: ast.expr | None) -> str | None:
        if value is None:
            return None
        if (text := _constant(value)) is not None:
            return text
        names = _names(value)
        return self._texts.get(names[-1]) if names else None

    @property
    def _here(self) -> str:
        return ".".join(self._scope) or MODULE


def _names(node: ast.expr) -> tuple[str, ...]:
    """The names that an expression goes through: `client().a.b` is client, a, b. Empty where it is no such."""
    parts: list[str] = []
    while True:
        match node:
            case ast.Attribute():
                parts.append(node.attr)
                node = node.value
            case ast.Name():
                return (node.id, *reversed(parts))
            case ast.Call():
                node = node.func
            case ast.Await() | ast.Subscript():
                node = node.value
            case _:
                return ("?", *reversed(parts)) if parts else ()


def _annotated(node: ast.expr | None) -> tuple[str, ...]:
    """The class that an annotation names, without what makes it optional."""
    match node:
        case ast.BinOp():
            return _annotated(node.left) or _annotated(node.right)
        case ast.Subscript() if _names(node.value)[-1:] in (("Optional",), ("Annotated",), ("Type",), ("type",)):
            return _annotated(node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice)
        case ast.Subscript():
            return ()
        case ast.Constant(value=str(text)):
            try:
                return _annotated(ast.parse(text, mode="eval").body)
            except (SyntaxError, ValueError, RecursionError):
                return ()
        case ast.Name() | ast.Attribute():
            return _names(node)
    return ()


def _decorator(node: ast.expr) -> Decorator:
    call = node if isinstance(node, ast.Call) else None
    return Decorator(
        names=_names(node),
        first=_constant(call.args[0]) if call and call.args else None,
        keywords=frozenset(each.arg for each in call.keywords if each.arg) if call else frozenset(),
    )


def _constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _partial(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _names(node.func)[-1:] == ("partial",)


def _rows(node: ast.Call) -> str:
    """What a map goes over."""
    if len(node.args) >= 2:
        return shortened(ast.unparse(node.args[1]))
    return shortened(ast.unparse(node.func.value)) if isinstance(node.func, ast.Attribute) else "its rows"
