"""Which cases `make test` runs: those that are pure, and those that hold a promise. `make test-all` runs all.

A case is pure if it needs nothing but its own process. Any other says with its fixtures what it needs; where it starts
a server or a process by itself, with its folder or the marker `processes`. It belongs to `make test` if it is marked
with the page of the docs that says the same: `@pytest.mark.promise("docs/retries.md")`.
"""

from pathlib import Path

import pytest

NEEDED = {"temporal", "postgres", "chromium"}
"""The fixtures of what is outside of a case's process: each other one takes them."""
OUTSIDE = [Path(__file__).parent / folder for folder in ("e2e", "more")]
"""Folders whose cases start processes, or take long for what few changes touch."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and _is_pure(item):
            item.add_marker("pure")


def _is_pure(case: pytest.Function) -> bool:
    needed = set(case.fixturenames)
    if hasattr(case, "callspec"):
        needed.update(value for value in case.callspec.params.values() if isinstance(value, str))  # `database_url`
    is_outside = any(case.path.is_relative_to(folder) for folder in OUTSIDE)
    return not (NEEDED & needed or is_outside or case.get_closest_marker("processes"))
