"""The prompt cache: what is kept, for how long and for whom, and how each provider tells of it."""

import json

import anthropic
import openai
import pytest

LONG = "All of this is said to every one. " * 150
"""1,275 tokens."""
TOKENS = 1_275
HAIKU, OLD, NEW = "claude-haiku-5-5", "gpt-5-mini", "gpt-5.6-luna"


@pytest.fixture(autouse=True)
def held(server):
    """The server's clock stands still."""
    server.post("/local/clock", {"now": 1_700_000_000})
    yield
    server.raw("DELETE", "/local/clock")


def later(server, seconds):
    server.post("/local/clock", {"advance": seconds})


def marked(text, ttl=None, mark=True):
    return {
        "type": "text",
        "text": text,
        **({"cache_control": {"type": "ephemeral", "ttl": ttl or "5m"}} if mark else {}),
    }


def system(ttl=None):
    return [marked(LONG, ttl)]


def user(content="Hello."):
    return [{"role": "user", "content": content}]


def figures(usage):
    """All input tokens, those read and those written, of any provider's usage, as it stands in JSON."""
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    if details:
        total = usage.get("prompt_tokens") or usage.get("input_tokens")
        return total, details["cached_tokens"], details["cache_write_tokens"]
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    assert sum(usage["cache_creation"].values()) == written
    return usage["input_tokens"] + read + written, read, written


@pytest.fixture
def message(server):
    """Ask Anthropic, and see the usage."""

    def ask(**params):
        given = {"model": HAIKU, "max_tokens": 50, "messages": user(), **params}
        return server.anthropic.messages.create(**given).usage.model_dump()

    return ask


@pytest.fixture
def chat(server):
    """Ask for a chat completion, and see the usage."""

    def ask(content=LONG, model=OLD, before=(), **body):
        asked = [*before, *user(content)]
        return server.openai.chat.completions.create(model=model, messages=asked, **body).usage.model_dump()

    return ask


@pytest.fixture
def response(server):
    """Ask for a response, and see the usage."""

    def ask(content=LONG, model=NEW, **body):
        given = content if isinstance(content, str) else user(content)
        return server.openai.responses.create(model=model, input=given, **body).usage.model_dump()

    return ask


def test_a_marked_system_is_written_and_then_read(message):
    first, second = message(system=system()), message(system=system(), messages=user("Something else."))
    assert figures(first) == (TOKENS + 2, 0, TOKENS)
    assert figures(second) == (TOKENS + 4, TOKENS, 0)
    assert second["input_tokens"] == 4


def test_without_a_mark_nothing_is_read_or_written(message):
    assert figures(message(system=LONG)) == (TOKENS + 2, 0, 0)
    assert figures(message(system=system())) == (TOKENS + 2, 0, TOKENS)
    assert figures(message(system=LONG)) == (TOKENS + 2, 0, 0)


def test_a_mark_at_the_top_is_that_of_the_last_block(message):
    ask = {"system": LONG, "cache_control": {"type": "ephemeral"}}
    assert figures(message(**ask)) == (TOKENS + 2, 0, TOKENS + 2)
    assert figures(message(system=LONG, messages=user([marked("Hello.")]))) == (TOKENS + 2, TOKENS + 2, 0)


def test_what_follows_a_beginning_that_is_read_is_written_for_the_life_of_its_mark(message):
    message(system=system("1h"))
    longer = message(system=system("1h"), messages=user([marked(LONG), marked("Now?", mark=False)]))
    assert figures(longer) == (2 * TOKENS + 2, TOKENS, TOKENS)
    assert longer["cache_creation"] == {"ephemeral_5m_input_tokens": TOKENS, "ephemeral_1h_input_tokens": 0}


def test_a_conversation_goes_on_where_its_last_turn_was_kept(message):
    turn = user([marked(LONG)])
    message(messages=turn)
    went_on = [*user(LONG), {"role": "assistant", "content": "Yes."}, *user([marked("And then?")])]
    assert figures(message(messages=went_on)) == (TOKENS + 4, TOKENS, 4)


