"""What is taken from a text as it stands there, by the names and words of a field; and what is seen of a picture."""

import base64
import io
import json
from datetime import date

import pytest
from openai.lib._parsing._completions import type_to_response_format_param as response_format
from PIL import Image
from pydantic import BaseModel, Field

from local_provider.fields import Field as Place
from local_provider.lookup import MISSING, look_up_number, look_up_text

NOTE = (
    "Called Kesterholt Clay BV. Contact is Marijke Douwes, marijke@kesterholt.example, +31 30 555 0142. Lead time 3 "
    "weeks, payment within 30 days, minimum order 1,250 EUR. Prices are good until 1 March 2027."
)


@pytest.mark.parametrize(
    ("path", "schema", "value"),
    [
        (("company",), {}, "Kesterholt Clay BV"),
        (("supplier_name",), {}, "Kesterholt Clay BV"),
        (("contact", "name"), {}, "Marijke Douwes"),
        (("contact", "email"), {}, "marijke@kesterholt.example"),
        (("phone",), {}, "+31 30 555 0142"),
        (("valid_until",), {"format": "date"}, "2027-03-01"),
        (("website",), {}, MISSING),
        (("summary",), {}, None),
    ],
)
def test_a_text_is_sought_by_the_name_of_its_field(path, schema, value):
    assert look_up_text(Place(path, {"type": "string", **schema}), NOTE) == value


@pytest.mark.parametrize(
    ("path", "about", "value"),
    [
        (("lead_time_days",), "", 21.0),
        (("payment_days",), "", 30.0),
        (("terms_days",), "When payment is due.", 30.0),
        (("order", "amount"), "The minimum order.", 1250.0),
        (("discount_percent",), "", MISSING),
        (("weight",), "", MISSING),
    ],
)
def test_a_number_is_the_one_nearest_to_the_words_of_its_field_in_its_unit(path, about, value):
    assert look_up_number(Place(path, {"type": "number", "description": about}), NOTE) == value


def test_a_duration_is_told_in_the_unit_that_is_asked_for():
    place = Place(("duration_ms",), {"type": "integer"})
    assert look_up_number(place, "INFO export finished in 84 s, 120 files") == 84_000
    assert look_up_number(place, "INFO export finished, 84 files") is MISSING


class Person(BaseModel):
    name: str | None
    email: str | None


class Record(BaseModel):
    contact: Person | None
    lead_time_days: int | None = Field(ge=0, le=400)
    wait_days: int | None = Field(ge=0, le=200, description="Lead time in days.")
    valid_until: date | None


def ask(server, content):
    server.post("/local/settings", {"answers": "wordllama"})
    answer = server.openai.chat.completions.create(
        model="gpt-5-mini", messages=[{"role": "user", "content": content}], response_format=response_format(Record)
    )
    return json.loads(answer.choices[0].message.content)


def test_optional_fields_are_null_where_the_text_is_silent(server):
    assert ask(server, "Lead time 300 days.") == {
        "contact": None,
        "lead_time_days": 300,
        "wait_days": None,  # beyond its bounds
        "valid_until": None,
    }
    assert ask(server, "Ask for Marijke Douwes.")["contact"] == {"name": "Marijke Douwes", "email": None}


def test_a_picture_is_told_by_its_shape_and_colours_in_each_form(server):
    drawn = Image.new("RGB", (120, 40), "white")
    drawn.paste((50, 110, 180), (0, 0, 40, 40))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    url = f"data:image/png;base64,{data}"
    server.post("/local/settings", {"answers": "wordllama"})
    text = "Our logo."
    chat = server.openai.chat.completions.create(
        model="gpt-5-mini",
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}],
            }
        ],
    )
    response = server.openai.responses.create(
        model="gpt-5-mini",
        input=[
            {
                "role": "user",
                "content": [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": url}],
            }
        ],
    )
    message = server.anthropic.messages.create(
        model="claude-haiku-5-5",
        max_tokens=100,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": text},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
                ],
            }
        ],
    )
    wanted = "A wide picture, mostly white with blue: Our logo."
    assert [chat.choices[0].message.content, response.output_text, message.content[0].text] == [wanted] * 3
