"""The types that the fields of an output model have as columns of a database."""

from collections.abc import Mapping, Set
from enum import StrEnum
from typing import Any

from pydantic import BaseModel


class FieldType(StrEnum):
    """What a column holds. Dates and decimals are text, as answers are stored."""

    TEXT = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"
    """What holds other values, or may be of several types."""
    NULL = "null"


def field_types(output: type[BaseModel]) -> dict[str, FieldType]:
    """The type of each field of an output model. What may be null besides has the type of what it is otherwise."""
    schema: Mapping[str, Any] = output.model_json_schema(by_alias=False, mode="serialization")
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    properties = _resolved(schema, definitions).get("properties", {})
    return {name: _one_of(_types(properties.get(name, {}), definitions)) for name in output.model_fields}


def _one_of(types: Set[FieldType]) -> FieldType:
    match sorted(types - {FieldType.NULL}):
        case [only]:
            return only
        case [FieldType.INTEGER, FieldType.NUMBER]:
            return FieldType.NUMBER
        case _:
            return FieldType.JSON


def _types(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> set[FieldType]:
    node = _resolved(node, definitions)
    if variants := [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())]:
        return {each for variant in variants for each in _types(variant, definitions)}
    if "const" in node or "enum" in node:
        return {_type_of(value) for value in node.get("enum", [node.get("const")])}
    named = node.get("type", [])
    known = set(FieldType) - {FieldType.JSON}
    return {
        FieldType(each) if each in known else FieldType.JSON for each in ([named] if isinstance(named, str) else named)
    }


def _type_of(value: object) -> FieldType:
    match value:
        case None:
            return FieldType.NULL
        case bool():
            return FieldType.BOOLEAN
        case int():
            return FieldType.INTEGER
        case float():
            return FieldType.NUMBER
        case str():
            return FieldType.TEXT
        case _:
            return FieldType.JSON


def _resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node that a reference stands for; pydantic writes only "#/$defs/<name>"."""
    while "$ref" in node:
        node = definitions[str(node["$ref"]).removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")]
    return node
