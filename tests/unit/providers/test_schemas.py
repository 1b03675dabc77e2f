"""What becomes of a pydantic model at each provider, and what is refused."""

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel

from offpeak.errors import DefinitionError
from offpeak.providers.schemas import anthropic_schema, openai_format_name, openai_schema

SCHEMAS = pytest.mark.parametrize("schema_of", [openai_schema, anthropic_schema])


class TicketLabel(BaseModel):
    """A ticket's label."""

    category: Literal["billing", "bug", "how-to", "other"]
    urgency: Literal["low", "normal", "high"] = "normal"


class Person(BaseModel):
    name: str = Field(description="As on the passport", max_length=40)
    age: int | None = Field(default=None, ge=0)


class Family(BaseModel):
    people: list[Person]
    head: Person = Field(description="Who signs")


class Tree(BaseModel):
    label: str
    children: list["Tree"] = []
    best: "Tree | None" = Field(default=None, description="The best child")


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]


class Pet(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


T = TypeVar("T")


class Boxed(BaseModel, Generic[T]):
    value: T


def test_openai_requires_every_field_and_is_sent_no_titles_or_defaults() -> None:
    assert openai_schema(TicketLabel) == {
        "description": "A ticket's label.",
        "type": "object",
        "properties": {
            "category": {"type": "string", "enum": ["billing", "bug", "how-to", "other"]},
            "urgency": {"type": "string", "enum": ["low", "normal", "high"]},
        },
        "required": ["category", "urgency"],
        "additionalProperties": False,
    }


def test_anthropic_keeps_optional_fields_optional() -> None:
    schema = anthropic_schema(TicketLabel)
    assert schema["required"] == ["category"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["category"] == {"enum": ["billing", "bug", "how-to", "other"]}
    assert "title" not in schema


def without_titles(node: Any) -> Any:
    if isinstance(node, list):
        return [without_titles(item) for item in node]
    if isinstance(node, dict):
        return {word: without_titles(value) for word, value in node.items() if word != "title"}
    return node


@pytest.mark.parametrize("model", [Cat, Dog, Boxed[int]])
def test_openai_gets_what_its_own_sdk_would_send_but_for_titles(model: type[BaseModel]) -> None:
    theirs = openai.pydantic_function_tool(model)["function"]["parameters"]
    assert openai_schema(model) == without_titles(theirs)


def test_limits_that_openai_does_not_enforce_are_told_to_the_model_in_words() -> None:
    name = openai_schema(Person)["properties"]["name"]
    assert name == {"type": "string", "description": "As on the passport\n\n{maxLength: 40}"}


def test_a_range_that_openai_enforces_stays_a_range() -> None:
    age = openai_schema(Person)["properties"]["age"]
    assert age == {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}


def test_a_reference_with_a_description_is_written_out_for_openai() -> None:
    head = openai_schema(Family)["properties"]["head"]
    assert head["description"] == "Who signs"
    assert head["required"] == ["name", "age"]
    assert "$ref" not in head


def test_a_pattern_with_lookaround_is_not_sent_to_openai_as_a_pattern() -> None:
    class Invoice(BaseModel):
        total: Decimal

    variants = openai_schema(Invoice)["properties"]["total"]["anyOf"]
    assert all("pattern" not in variant for variant in variants)


@SCHEMAS
def test_a_discriminated_union_becomes_a_plain_one(schema_of: Callable[[type[BaseModel]], dict[str, Any]]) -> None:
    pet = schema_of(Pet)["properties"]["pet"]
    assert pet == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}


def test_openai_takes_a_model_that_contains_itself() -> None:
    schema = openai_schema(Tree)
    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_anthropic_refuses_a_model_that_contains_itself_naming_the_field() -> None:
    with pytest.raises(DefinitionError, match=r"Tree\.children\[\]: Anthropic .* contains itself"):
        anthropic_schema(Tree)


class FreeNames(BaseModel):
    people: list["Scores"]


class Scores(BaseModel):
    scores: dict[str, int]


class Anything(BaseModel):
    label: str
    extra: Any


class Pair(BaseModel):
    place: tuple[float, float]


@SCHEMAS
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (FreeNames, r"FreeNames\.people\[\]\.scores: .* free names"),
        (Anything, r"Anything\.extra: .* any type"),
        (Pair, r"Pair\.place: .* tuple"),
    ],
)
def test_what_no_provider_can_take_is_refused_naming_the_field(
    schema_of: Callable[[type[BaseModel]], dict[str, Any]], model: type[BaseModel], message: str
) -> None:
    with pytest.raises(DefinitionError, match=message):
        schema_of(model)


@SCHEMAS
def test_a_type_without_a_json_schema_is_refused_naming_the_field(
    schema_of: Callable[[type[BaseModel]], dict[str, Any]],
) -> None:
    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        name: str
        call: Callable[[], int]

    with pytest.raises(DefinitionError, match=r"Odd\.call"):
        schema_of(Odd)


@SCHEMAS
def test_a_root_without_named_fields_is_refused(schema_of: Callable[[type[BaseModel]], dict[str, Any]]) -> None:
    class Labels(RootModel[list[str]]):
        pass

    with pytest.raises(DefinitionError, match=r"Labels: .* named fields"):
        schema_of(Labels)


def test_a_generic_models_name_is_spelled_in_characters_that_openai_takes() -> None:
    assert openai_format_name(Boxed[int]) == "Boxed_int"
