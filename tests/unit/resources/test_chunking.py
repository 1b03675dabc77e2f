"""How a document is divided, and what an edit changes."""

from resources.chunking import LONGEST, OVERLAP, chunks, document_of

FIRST = "The first paragraph says something of some length about bees. It ends here, with the hive."
SECOND = "The second paragraph goes on about the meadow in which the bees collect what they need. It ends there."
THIRD = "The third paragraph is about the mill behind the meadow, which has not turned for forty years. It is old."


def pieces(*paragraphs: str) -> list[tuple[str, str]]:
    return list(chunks("D-1", "Bees", "\n\n".join(paragraphs)))


def test_each_paragraph_is_a_chunk_that_begins_with_the_title_and_the_sentence_before() -> None:
    assert [text for _, text in pieces(FIRST, SECOND)] == [
        f"Bees\n\n{FIRST}",
        f"Bees\n\nIt ends here, with the hive. {SECOND}",
    ]


def test_an_edit_changes_its_own_chunk_and_no_other() -> None:
    before, after = pieces(FIRST, SECOND, THIRD), pieces(FIRST, SECOND.replace("meadow", "garden"), THIRD)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


def test_an_edit_of_the_last_sentence_changes_the_next_chunk_too() -> None:
    before, after = pieces(FIRST, SECOND, THIRD), pieces(FIRST.replace("the hive", "a queen"), SECOND, THIRD)
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]


def test_a_paragraph_at_the_front_renames_none_of_the_others_but_the_next() -> None:
    before, after = pieces(FIRST, SECOND, THIRD), pieces(THIRD, FIRST, SECOND, THIRD)
    assert after[2:] == before[1:]
    assert before[0] not in after


def test_another_text_never_has_the_key_of_the_one_before() -> None:
    assert {key for key, _ in pieces(FIRST)}.isdisjoint(key for key, _ in pieces(FIRST + " More."))
    assert document_of(pieces(FIRST)[0][0]) == "D-1"
    assert document_of("guide/how#to.md#0123456789") == "guide/how#to.md"


def test_the_same_text_twice_in_a_document_has_two_keys() -> None:
    (_, one), (_, other), (_, third) = pieces(FIRST, FIRST, FIRST)
    assert other == third != one
    assert len({key for key, _ in pieces(FIRST, FIRST, FIRST)}) == 3


def test_a_heading_goes_with_what_follows_and_a_short_end_stands_alone() -> None:
    texts = [text for _, text in pieces("# Honey", FIRST, "The end.")]
    assert texts[0] == f"Bees\n\n# Honey\n{FIRST}"
    assert texts[1].endswith("The end.")
    assert len(texts) == 2


def test_a_long_paragraph_is_divided_between_sentences_and_nothing_is_lost() -> None:
    sentences = [f"Sentence number {number} is one of very many in here." for number in range(200)]
    found = [text for _, text in pieces(" ".join(sentences))]
    assert len(found) > 3
    assert all(len(text) <= LONGEST + OVERLAP + len("Bees\n\n ") for text in found)
    assert all(any(sentence in text for text in found) for sentence in sentences)


def test_a_text_without_sentences_is_divided_all_the_same() -> None:
    found = [text for _, text in pieces("x" * (2 * LONGEST + 5))]
    assert len(found) == 3
    assert all(len(text) <= LONGEST + OVERLAP + len("Bees\n\n ") for text in found)


def test_an_empty_body_has_no_chunks() -> None:
    assert pieces("", "  ") == []
