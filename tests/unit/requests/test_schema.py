"""An output schema is hashed by what its author wrote, not by how pydantic spells it today."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from offpeak.requests.fingerprint import canonical_json
from offpeak.requests.schema import canonical_schema


class Severity(StrEnum):
    LOW = "low"
    HIGH = "high"


class Place(BaseModel):
    street_name: str
    severity: Severity


class Report(BaseModel):
    """A report."""

    place: Place
    others: list[Place] = []
    lookup: dict[str, Place] | None = None
    URL: str = ""


def titles(node: Any) -> list[str]:
    """Every title keyword in a schema; names of properties are no keywords."""
    if isinstance(node, list):
        return [title for item in node for title in titles(item)]
    if not isinstance(node, dict):
        return []
    found = [node["title"]] if isinstance(node.get("title"), str) else []
    return found + [title for value in node.values() for title in titles(value)]


def test_automatic_titles_of_models_fields_and_enums_are_dropped() -> None:
    assert titles(Report.model_json_schema()) != []
    assert titles(canonical_schema(Report)) == []


def test_a_title_that_the_author_wrote_is_kept() -> None:
    class Titled(BaseModel):
        model_config = ConfigDict(title="What became of it")
        place: Annotated[str, Field(title="Where it happened")]

    assert sorted(titles(canonical_schema(Titled))) == ["What became of it", "Where it happened"]


def test_a_field_called_title_is_a_field() -> None:
    class Book(BaseModel):
        title: str
        description: str

    properties = canonical_schema(Book)["properties"]

    assert properties == {"title": {"type": "string"}, "description": {"type": "string"}}


def test_the_text_that_a_model_reads_is_kept() -> None:
    class Described(BaseModel):
        """Says what is wanted."""

        urgent: bool = Field(description="true when somebody cannot work", examples=[True])

    schema = canonical_schema(Described)

    assert schema["description"] == "Says what is wanted."
    assert schema["properties"]["urgent"]["description"] == "true when somebody cannot work"
    assert schema["properties"]["urgent"]["examples"] == [True]


def test_values_that_look_like_titles_are_left_alone() -> None:
    class Choice(BaseModel):
        pick: Any = Field(default={"title": "Pick"}, examples=[{"title": "Pick"}])

    pick = canonical_schema(Choice)["properties"]["pick"]

    assert pick == {"default": {"title": "Pick"}, "examples": [{"title": "Pick"}]}


def test_the_order_of_keys_within_a_schema_makes_no_difference() -> None:
    schema = canonical_schema(Report)
    turned = {word: schema[word] for word in reversed(schema)}

    assert list(turned) != list(schema)
    assert canonical_json(turned) == canonical_json(schema)


def test_a_change_of_the_schema_is_a_change() -> None:
    class Before(BaseModel):
        urgent: bool

    class After(BaseModel):
        urgent: bool | None

    assert canonical_json(canonical_schema(Before)) != canonical_json(canonical_schema(After))


def test_the_name_of_a_model_is_not_hashed() -> None:
    before = type("Verdict", (BaseModel,), {"__annotations__": {"urgent": bool}})
    after = type("Judgement", (BaseModel,), {"__annotations__": {"urgent": bool}})

    assert canonical_schema(before) == canonical_schema(after)