@pytest.mark.parametrize(("ttl", "seconds"), [("5m", 300), ("1h", 3_600)])
def test_what_is_kept_lives_on_with_each_read(server, message, ttl, seconds):
    written = message(system=system(ttl))
    assert written["cache_creation"][f"ephemeral_{ttl}_input_tokens"] == TOKENS
    for _ in range(2):
        later(server, seconds - 1)
        assert figures(message(system=system(ttl)))[1:] == (TOKENS, 0)
    later(server, seconds + 1)
    assert figures(message(system=system(ttl)))[1:] == (0, TOKENS)


def test_another_model_or_another_text_reads_nothing(message):
    message(system=system())
    assert figures(message(system=system(), model="claude-sonnet-5-5"))[1] == 0
    assert figures(message(system=[marked("No. " + LONG)]))[1] == 0


def test_a_beginning_that_is_too_short_is_not_kept(server, message):
    server.post("/local/settings", {"anthropic_cache_minimum_tokens": TOKENS + 1})
    assert [figures(message(system=system()))[1:] for _ in range(2)] == [(0, 0)] * 2
    server.post("/local/settings", {"anthropic_cache_minimum_tokens": TOKENS})
    assert figures(message(system=system()))[1:] == (0, TOKENS)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"system": [{**marked(LONG), "cache_control": {"type": "lasting"}}]}, "'ephemeral'"),
        ({"system": [{**marked(LONG), "cache_control": {"type": "ephemeral", "ttl": "2h"}}]}, "'5m' or '1h'"),
        ({"messages": user([marked("a")] * 5)}, "maximum of 4 blocks"),
        (
            {"messages": user([marked("a")] * 4 + [marked("b", mark=False)]), "cache_control": {"type": "ephemeral"}},
            "Found 5",
        ),
        ({"system": system("5m"), "messages": user([marked("a", "1h")])}, "must not come after"),
        ({"messages": user([marked("")])}, "empty text blocks"),
    ],
)
def test_marks_that_cannot_be_are_refused(message, params, said):
    with pytest.raises(anthropic.BadRequestError, match=said) as refused:
        message(**params)
    assert refused.value.body["error"]["type"] == "invalid_request_error"


def test_a_batch_of_messages_reads_what_its_first_one_wrote(server, messages):
    batch = server.send(messages(5, system=system("1h")))
    later(server, 10)
    usages = [result.message.usage for result in server.results(batch.id).values()]
    assert sorted(usage.cache_read_input_tokens for usage in usages) == [0] + [TOKENS] * 4
    assert sum(usage.cache_creation.ephemeral_1h_input_tokens for usage in usages) == TOKENS


def test_an_older_model_reads_in_steps_of_128_tokens_and_tells_nothing_of_writing(chat):
    assert figures(chat(LONG + "One question.")) == (TOKENS + 4, 0, 0)
    assert figures(chat(LONG + "Two questions.")) == (TOKENS + 4, 1_152, 0)
    assert figures(chat(LONG[:4_090], before=[])) == (1_023, 0, 0)
    assert figures(chat("Not so. " + LONG))[1] == 0


def test_instructions_are_the_same_prompt_as_a_developer_message_of_blocks(server, chat, response):
    response("Hello.", model=OLD, instructions=LONG)
    developer = {"role": "developer", "content": [{"type": "text", "text": LONG}]}
    assert figures(chat("What?", before=[developer]))[1] == 1_152
    assert figures(chat("What?", before=[{"role": "user", "content": LONG}]))[1] == 0


def test_only_the_same_model_and_key_share_a_prompt(chat):
    chat(prompt_cache_key="a")
    assert [figures(chat(**more))[1] for more in ({}, {"prompt_cache_key": "b"}, {"model": "gpt-5.4"})] == [0, 0, 0]
    assert figures(chat(prompt_cache_key="a"))[1] == 1_152


def test_a_prompt_of_openai_is_kept_for_half_an_hour(server, chat):
    chat()
    for wait, read in ((1_799, 1_152), (1_799, 1_152), (1_801, 0)):
        later(server, wait)
        assert figures(chat())[1] == read


