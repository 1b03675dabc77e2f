"""The page on lanes is what the rule answers today."""

from offpeak.lanes.rule import decide
from scripts.write_lanes_page import TARGET, cases, lanes_page


def test_the_page_on_lanes_is_what_the_rule_says_today() -> None:
    assert TARGET.read_text(encoding="utf-8") == lanes_page(), "run `make docs`"


def test_the_table_has_both_lanes_and_no_line_twice() -> None:
    lines = [(each.facts, each.past) for each in cases()]

    assert {decide(facts).lane.value for facts, _ in lines} == {"batch", "background"}
    assert all(lines.count(line) == 1 for line in lines)
