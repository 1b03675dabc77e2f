"""What the answers say: valid for every schema, sensible where a small model can be, and the same each time."""

import json
from enum import Enum
from typing import Literal

import anthropic
import openai
import pytest
from openai.lib._parsing._completions import type_to_response_format_param as response_format
from pydantic import BaseModel, Field

TAXONOMY = """You label support tickets.
Category:
- billing: invoices, charges, refunds, prices
- bug: something is broken, an error, a crash, lost data
- how-to: a question how something is done
- other: praise, ideas, anything else
Urgency is high when somebody cannot work, low when there is no hurry, and normal otherwise."""
TICKETS = [
    ("We were charged two times for May, please refund one payment.", "billing"),
    ("The invoice shows the wrong company address.", "billing"),
    ("Can we pay yearly by bank transfer instead of by card? What is the price?", "billing"),
    ("The page stays blank after signing in, and the console shows an error.", "bug"),
    ("Uploading a picture makes the app crash on Android.", "bug"),
    ("The filter stopped working after the last release.", "bug"),
    ("How can I add a colleague to my workspace?", "how-to"),
    ("Where do I find the setting for the time zone?", "how-to"),
    ("Could you explain how to import contacts from a spreadsheet?", "how-to"),
    ("Thank you, the new editor is a joy to use.", "other"),
    ("Would your company sponsor our conference in spring?", "other"),
    ("It would be great to have a calendar view one day. Any plans?", "other"),
]
TEXT = (
    "Bees fly out when the morning is warm. They collect nectar from the flowers of the meadow. "
    "The meadow lies behind an old mill. Nectar becomes honey inside the hive within a few days. "
    "A hive of bees makes more honey than the bees themselves need."
)


class Label(BaseModel):
    category: Literal["billing", "bug", "how-to", "other"]
    urgency: Literal["low", "normal", "high"]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str = Field(description="What the part is called.")
    weight: float | None


class Node(BaseModel):
    title: str
    children: list["Node"]


class Everything(BaseModel):
    summary: str = Field(max_length=60)
    grade: int = Field(ge=1, le=5)
    share: float = Field(ge=0, le=1)
    even: int = Field(multiple_of=2, ge=3, le=9)
    sure: bool
    colours: list[Colour] = Field(min_length=1, max_length=2)
    keywords: list[str] = Field(max_length=4)
    parts: list[Part]
    main: Part
    remark: str | None
    tree: Node
    either: Part | Colour
    code: str = Field(pattern="^[A-Z][a-z]+$")
    always: Literal["this"]


@pytest.fixture(params=["wordllama", "cheap"])
def mode(request, server):
    server.post("/local/settings", {"answers": request.param})
    return request.param


@pytest.fixture
def sensible(server):
    server.post("/local/settings", {"answers": "wordllama"})
    return server


def ask(server, text, output, system="Read this."):
    answer = server.openai.chat.completions.create(
        model="gpt-5-mini",
        messages=[{"role": "system", "content": system}, {"role": "user", "content": text}],
        response_format=response_format(output),
    )
    return answer.choices[0].message.content


def test_an_answer_to_openais_schema_is_valid(server, mode):
    answer = Everything.model_validate_json(ask(server, TEXT, Everything))
    assert answer.even in {4, 6, 8}


def test_an_answer_to_anthropics_schema_is_valid(server, mode):
    message = server.anthropic.messages.create(
        model="claude-haiku-5-5",
        max_tokens=4_000,
        messages=[{"role": "user", "content": TEXT}],
        output_config={"format": {"type": "json_schema", "schema": anthropic.transform_schema(Everything)}},
    )
    Everything.model_validate_json(message.content[0].text)


def test_the_responses_endpoint_answers_to_a_schema(server, mode):
    assert server.openai.responses.parse(model="gpt-5-mini", input=TEXT, text_format=Part).output_parsed.name


def test_tickets_get_the_label_that_a_person_would_give(sensible):
    found = [json.loads(ask(sensible, text, Label, TAXONOMY))["category"] for text, _ in TICKETS]
    right = sum(category == wanted for category, (_, wanted) in zip(found, TICKETS, strict=True))
    assert right >= 9, list(zip(found, TICKETS, strict=True))


