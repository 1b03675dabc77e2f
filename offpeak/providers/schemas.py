"""A pydantic model as each provider's structured-output schema.

What a provider cannot express at all (free-form objects, values of any type, tuples) is refused when definitions load,
with DefinitionError naming the field. Limits that a provider does not enforce (lengths, ranges) are said in the field's
description instead: the answer is validated with the model itself when it is collected, so nothing is lost.

Automatic titles are not sent: they would be paid for as input tokens of every request.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from offpeak.errors import DefinitionError
from offpeak.requests.schema import canonical_schema

MAX_NAME_LENGTH = 64
"""Characters of a format's name at OpenAI, which takes letters, digits, _ and -."""

_NUMBER_LIMITS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems"}
_OPENAI_KEYWORDS = frozenset({"type", "enum", "const", "description", "title"} | _NUMBER_LIMITS)
"""Keywords that OpenAI's structured outputs guide lists, beside those with schemas in them; any other is an error."""

_OPENAI_FORMATS = frozenset(["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"])

_SILENT = frozenset(
    {"additionalProperties", "default", "deprecated", "discriminator", "examples", "readOnly", "required", "writeOnly"}
)
"""Keywords that limit nothing, or are set anew in the strict form: dropped without a word."""

_INEXPRESSIBLE = {
    "prefixItems": "is a tuple; use a list, or a model with a field for each place",
    "patternProperties": "is an object with free names; use a list of models",
    "propertyNames": "is an object with free names; use a list of models",
    "not": "is described by what it is not",
    "if": "depends on a condition",
    "contains": "asks for an item among others",
}


def openai_schema(output: type[BaseModel]) -> dict[str, Any]:
    """The schema of `output` in OpenAI's strict form. Raises DefinitionError, naming the field."""
    schema = _schema(output, "OpenAI", recursive=True)
    root = dict(schema)
    if "$ref" in root:  # a model that refers to itself; the root itself must be an object
        root = _resolve(root, schema) | {"$defs": root["$defs"]}
    return _strict(root, schema)


def openai_format_name(output: type[BaseModel]) -> str:
    """The name of `output` in the characters that OpenAI takes for a format's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", output.__name__).strip("_")[:MAX_NAME_LENGTH] or "output"


def anthropic_schema(output: type[BaseModel]) -> dict[str, Any]:
    """The schema of `output` as Anthropic's SDK transforms it. Raises DefinitionError, naming the field."""
    import anthropic  # the SDK costs a second to import, which encoders for other providers need not pay

    schema = _schema(output, "Anthropic", recursive=False)
    try:
        return anthropic.transform_schema(_without_discriminators(schema))
    except ValueError as error:
        raise DefinitionError(f"{output.__name__}: Anthropic cannot take this output schema: {error}") from error


def _schema(output: type[BaseModel], provider: str, *, recursive: bool) -> dict[str, Any]:
    try:
        schema = canonical_schema(output)
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError) as error:
        raise DefinitionError(
            f"{_field_without_schema(output)}: pydantic has no JSON schema for this type, so no provider can be asked "
            f"for it. Use a type that JSON can hold. ({error.message})"
        ) from None
    root = _resolve(schema, schema)
    if root.get("type") != "object" or "properties" not in root:
        raise DefinitionError(
            f"{output.__name__}: {provider} answers with an object that has named fields, and this model has none at "
            "its root. Wrap it: class Answer(BaseModel) with the value as a field."
        )
    _Check(provider, schema, recursive).visit(schema, output.__name__, ())
    return schema


def _field_without_schema(output: type[BaseModel]) -> str:
    for name, field in output.model_fields.items():
        try:
            adapter: TypeAdapter[object] = TypeAdapter(field.rebuild_annotation())
            adapter.json_schema()
        except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
            return f"{output.__name__}.{name}"
    return output.__name__


