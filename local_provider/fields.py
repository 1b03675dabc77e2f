"""One place in an output schema that wants a value, with the words that say what it is about."""

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """A place in a schema: its path of names, and its own part of the schema."""

    path: tuple[str, ...]
    schema: dict[str, Any]

    @property
    def name(self) -> str:
        return next((step for step in reversed(self.path) if not step.isdigit()), "")

    @property
    def index(self) -> int:
        """Where it stands inside the nearest array around it; 0 outside of one."""
        return next((int(step) for step in reversed(self.path) if step.isdigit()), 0)

    @property
    def about(self) -> str:
        """The field in words: its name, title and description."""
        words = [self.name.replace("_", " "), str(self.schema.get("description") or "")]
        return ". ".join(word for word in words if word)


def find(pattern: str, text: str) -> str | None:
    """The first match in the text; None for none, or for a pattern that Python cannot read."""
    try:
        found = re.search(pattern, text)
    except re.error:
        return None
    return found.group(0) if found and found.group(0) else None
