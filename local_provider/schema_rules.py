"""The rules that OpenAI and Anthropic put on the JSON schema of a structured output, with their messages."""

from functools import lru_cache
from typing import Any

import orjson

from local_provider.replies import RequestRefused

FORBIDDEN = ("allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else", "patternProperties")
MAX_PROPERTIES = 5_000
MAX_NESTING = 10


def check_openai(schema: Any, *, name: str, strict: bool, param: str) -> None:
    """Raises RequestRefused for a schema that OpenAI would not take."""
    if not isinstance(schema, dict):
        raise RequestRefused(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    problem = _openai_problem(orjson.dumps(schema)) if strict else None
    if problem:
        message = f"Invalid schema for response_format '{name}': {problem}"
        raise RequestRefused(message, param=param, code="invalid_json_schema")


def check_anthropic(schema: Any) -> None:
    """Raises RequestRefused for a schema that Anthropic would not take."""
    if not isinstance(schema, dict):
        raise RequestRefused("output_config.format.schema: Field required")
    problem = _anthropic_problem(orjson.dumps(schema))
    if problem:
        raise RequestRefused(f"output_config.format.schema: {problem}")


@lru_cache(maxsize=128)
def _openai_problem(encoded: bytes) -> str | None:
    schema = orjson.loads(encoded)
    if schema.get("type") != "object" or "anyOf" in schema:
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'."
    properties = 0
    for context, node, depth in _nodes(schema):
        properties += len(node.get("properties") or {})
        if depth > MAX_NESTING:
            return f"In context={context}, the schema exceeds the limit of {MAX_NESTING} levels of nesting."
        if problem := _strict_problem(node):
            return f"In context={context}, {problem}"
    return f"the schema exceeds the limit of {MAX_PROPERTIES} properties." if properties > MAX_PROPERTIES else None


def _strict_problem(node: dict[str, Any]) -> str | None:
    for keyword in (*FORBIDDEN, "default"):
        if keyword in node:
            return f"'{keyword}' is not permitted."
    if node.get("type") == "array" and "items" not in node and "prefixItems" not in node:
        return "array schema missing items."
    if node.get("type") != "object" and "properties" not in node:
        return None
    if node.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    missing = [name for name in node.get("properties") or {} if name not in (node.get("required") or [])]
    if missing:
        return (
            "'required' is required to be supplied and to be an array including every key in properties. "
            f"Missing '{missing[0]}'."
        )
    extra = [name for name in node.get("required") or [] if name not in (node.get("properties") or {})]
    return f"'required' names '{extra[0]}', which is not in properties." if extra else None


@lru_cache(maxsize=128)
def _anthropic_problem(encoded: bytes) -> str | None:
    for _, node, _ in _nodes(orjson.loads(encoded)):
        is_object = node.get("type") == "object" or "properties" in node
        if is_object and node.get("additionalProperties") is not False:
            return "For 'object' type, 'additionalProperties' must be explicitly set to false"
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
            if keyword in node:
                return f"For '{node.get('type')}' type, property '{keyword}' is not supported"
        for keyword in ("minLength", "maxLength", "maxItems"):
            if keyword in node:
                return f"For '{node.get('type')}' type, property '{keyword}' is not supported"
    return None


def _nodes(schema: dict[str, Any]) -> list[tuple[tuple[str, ...], dict[str, Any], int]]:
    """Every schema inside a schema, with its place and how many objects it is nested in."""
    found: list[tuple[tuple[str, ...], dict[str, Any], int]] = []
    todo: list[tuple[tuple[str, ...], Any, int]] = [((), schema, 0)]
    while todo:
        context, node, depth = todo.pop()
        if not isinstance(node, dict):
            continue
        found.append((context, node, depth))
        inner = depth + (1 if "properties" in node or "items" in node else 0)
        for group in ("properties", "$defs", "definitions"):
            todo += [((*context, group, name), part, inner) for name, part in (node.get(group) or {}).items()]
        for group in ("anyOf", "oneOf", "prefixItems"):
            todo += [((*context, group, str(i)), part, depth) for i, part in enumerate(node.get(group) or ())]
        todo.append(((*context, "items"), node.get("items"), inner))
    return sorted(found, key=lambda item: len(item[0]))
