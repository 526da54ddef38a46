"""The kinds of targets: ids, and descriptions whose names can be loaded."""

from importlib import import_module

import pytest

from hookkeeper.kind import Items, load
from hookkeeper.kinds import KINDS, LISTS, URL, kind_of


@pytest.mark.parametrize(
    ("target_id", "kind"),
    [
        ("wh_1", "webhook"),
        ("wh_1.email.2", "email"),
        ("wh_1.notification.1", "notification"),
        ("wh_1.gone.1", "webhook"),
    ],
)
def test_an_id_names_the_kind(target_id: str, kind: str) -> None:
    assert kind_of(target_id) is KINDS[kind]


def test_names_fields_and_activities_are_distinct() -> None:
    kinds = KINDS.values()
    for names in ([kind.name for kind in kinds], [kind.field for kind in kinds], [kind.activity for kind in kinds]):
        assert len(set(names)) == len(kinds)
    assert [kind for kind in kinds if not kind.items] == [URL]


@pytest.mark.parametrize("items", [items for _, items in LISTS])
def test_each_name_of_a_description_can_be_loaded(items: Items) -> None:
    names = (items.model, items.check, items.render, *items.rendered, items.sender, items.preview)
    for name in (*names, *filter(None, (items.faults, items.masked, items.unmasked))):
        assert callable(load(name)), name
    words = import_module(items.words)
    assert words.read.__doc__ and callable(words.write)


@pytest.mark.parametrize(
    ("channel", "targets", "shown"),
    [
        ("email", ["a@a.example"], "email to a@a.example"),
        ("notification", ["slack", "teams"], "2 notifications: slack; teams"),
    ],
)
def test_an_attempt_is_described(channel: str, targets: list[str], shown: str) -> None:
    assert KINDS[channel].shown(targets) == shown