@pytest.mark.parametrize(
    ("hints", "param"),
    [
        ({"prompt_cache_options": {"mode": "implicit"}}, "prompt_cache_options"),
        ({"content": [{"type": "text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
         "prompt_cache_breakpoint"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4.1-mini", "gpt-5", "gpt-5.4-mini", "gpt-5.5", "o3"])
def test_an_older_model_takes_no_hints_but_the_key(chat, hints, param, model):
    with pytest.raises(openai.BadRequestError) as refused:
        chat(model=model, **hints)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", param)


@pytest.mark.parametrize("model", ["gpt-5.6-sol", "gpt-5.10", "gpt-6-luna", "gpt-6.1-terra"])
def test_a_newer_model_tells_what_it_writes(chat, model):
    assert figures(chat(LONG + "One question.", model=model)) == (TOKENS + 4, 0, 1_152)
    assert figures(chat(LONG + "Two questions." + " " * 600, model=model)) == (1_429, 1_152, 256)


def part(text, ttl=None, kind="input_text"):
    return {
        "type": kind,
        "text": text,
        "prompt_cache_breakpoint": {"mode": "explicit", **({"ttl": ttl} if ttl else {})},
    }


def test_an_explicit_place_is_not_rounded_and_the_end_is_one_besides(response):
    asked = [part(LONG), {"type": "input_text", "text": "x" * 798}]
    assert figures(response(asked)) == (1_475, 0, 1_408)
    asked[1]["text"] = "y" * 798
    assert figures(response(asked)) == (1_475, TOKENS, 1_408 - TOKENS)


def test_explicit_mode_keeps_nothing_but_what_is_marked(response):
    explicit = {"prompt_cache_options": {"mode": "explicit"}}
    assert [figures(response(**explicit))[1:] for _ in range(2)] == [(0, 0)] * 2
    asked = [part(LONG), {"type": "input_text", "text": LONG}]
    assert [figures(response(asked, **explicit))[1:] for _ in range(2)] == [(0, TOKENS), (TOKENS, 0)]


def test_lives_are_told_apart_in_responses(server, response):
    usage = response([part(LONG, "12h"), {"type": "input_text", "text": LONG}])
    assert usage["input_tokens_details"]["cache_write_tokens_details"] == {
        "ttl_12h_tokens": TOKENS, "ttl_30m_tokens": 2_432 - TOKENS
    }  # fmt: skip
    later(server, 43_000)
    usage = response([part(LONG), {"type": "input_text", "text": "No. " + LONG}], prompt_cache_options={"ttl": "12h"})
    assert figures(usage)[1] == TOKENS
    assert usage["input_tokens_details"]["cache_write_tokens_details"]["ttl_30m_tokens"] == 0


def test_of_many_places_the_last_four_are_written(response):
    explicit = {"prompt_cache_options": {"mode": "explicit"}}
    parts = [part(f"{number} " + LONG) for number in range(6)]
    ends = [-(-len("\n\n".join(each["text"] for each in parts[: count + 1])) // 4) for count in range(6)]
    assert figures(response(parts, **explicit))[1:] == (0, ends[5])
    assert figures(response(parts[:2], **explicit))[1] == 0
    assert figures(response(parts[:3], **explicit))[1] == ends[2]


@pytest.mark.parametrize(
    ("hints", "param"),
    [
        ({"prompt_cache_options": {"ttl": "12h"}}, "prompt_cache_options.ttl"),
        ({"prompt_cache_options": {"mode": "never"}}, "prompt_cache_options.mode"),
        ({"prompt_cache_options": "explicit"}, "prompt_cache_options"),
        ({"content": [part("Hi", "12h", kind="text")]}, "prompt_cache_breakpoint.ttl"),
        ({"prompt_cache_key": 5}, "prompt_cache_key"),
    ],
)
def test_hints_that_cannot_be_are_refused(chat, hints, param):
    with pytest.raises(openai.BadRequestError) as refused:
        chat(model=NEW, **hints)
    assert refused.value.param == param


def test_a_batch_of_chats_reads_and_says_so_in_sum(server, chats):
    batch = server.submit(chats(4, messages=[{"role": "system", "content": LONG}, *user()], model=NEW))
    later(server, 10)
    batch = server.ended(batch.id)
    read = [figures(line["response"]["body"]["usage"])[1:] for line in server.output(batch)]
    assert sorted(read) == [(0, 1_152)] + [(1_152, 0)] * 3
    assert batch.usage.input_tokens_details.cached_tokens == 3 * 1_152
    [of_model] = server.get("/local/tally")["openai"]["by_model"].values()
    assert (of_model["cache_read_tokens"], of_model["cache_write_tokens"]) == (3 * 1_152, 1_152)


def test_embeddings_are_not_cached(server):
    for _ in range(2):
        server.openai.embeddings.create(model="text-embedding-3-small", input=LONG)
    tally = server.get("/local/tally")["openai"]
    assert (tally["cache_read_tokens"], tally["input_tokens"]) == (0, 2 * TOKENS)


def test_a_reset_empties_the_cache(server, message, chat):
    message(system=system()), chat()
    server.post("/local/reset")
    assert (figures(message(system=system()))[1], figures(chat())[1]) == (0, 0)


def test_a_share_of_hits_misses_and_those_write_again(server, message):
    server.post("/local/settings", {"cache_hit_share": 0.5})
    message(system=system())

    def asked():
        return [figures(message(system=system(), messages=user(f"Say {number}.")))[1:] for number in range(40)]

    first = asked()
    assert first == asked()
    assert set(first) == {(0, TOKENS), (TOKENS, 0)}
    assert 10 < first.count((0, TOKENS)) < 30


def test_hints_change_neither_the_answer_nor_its_tokens_nor_which_request_it_is(server):
    server.post("/local/settings", {"answers": "wordllama"})

    def told(**params):
        given = {"model": HAIKU, "max_tokens": 300, "messages": user("It rained all day. The river rose."), **params}
        answer = server.anthropic.messages.create(**given)
        return answer.content[0].text, figures(answer.usage.model_dump())[0]

    plain = told(system=LONG)
    assert told(system=system()) == told(system=[marked(LONG, mark=False)]) == plain
    assert told(system=LONG, cache_control={"type": "ephemeral"}) == plain
    assert told(system=LONG, messages=user([marked("It rained all day. The river rose.")])) == plain
    [entry] = server.get("/local/tally/requests")["requests"]
    assert entry["answered"] == 5


def test_hints_of_openai_do_not_tell_requests_apart(server, response):
    response("Hello.", prompt_cache_key="a")
    response("Hello.", prompt_cache_options={"mode": "explicit", "ttl": "12h"})
    response([{"type": "input_text", "text": "Hello."}])
    response([part("Hello.")])
    assert [entry["answered"] for entry in server.get("/local/tally/requests")["requests"]] == [2, 2]


def test_a_name_that_looks_like_a_hint_tells_requests_apart_elsewhere(server):
    for name in ("cache_control", "other"):
        schema = {"type": "object", "properties": {name: {"type": "boolean"}}, "required": [name],
                  "additionalProperties": False}  # fmt: skip
        wanted = {"format": {"type": "json_schema", "schema": schema}}
        for hint in ({}, {"cache_control": {"type": "ephemeral"}}):
            server.anthropic.messages.create(model=HAIKU, max_tokens=50, messages=user(), output_config=wanted, **hint)
    assert [entry["answered"] for entry in server.get("/local/tally/requests")["requests"]] == [2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cache_hit_share": 1.1}, "between 0 and 1"),
        ({"openai_cache_minimum_tokens": 0.5}, "whole number"),
        ({"anthropic_cache_minimum_tokens": -1}, "0 or more"),
    ],
)
def test_a_setting_of_the_cache_that_cannot_be_is_refused(server, changes, message):
    status, _, said = server.raw("POST", "/local/settings", json.dumps(changes).encode())
    assert (status, message in said.decode()) == (400, True)
