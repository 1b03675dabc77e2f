"""The synchronous endpoints."""

import numpy as np
import openai
import pytest

USER = [{"role": "user", "content": "The first sentence is here. The second one follows."}]


def test_a_chat_completion_is_answered(server):
    answer = server.openai.chat.completions.create(model="gpt-5-mini", messages=USER)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content
    assert answer.model == "local-gpt-5-mini"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_response_is_answered_or_incomplete(server):
    create = server.openai.responses.create
    assert create(model="gpt-5-mini", input="Hello there.").output_text
    cut = create(model="gpt-5-mini", input="Hello there, all of you who are listening.", max_output_tokens=2)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_a_message_is_answered(server):
    message = server.anthropic.messages.create(model="claude-haiku-5-5", max_tokens=100, messages=USER)
    assert message.stop_reason == "end_turn"
    assert message.usage.service_tier == "standard"
    assert message.usage.cache_read_input_tokens == 0


def test_a_message_that_is_too_long_is_cut_and_says_so(server):
    message = server.anthropic.messages.create(model="claude-haiku-5-5", max_tokens=1, messages=USER)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 1)


def test_both_encodings_of_an_embedding_are_the_same_vector(server):
    def vector(encoding_format):
        found = server.openai.embeddings.create(
            model="text-embedding-3-small", input=["Cats.", "Dogs."], encoding_format=encoding_format
        )
        return np.array([item.embedding for item in found.data], dtype=np.float32)

    base64 = server.openai.embeddings.create(model="text-embedding-3-small", input=["Cats.", "Dogs."])
    assert np.allclose(vector("float"), [item.embedding for item in base64.data])
    assert np.allclose(np.linalg.norm(vector("float"), axis=1), 1, atol=1e-5)


def test_a_shortened_embedding_is_the_long_ones_beginning_at_length_one(server):
    create = server.openai.embeddings.create
    long = np.array(create(model="text-embedding-3-small", input="Cats.").data[0].embedding)
    short = np.array(create(model="text-embedding-3-small", input="Cats.", dimensions=64).data[0].embedding)
    assert len(long) == 256
    assert np.allclose(short, long[:64] / np.linalg.norm(long[:64]), atol=1e-5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "empty"),
        ({"input": "a", "dimensions": 1024}, "256"),
        ({"input": "word " * 9_000}, "8192 tokens"),
    ],
)
def test_an_embedding_that_cannot_be_made_is_refused(server, body, message):
    with pytest.raises(openai.BadRequestError, match=message):
        server.openai.embeddings.create(model="text-embedding-3-small", **body)


def test_moderation_flags_what_is_plainly_there_and_nothing_else(server):
    rude, kind = server.openai.moderations.create(
        model="omni-moderation-latest", input=["You pathetic idiot, I will kill you.", "What a lovely morning."]
    ).results
    assert rude.flagged
    assert rude.categories.harassment
    assert rude.categories.violence
    assert not kind.flagged
    assert kind.category_scores.harassment < 0.01 < rude.category_scores.harassment <= 1


def test_the_same_request_gets_the_same_answer(server):
    create = server.openai.chat.completions.create
    one, two = (create(model="gpt-5-mini", messages=USER).choices[0].message.content for _ in range(2))
    assert one == two


def test_a_stream_is_refused(server):
    with pytest.raises(openai.BadRequestError, match="stream"):
        server.openai.chat.completions.create(model="gpt-5-mini", messages=USER, stream=True)


def test_an_unknown_path_is_told_in_the_words_of_whom_it_belongs_to(server):
    assert b'"type":"not_found_error"' in server.raw("GET", "/v1/messages/nothing/at/all", x_api_key="k")[2]
    assert b"Invalid URL (GET /v1/nothing)" in server.raw("GET", "/v1/nothing")[2]
