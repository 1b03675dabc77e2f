"""A YAML file with a list of entries that people write by hand: read, checked, and what is wrong said with its line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from offpeak.errors import ConfigurationError

File = TypeVar("File", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Listed(Generic[File]):
    """A file that could be read."""

    file: File
    lines: Sequence[int]
    """The line on which each entry begins, from 1."""

    def where(self, path: Path, number: int) -> str:
        """Where entry `number` (from 0) stands, such as "launches.yaml:4"."""
        return f"{path.name}:{self.lines[number]}" if number < len(self.lines) else path.name


def read_listed(path: Path, model: type[File], *, under: str, example: str, hint: str) -> Listed[File]:
    """The file as a `model`, whose field `under` holds the entries, each with a `name` that no other one has.

    Raises ConfigurationError that names line, entry and field, and shows `example`; where nothing can be read, `hint`
    says what to do.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}. {hint}") from error
    try:
        file = model.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        said = _said(error, _lines(text, under), under)
        raise ConfigurationError(f"{path}: {said}\nAn entry looks like this:\n{example}") from error
    _refuse_namesakes(path, [entry.name for entry in getattr(file, under)])
    return Listed(file, _lines(text, under))


def _said(error: ValidationError, lines: Sequence[int], under: str) -> str:
    first = error.errors()[0]
    place = first["loc"]
    message = str(first["msg"]).removeprefix("Value error, ")
    if len(place) < 2 or place[0] != under or not isinstance(place[1], int):
        return f"{'.'.join(map(str, place)) or 'the file'}: {message}"
    line = f"line {lines[place[1]]}, " if place[1] < len(lines) else ""
    field = ".".join(str(each) for each in place[2:])
    return f"{line}entry {place[1] + 1}: {f'{field}: ' if field else ''}{message}"


def _lines(text: str, under: str) -> list[int]:
    """The line on which each entry begins."""
    node = yaml.compose(text)
    if not isinstance(node, yaml.MappingNode):
        return []
    for key, value in node.value:
        if key.value == under and isinstance(value, yaml.SequenceNode):
            return [each.start_mark.line + 1 for each in value.value]
    return []


def _refuse_namesakes(path: Path, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigurationError(f"{path}: two entries are named {name!r}. Give each one a name of its own.")
        seen.add(name)