def test_the_words_of_the_taxonomy_decide_about_labels_nobody_knows(sensible):
    class Shelf(BaseModel):
        shelf: Literal["K1", "K2", "K3"]

    system = "Sort by shelf.\n- K1: animals, pets and birds\n- K2: cooking, food and recipes\n- K3: ships and the sea"
    texts = {"My cat chases the dog.": "K1", "Stir the soup and add salt.": "K2", "The sailors set the sails.": "K3"}
    assert {text: json.loads(ask(sensible, text, Shelf, system))["shelf"] for text in texts} == texts


def test_urgency_follows_the_text(sensible):
    high = ask(sensible, "URGENT: everything is down, nobody can work, we lose money!", Label, TAXONOMY)
    low = ask(sensible, "No rush at all, I was just wondering about a small thing.", Label, TAXONOMY)
    assert (json.loads(high)["urgency"], json.loads(low)["urgency"]) == ("high", "low")


def test_two_texts_that_say_the_same_are_graded_higher(sensible):
    class Grade(BaseModel):
        grade: int = Field(ge=1, le=10)

    def grade(second):
        text = f"Reference:\n\nThe hive makes honey from nectar.\n\nAnswer:\n\n{second}"
        return json.loads(ask(sensible, text, Grade))["grade"]

    assert grade("Honey is made from nectar in the hive.") > grade("The train to Hamburg leaves at nine.") + 2


QUESTION = "Question: How long may I undo a merge?"
REFERENCE = "Reference: A merge can be undone for 30 days. Notes are kept with a date."
GOOD, BAD = "You can undo a merge for 30 days.", "Nothing is merged without a person."


class Grade(BaseModel):
    correctness: int = Field(ge=1, le=5)
    confidence: float = Field(ge=0, le=1)
    reason: str


class Comparison(BaseModel):
    winner: Literal["first", "second", "tie"]
    reason: str


def test_an_answer_that_fits_its_reference_is_graded_higher_and_what_is_missing_is_the_reason(sensible):
    good, bad = (
        json.loads(ask(sensible, f"{QUESTION}\n\n{REFERENCE}\n\nAnswer: {answer}", Grade)) for answer in (GOOD, BAD)
    )
    assert good["correctness"] > bad["correctness"]
    assert 0 <= good["confidence"] <= 1
    assert good["reason"] == 'Not there is "Notes are kept with a date."'
    assert '"A merge can be undone for 30 days."' in bad["reason"]


def test_of_two_answers_the_one_nearer_to_the_reference_wins_in_either_order(sensible):
    def winner(first, second):
        text = f"{QUESTION}\n\n{REFERENCE}\n\nFirst answer: {first}\n\nSecond answer: {second}"
        return json.loads(ask(sensible, text, Comparison))["winner"]

    assert (winner(GOOD, BAD), winner(BAD, GOOD), winner(GOOD, GOOD)) == ("first", "second", "tie")


def test_a_question_is_answered_out_of_the_rest_in_as_many_sentences_as_are_asked_for(sensible):
    def answer(system):
        answered = sensible.openai.chat.completions.create(
            model="gpt-5-mini",
            messages=[
                {"role": "system", "content": system},
                {"role": "user", "content": f"Question: Where does the meadow lie?\n\nArticle:\n{TEXT}"},
            ],
        )
        return answered.choices[0].message.content

    assert answer("Answer in one sentence.") == "The meadow lies behind an old mill."
    two = answer("Answer in at most two short sentences.")
    assert "The meadow lies behind an old mill." in two
    assert two.count(".") == 2


class Advice(BaseModel):
    headline: str
    explanation: str = Field(description="In two sentences.")


def test_no_two_fields_say_the_same_and_one_is_as_long_as_its_description_asks(sensible):
    advice = json.loads(ask(sensible, f"Question: {TEXT}\n\nShort answer: Who knows?", Advice))
    assert advice["headline"] in TEXT
    assert advice["headline"] not in advice["explanation"]
    assert advice["explanation"].count(".") == 2
    assert "Question:" not in json.dumps(advice)


class Reply(BaseModel):
    headline: str
    steps: list[str] = Field(max_length=5, description="What to do, in order.")


