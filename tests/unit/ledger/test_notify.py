"""`notify=` says who is told of what, and is refused where it says nothing."""

from typing import Any

import pytest

from offpeak import NoticeKind, Notify
from offpeak.errors import DefinitionError
from offpeak.ledger.notify import NEEDS_A_PERSON, declared_routes


def test_the_name_of_a_destination_is_told_all_that_needs_a_person() -> None:
    routes = declared_routes("labels", "support")
    assert {kind for kind in NoticeKind if routes.of(kind)} == NEEDS_A_PERSON
    assert routes.of(NoticeKind.FAILED) == ("support",)
    assert routes.of(NoticeKind.LANDED) == ()


def test_several_say_who_is_told_of_what_each_once() -> None:
    routes = declared_routes(
        "labels", [Notify(to=["support", "desk"], on={"landed"}), "ops", Notify(to="ops", on={NoticeKind.FAILED})]
    )
    assert routes.of(NoticeKind.LANDED) == ("support", "desk")
    assert routes.of(NoticeKind.FAILED) == ("ops",)
    assert routes.destinations == {"support", "desk", "ops"}


def test_nothing_tells_nobody() -> None:
    assert not declared_routes("labels", None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (7, "notify=7 tells nobody"),
        ({"to": "ops"}, "tells nobody"),
        ([], r"notify=\[\] is empty"),
        ("", "to='' names no destination"),
        (Notify(to=[]), r"to=\[\] names no destination"),
        (Notify(to="ops", on=set()), "is empty, so nobody is told of anything"),
        (Notify(to="ops", on={"deadline_mised"}), "on='deadline_mised' .* Did you mean deadline_missed"),
    ],
)
def test_what_tells_nobody_is_refused_naming_asset_and_field(given: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words) as refused:
        declared_routes("labels", given)
    assert str(refused.value).startswith("labels: notify")
