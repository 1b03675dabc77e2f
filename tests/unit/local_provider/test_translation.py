"""Translations: asked for in words, given word by word, with the text's structure kept."""

import pytest

TEXT = """\
# The class

1. Open the calendar, press New.
2. See https://example.com/class and studio@example.com

  - 14 seats
"""


@pytest.fixture(autouse=True)
def sensible(server):
    server.post("/local/settings", {"answers": "wordllama"})


def answer(server, system, text=TEXT):
    return (
        server.anthropic.messages.create(
            model="claude-haiku-5-5", max_tokens=500, system=system, messages=[{"role": "user", "content": text}]
        )
        .content[0]
        .text
    )


@pytest.mark.parametrize(
    ("language", "heading"),
    [("German", "# Die Kurs"), ("French", "# Le cours"), ("Spanish", "# El clase"), ("Japanese", "# クラス")],
)
def test_a_translation_is_of_the_language_that_is_asked_for_and_keeps_the_structure(server, language, heading):
    given = answer(server, f"You translate texts. Translate this politely into {language}, for readers there.")
    lines = given.splitlines()
    assert lines[0] == heading
    assert [line[:3] for line in lines[2:4]] == ["1. ", "2. "]
    assert lines[5].startswith("  - 14 ")
    assert "https://example.com/class" in given
    assert "studio@example.com" in given


def test_the_question_itself_may_ask_for_it(server):
    assert answer(server, "Be brief.", "Please translate to Spanish: the class").endswith("el clase")


def test_a_language_that_is_only_named_asks_for_nothing(server):
    given = answer(server, "Translate nothing. The text came from a German customer. Reply to it.")
    assert "Kurs" not in given
