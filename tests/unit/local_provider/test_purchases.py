"""Each billed answer is listed, so that a bill can be added up apart from what the answers themselves say."""

import openai
import pytest

LONG = "All of this is said to every one. " * 150
NAMES = {
    "id", "provider", "model", "lane", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_long_tokens", "usable", "at", "custom_id",
}  # fmt: skip


def bought(server, query=""):
    return server.get(f"/local/tally/purchases{query}")["purchases"]


def test_every_lane_is_listed_in_the_order_of_buying(server, chats):
    server.post("/local/clock", {"now": 1_700_000_000})
    server.openai.responses.create(model="gpt-5-mini", input="Hello.", service_tier="flex")
    server.openai.embeddings.create(model="text-embedding-3-small", input="Hello.")
    server.post("/local/settings", {"results_order": "input"})
    batch = server.submit(chats(2))
    server.post("/local/clock", {"advance": 10})
    server.raw("DELETE", "/local/clock")
    listed = bought(server)
    assert all(set(each) == NAMES for each in listed)
    assert [(each["lane"], each["custom_id"]) for each in listed] == [
        ("flex", None), ("realtime", None), ("batch", "c0"), ("batch", "c1")
    ]  # fmt: skip
    assert [each["at"] for each in listed] == [1_700_000_000] * 2 + [1_700_000_010] * 2
    ids = [each["id"] for each in listed]
    assert ids == sorted(set(ids))
    usage = server.ended(batch.id).usage
    assert sum(each["input_tokens"] for each in listed[2:]) == usage.input_tokens
    assert sum(each["output_tokens"] for each in listed[2:]) == usage.output_tokens


def test_input_tokens_are_all_of_them_and_the_cache_is_told_apart(server, messages):
    kept = {"type": "ephemeral", "ttl": "1h"}
    ask = messages(3, system=[{"type": "text", "text": LONG, "cache_control": kept}])
    batch = server.message_ended(server.send(ask).id)
    usages = {name: result.message.usage for name, result in server.results(batch.id).items()}
    listed = bought(server)
    assert len(listed) == 3
    for each in listed:
        usage = usages[each["custom_id"]]
        read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
        assert each["input_tokens"] == usage.input_tokens + read + written
        assert (each["cache_read_tokens"], each["cache_write_tokens"]) == (read, written)
        assert each["cache_write_long_tokens"] == written
    tally = server.get("/local/tally")["anthropic"]
    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
        assert tally[name] == sum(each[name] for each in listed)
    assert (tally["cache_read_tokens"], tally["cache_write_tokens"]) == (2 * 1_275, 1_275)


def test_the_list_comes_in_pages(server, chats):
    server.landed(chats(5))
    page = server.get("/local/tally/purchases?limit=3")
    assert (len(page["purchases"]), page["has_more"]) == (3, True)
    rest = server.get(f"/local/tally/purchases?after={page['purchases'][-1]['id']}&limit=2")
    assert (len(rest["purchases"]), rest["has_more"]) == (2, False)
    assert {each["custom_id"] for each in page["purchases"] + rest["purchases"]} == {f"c{n}" for n in range(5)}
    assert server.get(f"/local/tally/purchases?after={rest['purchases'][-1]['id']}")["purchases"] == []
    assert server.raw("GET", "/local/tally/purchases?after=-1")[0] == 400


def test_only_what_is_billed_is_listed_usable_or_not(server, chats):
    server.post("/local/faults", [{"fault": "realtime_ghost_reset"}])
    with pytest.raises(openai.APIConnectionError):
        server.openai.responses.create(model="gpt-5-mini", input="Hello.")
    with pytest.raises(openai.BadRequestError):
        server.openai.responses.create(model="gpt-5-mini", input="Hello.", stream=True)
    server.landed(chats(1, "good") + chats(1, "bad", max_tokens=0) + chats(1, "cut", max_tokens=1))
    listed = {each["custom_id"]: each["usable"] for each in bought(server)}
    assert listed == {None: True, "good0": True, "cut0": False}


def test_a_reset_forgets_what_was_bought(server):
    server.openai.responses.create(model="gpt-5-mini", input="Hello.")
    [before] = bought(server)
    server.post("/local/reset")
    assert bought(server) == []
    server.openai.responses.create(model="gpt-5-mini", input="Hello.")
    [after] = bought(server)
    assert after["id"] > before["id"]


def test_what_was_bought_survives_an_orderly_restart(starting, tmp_path):
    options = ("--data", str(tmp_path / "data"))
    first = starting(*options)
    for _ in range(2):
        first.openai.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": LONG}])
    before, tally = bought(first), first.get("/local/tally")["openai"]["cache_read_tokens"]
    first.stop()
    second = starting(*options)
    assert len(before) == 2
    assert bought(second) == before
    assert second.get("/local/tally")["openai"]["cache_read_tokens"] == tally == 1_152
