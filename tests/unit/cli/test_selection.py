"""Which assets `offpeak up` materialises."""

import pytest

from offpeak.cli.selection import choose, without_key
from offpeak.cli.webserver import AssetNode
from offpeak.errors import ConfigurationError


def node(name: str, *kinds: str, reads: tuple[str, ...] = (), materializable: bool = True) -> AssetNode:
    return AssetNode(
        path=tuple(name.split("/")),
        repository="__repository__",
        location="offpeak",
        materializable=materializable,
        kinds=kinds,
        dependencies=reads,
        newest_partition=None,
        partitioned=False,
    )


TICKETS = node("tickets", materializable=False)
LABELS = node("labels", "offpeak", "anthropic", reads=("tickets",))
VECTORS = node("vectors", "offpeak", "openai")
DASHBOARD = node("dashboard", "pandas", reads=("labels",))
SLIDES = node("slides", reads=("dashboard",))
ALL = [TICKETS, LABELS, VECTORS, DASHBOARD, SLIDES]


def test_all_leaves_out_what_cannot_be_materialised() -> None:
    assert choose(ALL, [], every=True) == [LABELS, VECTORS, DASHBOARD, SLIDES]


def test_an_asset_named_twice_is_chosen_once() -> None:
    assert choose(ALL, ["vectors", "labels", "vectors"], every=False) == [VECTORS, LABELS]


def test_an_unknown_asset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"called lables, .*dashboard, labels, slides, vectors"):
        choose(ALL, ["lables", "vectors"], every=False)


def test_with_one_key_the_other_providers_assets_are_left_out_and_what_reads_them() -> None:
    assert without_key(ALL, {"OPENAI_API_KEY": "k"}) == {
        "labels": "ANTHROPIC_API_KEY is not set",
        "dashboard": "it reads labels",
        "slides": "it reads dashboard",
    }


def test_with_both_keys_nothing_is_left_out() -> None:
    assert without_key(ALL, {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}) == {}


def test_a_blank_key_is_no_key() -> None:
    assert "vectors" in without_key(ALL, {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "k"})
