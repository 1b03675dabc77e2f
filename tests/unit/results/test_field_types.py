"""Which type of a database each field of an output model has."""

from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal, Optional
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, create_model

from offpeak.results.field_types import FieldType, field_types

TEXT, INTEGER, NUMBER, BOOLEAN, JSON = (
    FieldType.TEXT,
    FieldType.INTEGER,
    FieldType.NUMBER,
    FieldType.BOOLEAN,
    FieldType.JSON,
)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Grade(IntEnum):
    GOOD = 1
    BAD = 2


class Inner(BaseModel):
    depth: int


class Tree(BaseModel):
    name: str
    below: "list[Tree]"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, TEXT),
        (int, INTEGER),
        (float, NUMBER),
        (bool, BOOLEAN),
        (str | None, TEXT),
        (Optional[int], INTEGER),  # noqa: UP045 - as many still write it
        (int | float, NUMBER),
        (int | str, JSON),
        (bool | int, JSON),
        (Literal["a", "b"], TEXT),
        (Literal["a"], TEXT),
        (Literal["a", None], TEXT),
        (Literal[1, 2] | None, INTEGER),
        (Literal["a", 1], JSON),
        (Colour, TEXT),
        (Colour | None, TEXT),
        (Grade, INTEGER),
        (date | datetime | None, TEXT),
        (UUID, TEXT),
        (Decimal, TEXT),
        (Inner, JSON),
        (Inner | None, JSON),
        (list[str], JSON),
        (str | list[str], JSON),
        (dict[str, int], JSON),
        (Any, JSON),
        (None, JSON),
    ],
    ids=str,
)
def test_a_type_follows_from_the_annotation(annotation: Any, expected: FieldType) -> None:
    output = create_model("Output", field=(annotation, ...))
    assert field_types(output) == {"field": expected}


def test_a_field_goes_by_its_own_name_as_its_column_does() -> None:
    output = create_model("Output", name=(int, Field(alias="called")), described=(str, Field(description="A text.")))
    assert field_types(output) == {"name": INTEGER, "described": TEXT}


def test_a_model_that_holds_itself_has_types() -> None:
    assert field_types(Tree) == {"name": TEXT, "below": JSON}
