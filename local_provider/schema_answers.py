"""A value for any JSON schema: the schema decides the shape and the bounds, a Writer decides what is said."""

import math
import re
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from local_provider.fields import Field
from local_provider.lookup import Missing

MAX_DEPTH = 8
"""From here on a recursive schema is closed off with nulls and empty arrays where it allows them."""
ITEMS = 3
SCALE = 100
"""A number between two bounds that are at most so far apart is a judgement; others are looked up in the text."""
"""Length of an array whose schema leaves it open."""
FORMATS = {
    "date-time": (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)", "2000-01-01T00:00:00Z"),
    "date": (r"\d{4}-\d\d-\d\d", "2000-01-01"),
    "time": (r"\d\d:\d\d:\d\d", "00:00:00"),
    "duration": (r"P(?:\d+[YMWD])*(?:T(?:\d+[HMS])+)?(?<=[A-Z])(?<!P)", "P1D"),
    "email": (r"[\w.+-]+@[\w-]+\.[\w.-]*\w", "unknown@example.com"),
    "hostname": (r"(?:[\w-]+\.)+[a-z]{2,}", "example.com"),
    "ipv4": (r"(?:\d{1,3}\.){3}\d{1,3}", "192.0.2.1"),
    "ipv6": (r"(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}", "2001:db8::1"),
    "uri": (r"https?://[^\s<>\"']+[\w/]", "https://example.com/"),
    "uuid": (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(uuid.NAMESPACE_URL)),
}


class Writer(Protocol):
    """Says something about one request."""

    def choice(self, field: Field, options: Sequence[Any], /) -> Any:
        """The option that fits best."""

    def choices(self, field: Field, options: Sequence[Any], /) -> list[Any]:
        """The options that fit, best first; at least one."""

    def text(self, field: Field, /) -> str:
        """Something short."""

    def texts(self, field: Field, count: int, /) -> list[str]:
        """At most `count` short things, all different."""

    def look_up_text(self, field: Field, /) -> str | Missing | None:
        """What the text says of the field; MISSING where it does not; None for what is no matter of looking up."""

    def look_up_number(self, field: Field, /) -> float | Missing | None:
        """The same of a number."""

    def find(self, pattern: str, /) -> str | None:
        """The first place in what the user said that matches."""

    def fraction(self, field: Field, /) -> float:
        """A grade from 0 to 1."""

    def truth(self, field: Field, /) -> bool:
        """Yes or no."""


def fill(schema: dict[str, Any], writer: Writer) -> Any:
    """A value that is valid against the schema."""
    return _Filler(schema, writer).value(schema, (), 0)


class _Filler:
    def __init__(self, root: dict[str, Any], writer: Writer) -> None:
        self._root, self._writer = root, writer

    def value(self, given: Any, path: tuple[str, ...], depth: int) -> Any:
        node = self._resolved(given)
        if "const" in node:
            return node["const"]
        if node.get("enum"):
            options = [option for option in node["enum"] if option is not None] or [None]
            return options[0] if len(options) == 1 else self._writer.choice(Field(path, node), options)
        for name in ("anyOf", "oneOf"):
            if node.get(name):
                return self._one_of(node, node[name], path, depth)
        match _type(node):
            case "object":
                properties = node.get("properties") or {}
                return {name: self.value(part, (*path, name), depth + 1) for name, part in properties.items()}
            case "array":
                return self._array(node, path, depth)
            case "integer" | "number" as kind:
                found = self._looked_up(node, path)
                if isinstance(found, float):
                    return round(found) if kind == "integer" else found
                return _number(node, self._writer.fraction(Field(path, node)), whole=kind == "integer")
            case "boolean":
                return self._writer.truth(Field(path, node))
            case "null":
                return None
            case _:
                return self._string(node, path)

    def _resolved(self, given: Any) -> dict[str, Any]:
        """The node with references followed and allOf merged; what stands beside a reference wins."""
        node: dict[str, Any] = given if isinstance(given, dict) else {}
        hops = 0
        while "$ref" in node and hops < MAX_DEPTH:
            rest = {key: value for key, value in node.items() if key != "$ref"}
            node = {**self._target(node["$ref"]), **rest}
            hops += 1
        for part in node.get("allOf", ()):
            node = {**self._resolved(part), **{key: value for key, value in node.items() if key != "allOf"}}
        return node

    def _target(self, reference: str) -> dict[str, Any]:
        target: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                target = target.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, dict) else {}
        return target if isinstance(target, dict) else {}

    def _one_of(self, node: dict[str, Any], options: list[Any], path: tuple[str, ...], depth: int) -> Any:
        resolved = [self._resolved(option) for option in options]
        if depth >= MAX_DEPTH and any(_type(option) == "null" for option in resolved):
            return None
        real = [option for option in resolved if _type(option) != "null"]
        if not real:
            return None
        simplest = min(real, key=lambda option: _type(option) == "object") if depth >= MAX_DEPTH else real[0]
        # Anthropic's SDK moves an option's bounds into a description of its own, beside that of the field.
        about = " ".join(str(part["description"]) for part in (node, simplest) if part.get("description"))
        wanted = {**simplest, **({"description": about} if about else {})}
        optional = len(real) < len(resolved)
        return None if optional and self._missing(wanted, path, depth) else self.value(wanted, path, depth)

    def _missing(self, node: dict[str, Any], path: tuple[str, ...], depth: int) -> bool:
        """Whether something is sought for the node and nothing of it stands in the text."""
        if _type(node) != "object":
            return isinstance(self._looked_up(node, path), Missing)
        if depth >= MAX_DEPTH:
            return False
        parts = [(name, self._resolved(part)) for name, part in (node.get("properties") or {}).items()]
        values = [self._looked_up(self._without_null(part), (*path, name)) for name, part in parts]
        sought = [value for value in values if value is not None]
        return bool(sought) and all(isinstance(value, Missing) for value in sought)

    def _without_null(self, node: dict[str, Any]) -> dict[str, Any]:
        options = [self._resolved(option) for name in ("anyOf", "oneOf") for option in node.get(name) or ()]
        return next((option for option in options if _type(option) != "null"), node)

    def _looked_up(self, node: dict[str, Any], path: tuple[str, ...]) -> str | float | Missing | None:
        """What the text itself says; None for what is judged or written instead."""
        if node.get("enum") or "const" in node:
            return None
        match _type(node):
            case "string":
                return self._writer.look_up_text(Field(path, node))
            case "integer" | "number":
                low, high = _bound(node, "minimum"), _bound(node, "maximum")
                if low is not None and high is not None and high - low <= SCALE:
                    return None
                found = self._writer.look_up_number(Field(path, node))
                outside = isinstance(found, float) and not (low or 0.0) <= found <= (math.inf if high is None else high)
                return Missing.MISSING if outside else found
        return None

    def _array(self, node: dict[str, Any], path: tuple[str, ...], depth: int) -> list[Any]:
        fixed = [
            self.value(part, (*path, str(number)), depth + 1)
            for number, part in enumerate(node.get("prefixItems") or ())
        ]
        items = node.get("items")
        least = int(_bound(node, "minItems") or 0)
        most = _bound(node, "maxItems")
        if fixed or not isinstance(items, dict):
            return fixed
        wanted = max(least, min(ITEMS if most is None else int(most), 0 if depth >= MAX_DEPTH else ITEMS))
        element = self._resolved(items)
        values: list[Any]
        if element.get("enum"):
            values = self._writer.choices(Field(path, {**element, **node}), element["enum"])[:wanted]
            values += [option for option in element["enum"] if option not in values][: max(0, least - len(values))]
        elif _type(element) == "string" and not {"format", "pattern"} & set(element) and "anyOf" not in element:
            texts = self._writer.texts(Field(path, {**element, **node}), wanted)
            values = [_fitted(text, element) for text in texts]
        else:
            values = [self.value(element, (*path, str(number)), depth + 1) for number in range(min(wanted, 2))]
        while values and len(values) < least:
            values.append(values[-1])
        if least and not values:
            values = [self.value(element, (*path, str(number)), depth + 1) for number in range(least)]
        return values

    def _string(self, node: dict[str, Any], path: tuple[str, ...]) -> str:
        found = self._looked_up(node, path)
        if isinstance(found, str) and not _bound_text(node, "pattern"):
            return _fitted(found, node)
        if node.get("format") in FORMATS:
            pattern, otherwise = FORMATS[node["format"]]
            return self._writer.find(pattern) or otherwise
        text = _fitted(self._writer.text(Field(path, node)), node)
        wanted = _bound_text(node, "pattern")
        if wanted and not _matches(wanted, text):
            return self._writer.find(wanted.removeprefix("^").removesuffix("$")) or text
        return text


