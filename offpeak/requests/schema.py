"""An output schema in the one form that is hashed: sorted keys, automatic titles dropped.

Pydantic writes a title for every model and field; it carries nothing that the author wrote, and its spelling belongs to
pydantic. Dropping it keeps an upgrade of pydantic from changing fingerprints, hence from buying everything again.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_NAME_MAPS = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})


def canonical_schema(output: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of `output` without automatic titles. A title that the author set is kept."""
    schema = output.model_json_schema()
    model_names = {output.__name__, *schema.get("$defs", {})}
    cleaned: dict[str, Any] = _clean(schema, None, model_names)
    return cleaned


def _clean(node: Any, name: str | None, model_names: set[str]) -> Any:
    if isinstance(node, list):
        return [_clean(item, None, model_names) for item in node]
    if not isinstance(node, Mapping):
        return node
    cleaned: dict[str, Any] = {}
    for word, value in node.items():
        if word in _NAME_MAPS and isinstance(value, Mapping):
            cleaned[word] = {key: _clean(item, key, model_names) for key, item in value.items()}
        elif word == "title" and isinstance(value, str) and _automatic(value, name, model_names):
            continue
        elif word in {"const", "default", "enum", "examples"}:
            cleaned[word] = value
        else:
            cleaned[word] = _clean(value, None, model_names)
    return cleaned


def _automatic(title: str, name: str | None, model_names: set[str]) -> bool:
    return title in model_names or (name is not None and title.lower().replace(" ", "_") == name.lower().strip("_"))
