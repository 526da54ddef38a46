"""The map of cells, and which move it allows."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from extensions.cells import cell_map
from extensions.cells.access import MoveFailed, settings_of
from extensions.cells.cell_map import BadCellMap, Place
from extensions.cells.move import left_cell
from hookkeeper.times import utc_now

SOON = timedelta(hours=1)


def test_earlier_cells_are_asked_until_their_time_the_latest_first() -> None:
    now = utc_now()
    previous = {"over": now - SOON, "first": now + SOON, "second": now + 2 * SOON}
    assert Place(cell="now", previous=previous).earlier() == ["second", "first"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "JSON"),
        ('{"cells": {"a": {"url": "http://a"}}, "default": "b"}', "the default is b"),
        (json.dumps({"cells": {"a": {"url": "http://a"}}, "default": "a", "tenants": {"t": {"cell": "c"}}}), "in c"),
        ('{"cells": {"a": {"url": "ftp://a"}}, "default": "a"}', "cells.a.url"),
        ('{"cells": {"a": {"url": "http://a"}}, "default": "a", "tenant": {}}', "tenant"),
    ],
)
def test_a_map_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "cells.json"
    path.write_text(text)
    with pytest.raises(BadCellMap, match=reason):
        cell_map.read(path)


@pytest.mark.parametrize(
    ("place", "to", "left"),
    [
        ({"cell": "a"}, "b", "a"),
        ({"cell": "a"}, "a", None),
        ({"cell": "a", "moving_to": "b"}, "b", "a"),
        ({"cell": "a", "moving_to": "b"}, "a", "a"),
        ({"cell": "b", "draining": "a"}, "b", "a"),
    ],
)
def test_a_move_goes_on_where_it_was_left(place: dict[str, Any], to: str, left: str | None) -> None:
    """One that has just begun is taken back with the present cell."""
    assert left_cell(Place(**place), to) == left


@pytest.mark.parametrize(
    "place", [{"cell": "a", "moving_to": "c"}, {"cell": "a", "draining": "c"}, {"cell": "a", "draining": "b"}]
)
def test_a_second_move_waits_for_the_end_of_the_first(place: dict[str, Any]) -> None:
    with pytest.raises(MoveFailed, match="--to a"):
        left_cell(Place(**place), "b")


@pytest.mark.parametrize("name", ["missing.env", "."])
def test_settings_that_are_not_in_a_file_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MoveFailed, match=f"no file at {tmp_path / name}"):
        settings_of(tmp_path / name)


def test_the_settings_of_a_cell_are_those_of_its_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command may run in the environment of another cell."""
    monkeypatch.setenv("HOOKKEEPER_ENCRYPTION_KEYS", "of-another-cell")
    monkeypatch.setenv("HOOKKEEPER_DATABASE_URL", "sqlite+aiosqlite:///another.db")
    env_file = tmp_path / "a.env"
    env_file.write_text("HOOKKEEPER_DATABASE_URL='sqlite+aiosqlite:///own.db'\nTEMPORAL_ADDRESS=temporal:7233\n")
    settings = settings_of(env_file)
    assert (settings.database_url, settings.encryption_keys) == ("sqlite+aiosqlite:///own.db", None)