def _type(node: dict[str, Any]) -> str:
    kind = node.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in node else "array" if "items" in node else "string"
    return str(kind)


def _bound(node: dict[str, Any], name: str) -> float | None:
    """A numeric bound, given as a keyword or, as Anthropic's SDK moves it, inside the description's braces."""
    if isinstance(node.get(name), int | float):
        return float(node[name])
    text = _bound_text(node, name)
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _bound_text(node: dict[str, Any], name: str) -> str | None:
    if isinstance(node.get(name), str):
        return str(node[name])
    found = re.search(r"\{(?:[^{}]*, )?" + name + r": ([^,}]+)", str(node.get("description") or ""))
    return found.group(1) if found else None


def _number(node: dict[str, Any], fraction: float, *, whole: bool) -> float | int:
    low, high = _bound(node, "minimum"), _bound(node, "maximum")
    step = _bound(node, "multipleOf")
    tiny = step or (1.0 if whole else 1e-6)
    if (above := _bound(node, "exclusiveMinimum")) is not None:
        low = above + tiny
    if (below := _bound(node, "exclusiveMaximum")) is not None:
        high = below - tiny
    if low is None and high is None:
        low, high = _said_range(str(node.get("description") or "")) or ((0.0, 10.0) if whole else (0.0, 1.0))
    span = 10.0 if whole else 1.0
    low = low if low is not None else (high or 0.0) - span
    high = high if high is not None else low + span
    value = low + max(0.0, min(1.0, fraction)) * (high - low)
    if step:
        value = max(-(-low // step) * step, min(high // step * step, round(value / step) * step))
    return round(value) if whole else max(low, min(high, round(value, 4)))


def _said_range(description: str) -> tuple[float, float] | None:
    """A range told in words: "1-5", "0 to 1", "between 1 and 10"."""
    found = re.search(r"(-?\d+(?:\.\d+)?)\s*(?:-|–|to|and|\.\.)\s*(\d+(?:\.\d+)?)", description)
    if not found or float(found.group(1)) >= float(found.group(2)):
        return None
    return float(found.group(1)), float(found.group(2))


def _fitted(text: str, node: dict[str, Any]) -> str:
    """The text within minLength and maxLength, cut between words where that is possible."""
    most, least = _bound(node, "maxLength"), int(_bound(node, "minLength") or 0)
    if most is not None and len(text) > most:
        cut = text[: int(most)]
        words = cut.rsplit(" ", 1)[0].rstrip(",;:- ")
        text = words if len(words) >= max(least, 1) else cut
    return text if len(text) >= least else (text or "-").ljust(least, ".")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True