class _Check:
    """Walks a schema the way a value would be read, so that a refusal can name the field's path."""

    def __init__(self, provider: str, root: Mapping[str, Any], recursive: bool) -> None:
        self._provider = provider
        self._root = root
        self._recursive = recursive
        self._done: set[str] = set()

    def visit(self, node: Mapping[str, Any], path: str, above: tuple[str, ...]) -> None:
        if "$ref" in node:
            ref: str = node["$ref"]
            if ref in above:
                if not self._recursive:
                    self._refuse(path, "is of a model that contains itself; use a list with parent ids")
                return
            if ref not in self._done:
                self.visit(_resolve(node, self._root), path, (*above, ref))
                self._done.add(ref)
            return
        for keyword, reason in _INEXPRESSIBLE.items():
            if keyword in node:
                self._refuse(path, reason)
        if len(node.get("allOf", ())) > 1:
            self._refuse(path, "combines several schemas with allOf; use one model")
        variants = [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())]
        if not variants and not node.keys() & {"type", "enum", "const"}:
            self._refuse(path, "takes values of any type; give it a type")
        if node.get("type") == "object" and "properties" not in node:
            self._refuse(path, "is an object with free names; use a list of models with a name and a value")
        if node.get("type") == "array":
            self.visit(node.get("items", {}), f"{path}[]", above)
        for variant in variants:
            self.visit(variant, path, above)
        for name, field in node.get("properties", {}).items():
            self.visit(field, f"{path}.{name}", above)

    def _refuse(self, path: str, reason: str) -> None:
        raise DefinitionError(f"{path}: {self._provider} cannot take this field of the output schema: it {reason}.")


def _resolve(node: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """The node that a reference stands for; pydantic writes only "#/$defs/<name>"."""
    ref = node.get("$ref")
    if ref is None:
        return dict(node)
    return dict(root["$defs"][str(ref).removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")])


def _strict(node: Mapping[str, Any], root: Mapping[str, Any], inlined: frozenset[str] = frozenset()) -> dict[str, Any]:
    """OpenAI's strict form: every field required, no others allowed, no keyword beside a reference.

    A reference with keywords beside it is replaced by what it stands for; inside itself it stays a bare reference.
    """
    beside = {word: value for word, value in node.items() if word not in _SILENT}
    if "$ref" in beside:
        ref = beside.pop("$ref")
        if not beside or ref in inlined:
            return {"$ref": ref}
        return _strict(_resolve(node, root) | beside, root, inlined | {ref})
    strict: dict[str, Any] = {}
    unsaid: dict[str, Any] = {}
    for word, value in beside.items():
        match word:
            case "properties" | "$defs":
                strict[word] = {name: _strict(field, root, inlined) for name, field in value.items()}
            case "items":
                strict[word] = _strict(value, root, inlined)
            case "anyOf" | "oneOf":
                strict["anyOf"] = [_strict(variant, root, inlined) for variant in value]
            case "allOf":
                strict |= _strict(value[0], root, inlined)
            case _ if _openai_takes(word, value):
                strict[word] = value
            case _:
                unsaid[word] = value
    if "properties" in strict:
        strict["required"] = list(strict["properties"])
        strict["additionalProperties"] = False
    if unsaid:
        limits = ", ".join(f"{word}: {value}" for word, value in unsaid.items())
        strict["description"] = "\n\n".join(filter(None, [strict.get("description"), f"{{{limits}}}"]))
    return strict


def _openai_takes(word: str, value: object) -> bool:
    if word == "format":
        return value in _OPENAI_FORMATS
    if word == "pattern":  # lookaround is not regular, and refused
        return "(?" not in str(value)
    return word in _OPENAI_KEYWORDS


def _without_discriminators(node: Any) -> Any:
    """Without OpenAPI's hint on unions, which the SDK would otherwise spell out in the description."""
    if isinstance(node, list):
        return [_without_discriminators(item) for item in node]
    if not isinstance(node, dict):
        return node
    union = "oneOf" in node or "anyOf" in node
    return {word: _without_discriminators(v) for word, v in node.items() if not (union and word == "discriminator")}