def test_what_was_asked_is_not_given_back_as_an_answer(sensible):
    text = (
        "Question: A teacher leaves in May. The teacher has sixty regulars. The regulars like the teacher. So?\n\n"
        "Answer: Open the series and choose Substitute. A mail goes out by itself."
    )
    reply = Reply.model_validate_json(ask(sensible, text, Reply))
    assert reply.headline in ("Open the series and choose Substitute.", "A mail goes out by itself.")
    assert reply.steps
    assert set(reply.steps) <= {"Open the series and choose Substitute.", "A mail goes out by itself."}


def test_a_plain_answer_is_made_of_sentences_of_the_text(sensible):
    answer = sensible.openai.responses.create(model="gpt-5-mini", input=TEXT).output_text
    sentences = [sentence.rstrip(".") for sentence in answer.split(". ")]
    assert 2 <= len(sentences) <= 3
    assert all(sentence in TEXT for sentence in sentences)


def test_a_plain_answer_has_as_many_sentences_as_the_system_prompt_asks_for(sensible):
    asked = [{"role": "user", "content": TEXT}]
    given = sensible.anthropic.messages.create(
        model="claude-haiku-5-5", max_tokens=500, system="Sum it up in one sentence.", messages=asked
    )
    assert given.content[0].text.count(".") == 1


def test_the_texts_of_an_answer_are_as_long_as_asked_for_and_do_not_repeat_one_another(sensible):
    class Digest(BaseModel):
        headline: str = Field(description="A headline of at most six words.")
        summary: str = Field(description="One or two sentences.")
        highlights: list[str] = Field(description="What else there is.")
        next_step: str = Field(description="What to try next, in one sentence.")

    text = f"Beekeeping\n\n{TEXT} Try a second hive in spring. The mill has turned for two hundred years."
    answer = Digest.model_validate_json(ask(sensible, text, Digest))
    assert 3 <= len(answer.headline.split()) <= 6
    assert answer.next_step == "Try a second hive in spring."
    assert answer.summary.count(".") == 2
    said = [answer.headline, *answer.summary.split(". "), *answer.highlights, answer.next_step]
    assert len({each[:20] for each in said}) == len(said)
    assert "Beekeeping" not in said


def test_embeddings_of_like_texts_are_nearer(sensible):
    texts = ["A dog barks in the yard.", "The puppy is barking outside.", "Interest rates rose in June."]
    data = sensible.openai.embeddings.create(model="text-embedding-3-small", input=texts).data
    dog, puppy, rates = (item.embedding for item in data)

    def dot(one, two):
        return sum(a * b for a, b in zip(one, two, strict=True))

    assert dot(dog, puppy) > dot(dog, rates) + 0.3


def test_sensible_answers_are_the_same_each_time(sensible):
    assert len({ask(sensible, TEXT, Everything) for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"required": ["category"]}, "Missing 'urgency'"),
        ({"additionalProperties": True}, "additionalProperties"),
        ({"additionalProperties": None}, "additionalProperties"),
        ({"allOf": []}, "'allOf' is not permitted"),
        ({"type": "array"}, "type: \"array\""),
    ],
)  # fmt: skip
def test_a_strict_schema_that_openai_would_not_take_is_refused(server, change, message):
    wanted = response_format(Label)
    wanted["json_schema"]["schema"] = {**wanted["json_schema"]["schema"], **change}
    with pytest.raises(openai.BadRequestError) as refused:
        server.openai.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": "Hello."}], response_format=wanted
        )
    assert message in refused.value.message.replace("\\", "")


def test_a_schema_that_is_not_strict_may_leave_things_open(server):
    wanted = response_format(Label)
    wanted["json_schema"] = {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    answer = server.openai.chat.completions.create(
        model="gpt-5-mini", messages=[{"role": "user", "content": "Hello."}], response_format=wanted
    )
    assert json.loads(answer.choices[0].message.content)["a"]


def test_a_refused_schema_in_a_batch_is_an_error_line(server, chats):
    wanted = response_format(Label)
    wanted["json_schema"]["schema"]["required"] = []
    [line] = server.errors(server.landed(chats(1, response_format=wanted)))
    assert line["response"]["body"]["error"]["param"] == "response_format"


def test_anthropic_refuses_an_object_that_is_left_open(server, messages):
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    requests = messages(1, output_config={"format": {"type": "json_schema", "schema": schema}})
    batch = server.message_ended(server.send(requests).id)
    assert "additionalProperties" in server.results(batch.id)["a0"].error.error.message
