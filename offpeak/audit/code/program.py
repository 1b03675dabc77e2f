"""Who calls whom in a folder of Python, found from names alone, and only where somebody asks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from offpeak.audit.code.module import MODULE, Function, Module, Use

NAMESAKES = 2
"""A method of an object whose class is not known is taken for the methods of that name, where there are no more."""

_COMMON = """
__init__ run get post put add append update items keys values load save read write open close start stop send execute
process call main create delete list set pop copy format join split encode decode generate predict forward fit transform
apply build setup init next submit map filter count index find search query parse check test name handle connect reset
step invoke stream batch
"""
COMMON = frozenset(_COMMON.split())
"""Names of methods that tell nothing of whose they are."""

FARTHEST = 4
"""Imports of imports that are followed."""

Place = tuple[Path, str]
"""A function: its file, and its scope there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One function calling another."""

    caller: Place
    use: Use


class Program:
    """The files of a folder together."""

    def __init__(self, modules: Sequence[Module], root: Path) -> None:
        self.modules = {module.path: module for module in modules}
        self._parts = {module.path: _parts(module.path, root) for module in modules}
        self._resolved: dict[tuple[Path, str, tuple[str, ...]], list[Place]] = {}
        self._families: dict[Place, list[Place]] = {}
        self._following: set[tuple[Path, str, str]] = set()
        """Variables that are being followed: `a = b` beside `b = a` ends there."""

    def function(self, place: Place) -> Function | None:
        return self.modules[place[0]].functions.get(place[1])

    def callers(self, place: Place) -> Iterator[Call]:
        """Where a function is called, or handed on to be called. A module is called by nobody."""
        scope = place[1]
        if scope == MODULE:
            return
        name = scope.rpartition(".")[2]
        names = {name} | self._aliases.get(name, set())
        if name in {"__init__", "__call__", "forward", "__post_init__"}:
            owner = scope.rpartition(".")[0]
            for _, kind in self._family((place[0], owner)):
                last = kind.rpartition(".")[2]
                names |= {last} | self._variables_of.get(last, set())
        for each in names:
            for module, use in self._uses_by_name.get(each, ()):
                caller = (module.path, use.scope)
                if caller != place and place in self._resolve(module, use):
                    yield Call(caller=caller, use=use)

    # names to functions

    def _resolve(self, module: Module, use: Use) -> Sequence[Place]:
        names = use.names
        key = (module.path, use.scope, names)
        found = self._resolved.get(key)
        if found is None:
            found = self._resolved[key] = list(self._of_names(module, use.scope, names))
        return found

    def _of_names(self, module: Module, scope: str, names: tuple[str, ...]) -> Iterator[Place]:
        first, *rest = names
        if not rest:
            yield from self._plain(module, scope, first)
            return
        if first in {"self", "cls", "super"} and (owner := self._owner(module, scope)):
            yield from self._of_self(owner, tuple(rest), own=first != "super")
            return
        kind = self._type(module, scope, first)
        if kind is not None:
            yield from self._through(kind, rest)
            return
        yielded = False
        for place in self._imported(module, names):
            yielded = True
            yield place
        if not yielded and not self._outside(module, first):
            yield from self._namesakes(names[-1])

    def _plain(self, module: Module, scope: str, name: str) -> Iterator[Place]:
        """What a bare name stands for, from the inside out."""
        yield from self._held(module, scope, name)
        inner = scope if scope != MODULE else ""
        while inner:
            if f"{inner}.{name}" in module.functions and inner not in module.bases:
                yield (module.path, f"{inner}.{name}")
                return
            inner = inner.rpartition(".")[0]
        if (kind := self._type(module, scope, name)) is not None:
            yield from self._methods(kind, "__call__")
            yield from self._methods(kind, "forward")
        yield from self._top(module, name)

    def _held(self, module: Module, scope: str, name: str) -> Iterator[Place]:
        """The functions that a variable may hold."""
        for inner in dict.fromkeys((scope, MODULE)):
            key = (module.path, inner, name)
            if key in self._following or (held := module.stands_for.get((inner, name))) is None:
                continue
            self._following.add(key)
            try:
                for names in held:
                    yield from self._of_names(module, inner, names)
            finally:
                self._following.discard(key)

    def _top(self, module: Module, name: str, far: int = 0) -> Iterator[Place]:
        """What a name at the top of a module stands for: a function, or what makes an instance of a class."""
        if name in module.functions:
            yield (module.path, name)
        elif name in module.bases:
            yield from self._methods((module.path, name), "__init__")
            yield from self._methods((module.path, name), "__post_init__")
        elif name in module.imports and far < FARTHEST:
            level, path = module.imports[name]
            for home, remainder in self._modules(module, level, path):
                if len(remainder) == 1:
                    yield from self._top(home, remainder[0], far + 1)

    def _imported(self, module: Module, names: tuple[str, ...]) -> Iterator[Place]:
        """`labels.label`, or `Labeller.label`."""
        for kind in self._classes(module, names[:1]):
            yield from self._through(kind, names[1:])
        if names[0] not in module.imports:
            return
        level, path = module.imports[names[0]]
        for home, remainder in self._modules(module, level, (*path, *names[1:])):
            if len(remainder) == 1:
                yield from self._top(home, remainder[0])
            elif len(remainder) == 2 and remainder[0] in home.bases:
                yield from self._methods((home.path, remainder[0]), remainder[1])

    def _of_self(self, owner: Place, rest: tuple[str, ...], *, own: bool) -> Iterator[Place]:
        if len(rest) == 1:
            yield from self._methods(owner, rest[0], own=own)
            for path, scope in self._family(owner):
                yield from self._held(self.modules[path], scope, rest[0])
            for kind in self._attribute(owner, rest[0]):
                yield from self._methods(kind, "__call__")
            return
        found = list(self._attribute(owner, rest[0]))
        for kind in found:
            yield from self._through(kind, rest[1:])
        if not found:
            yield from self._namesakes(rest[-1])

    def _through(self, kind: Place, rest: Sequence[str]) -> Iterator[Place]:
        """A method of a class, or of what one of its attributes was made from."""
        if len(rest) == 1:
            yield from self._methods(kind, rest[0])
        elif len(rest) == 2:
            for inner in self._attribute(kind, rest[0]):
                yield from self._methods(inner, rest[1])

    def _namesakes(self, name: str) -> Iterator[Place]:
        if name in COMMON:
            return
        found = self._methods_by_name.get(name, [])
        families = {self._eldest((path, scope.rpartition(".")[0])) for path, scope in found}
        if len(found) <= NAMESAKES or len(families) == 1:
            yield from found

    # classes

    def _owner(self, module: Module, scope: str) -> Place | None:
        """The class within whose method a scope lies."""
        while scope:
            scope = scope.rpartition(".")[0]
            if scope in module.bases:
                return (module.path, scope)
        return None

    def _type(self, module: Module, scope: str, name: str) -> Place | None:
        inner = scope
        while inner:
            if (made := module.types.get((inner, name))) is not None:
                return next(self._made(module, scope, made), None)
            inner = inner.rpartition(".")[0]
        made = module.types.get((MODULE, name))
        return None if made is None else next(self._made(module, MODULE, made), None)

    def _made(self, module: Module, scope: str, made: tuple[str, ...]) -> Iterator[Place]:
        """The class of what is made so: by calling it, or a function that says what it returns."""
        if made[0] in {"self", "cls"} and len(made) == 2 and (owner := self._owner(module, scope)) is not None:
            for path, method in self._methods(owner, made[1]):
                home = self.modules[path]
                yield from self._classes(home, home.functions[method].returns)
        else:
            yield from self._classes(module, made)

    def _attribute(self, owner: Place, name: str) -> Iterator[Place]:
        for path, scope in self._family(owner):
            module = self.modules[path]
            if (made := module.types.get((scope, name))) is not None:
                yield from self._made(module, f"{scope}.{name}", made)

    def _classes(self, module: Module, names: tuple[str, ...], far: int = 0) -> Iterator[Place]:
        """The classes that names lead to; what makes one through a method of its own is taken for it too."""
        if not names:
            return
        function = module.functions.get(".".join(names))
        if function is not None:
            if far < FARTHEST:
                yield from self._classes(module, function.returns, far + 1)
        elif names[0] in module.bases:
            yield (module.path, names[0])
        elif names[0] in module.imports and far < FARTHEST:
            level, path = module.imports[names[0]]
            for home, remainder in self._modules(module, level, (*path, *names[1:])):
                if remainder:
                    yield from self._classes(home, remainder, far + 1)

    def _methods(self, kind: Place, name: str, *, own: bool = True) -> Iterator[Place]:
        """The methods that may be meant: of the class, of what it is made from, and of what is made from it."""
        for path, scope in self._family(kind):
            if f"{scope}.{name}" in self.modules[path].functions and (own or (path, scope) != kind):
                yield (path, f"{scope}.{name}")

    def _family(self, kind: Place) -> Sequence[Place]:
        found = self._families.get(kind)
        if found is None:
            below = self._reach(kind, self._children)
            beside = (each for child in below for each in self._reach(child, self._parents))
            found = self._families[kind] = list(
                dict.fromkeys((kind, *self._reach(kind, self._parents), *below, *beside))
            )
        return found

    def _eldest(self, kind: Place) -> Place:
        above = self._reach(kind, self._parents)
        return above[-1] if above else kind

    def _reach(self, kind: Place, along: "dict[Place, list[Place]]") -> list[Place]:
        seen: dict[Place, None] = {}
        waiting = list(along.get(kind, ()))
        while waiting:
            each = waiting.pop(0)
            if each not in seen:
                seen[each] = None
                waiting.extend(along.get(each, ()))
        return list(seen)

    # indexes, made when they are first needed

    @cached_property
    def _uses_by_name(self) -> dict[str, list[tuple[Module, Use]]]:
        found: dict[str, list[tuple[Module, Use]]] = defaultdict(list)
        for module in self.modules.values():
            for use in module.uses:
                found[use.names[-1]].append((module, use))
        return found

    @cached_property
    def _methods_by_name(self) -> dict[str, list[Place]]:
        found: dict[str, list[Place]] = defaultdict(list)
        for module in self.modules.values():
            for scope, function in module.functions.items():
                if function.owner is not None:
                    found[function.name].append((module.path, scope))
        return found

    @cached_property
    def _aliases(self) -> dict[str, set[str]]:
        """The other names by which functions and classes go: as they are imported, and as variables."""
        found: dict[str, set[str]] = defaultdict(set)
        for module in self.modules.values():
            for alias, (_, path) in module.imports.items():
                if path and path[-1] != alias:
                    found[path[-1]].add(alias)
            for (_, variable), held in module.stands_for.items():
                for names in held:
                    found[names[-1]].add(variable)
        return found

    @cached_property
    def _variables_of(self) -> dict[str, set[str]]:
        """Of each name of a class, the variables that are made from it."""
        found: dict[str, set[str]] = defaultdict(set)
        for module in self.modules.values():
            for (_, variable), made in module.types.items():
                found[made[-1]].add(variable)
        return found

    @cached_property
    def _parents(self) -> dict[Place, list[Place]]:
        return {
            (module.path, scope): [kind for names in bases for kind in self._classes(module, names)]
            for module in self.modules.values()
            for scope, bases in module.bases.items()
        }

    @cached_property
    def _children(self) -> dict[Place, list[Place]]:
        found: dict[Place, list[Place]] = defaultdict(list)
        for kind, parents in self._parents.items():
            for parent in parents:
                found[parent].append(kind)
        for protocol, wanted in self._protocols.items():
            for kind, methods in self._methods_of.items():
                if kind not in self._protocols and kind not in found[protocol] and wanted <= methods:
                    found[protocol].append(kind)
        return found

    @cached_property
    def _protocols(self) -> dict[Place, set[str]]:
        """Of each class that only says what others have to be able to do, those methods."""
        return {
            (module.path, scope): wanted
            for module in self.modules.values()
            for scope, bases in module.bases.items()
            if any(names[-1:] == ("Protocol",) for names in bases)
            and (wanted := self._methods_of.get((module.path, scope), set()) - {"__init__"}) - COMMON
        }

    @cached_property
    def _methods_of(self) -> dict[Place, set[str]]:
        found: dict[Place, set[str]] = defaultdict(set)
        for module in self.modules.values():
            for function in module.functions.values():
                if function.owner is not None:
                    found[module.path, function.owner].add(function.name)
        return found

    # modules

    def _modules(self, module: Module, level: int, path: tuple[str, ...]) -> Iterator[tuple[Module, tuple[str, ...]]]:
        """The modules that a path begins with, the longest first, and what of the path is left over."""
        if level:
            here = self._parts[module.path]
            depth = level - (module.path.name == "__init__.py")
            path = (*here[: len(here) - depth], *path) if depth <= len(here) else path
        for length in range(len(path), 0, -1):
            for home in self._by_last_part.get(path[length - 1], ()):
                parts = self._parts[home.path]
                wanted = path[:length]
                if parts[-length:] == wanted or (level and parts == wanted):
                    yield home, path[length:]
                    return

    def _outside(self, module: Module, name: str) -> bool:
        """Whether a name is one of another package, of which nothing is known here."""
        if name not in module.imports:
            return False
        level, path = module.imports[name]
        return next(self._modules(module, level, path), None) is None

    @cached_property
    def _by_last_part(self) -> dict[str, list[Module]]:
        found: dict[str, list[Module]] = defaultdict(list)
        for module in self.modules.values():
            parts = self._parts[module.path]
            if parts:
                found[parts[-1]].append(module)
        return found


def _parts(path: Path, root: Path) -> tuple[str, ...]:
    """The module's path, as imports name it from the root on."""
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1:] == ("__init__",) else parts
