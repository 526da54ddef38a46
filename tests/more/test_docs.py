"""The documentation matches the code: settings, routes, commands, named files, links, and limits."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr
from pydantic_core import to_jsonable_python
from typer.main import get_command

from api.app import bare_app
from cli.main import app
from extensions.forwarding.addresses import REQUESTS, WAITING
from hookkeeper.causes import CAUSES
from hookkeeper.messages.event import Reason
from hookkeeper.settings import Settings
from hookkeeper.statuses import DeliveryStatus, EventStatus
from hookkeeper.tenant_limits import TABLE, Rate, Slots

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(admin_key=SecretStr("a-key-for-tests-only"))


def rows(page: str) -> dict[str, list[str]]:
    """Return the table of a page in docs/: the code in its first column, and the other columns."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {line[0].strip().strip("`"): [cell.strip() for cell in line[1:]] for line in lines}


def shown(value: Any) -> str:
    if value in (None, ()):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        value = ",".join(value)
    return f"`{to_jsonable_python(value) if isinstance(value, timedelta) else value}`"


def test_each_setting_is_documented() -> None:
    described = {
        f"HOOKKEEPER_{name.upper()}": [shown(field.default), field.description]
        for name, field in Settings.model_fields.items()
    }
    assert rows("settings") == described


def test_each_cause_of_failure_is_documented() -> None:
    text = (
        (ROOT / "docs/troubleshooting.md").read_text().partition("\n## Errors of attempts\n")[2].partition("\n## ")[0]
    )
    documented = [line.strip("| ").split(" | ")[1:] for line in text.splitlines() if line.startswith("| `")][1:]
    assert documented == [[cause.sentence, cause.remedy] for cause in CAUSES]


def test_each_route_is_documented() -> None:
    paths = bare_app(SETTINGS).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(rows("api")) == served


def test_every_operation_is_described() -> None:
    paths = bare_app(SETTINGS).openapi()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path}"


def test_each_command_is_documented() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    table = rows("command-line")
    assert set(table) == {f"hookkeeper {name}" for name in commands}
    for group in ("events", "schedules", "webhooks", "recoveries", "event-types", "suppressions", "keys"):
        assert re.findall(r"`([a-z-]+)`", table[f"hookkeeper {group}"][0]) == sorted_as_in(group, commands)


def sorted_as_in(group: str, commands: dict[str, Any]) -> list[str]:
    """Return the group's commands in the order of the page, and any others after them."""
    named = re.findall(r"`([a-z-]+)`", rows("command-line")[f"hookkeeper {group}"][0])
    known = set(commands[group].commands)
    return [name for name in named if name in known] + sorted(known - set(named))


PAGES = [*sorted(ROOT.glob("docs/**/*.md")), *(ROOT / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_conflict_of_a_merge_is_left(path: Path) -> None:
    assert not re.search(r"^(<{7}|>{7}) ", path.read_text(), re.MULTILINE)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1300


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs name them."""
    headings = re.findall(r"^#+ (.+)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_and_files_that_docs_name_exist(path: Path) -> None:
    text = path.read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / link).exists(), link
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([\w-]+)\)", text):
        assert anchor in anchors(path.parent / link if link else path), f"{link}#{anchor}"
    for name in re.findall(r"`((?:api|workflows|activities|hookkeeper|tests|docs|drills)/[\w/]+\.\w+)", text):
        assert (ROOT / name).exists(), name
    for test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {test[1]}(" in (ROOT / test[0]).read_text(), test


def test_each_limit_by_tenant_has_a_row_with_its_test() -> None:
    header, _, *limits = [line for line in (ROOT / "docs/limits.md").read_text().splitlines() if line.startswith("|")]
    assert header.strip("| ").split(" | ")[-1] == "Test"
    for line in limits:
        assert re.search(r"\| `tests/[\w/]+\.py::\w+` \|$", line), line
    names = [f"HOOKKEEPER_{name.upper()}" for name in Settings.model_fields if "per_" in name]
    assert not [name for name in names if not any(f"`{name}`" in line for line in limits)]


@pytest.mark.parametrize("decision", sorted(ROOT.glob("docs/internals/decisions/0*.md")), ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts_on_a_page(decision: Path) -> None:
    text = decision.read_text()
    for part in ("Context.", "Decision.", "Consequences.", "Alternatives."):
        assert f"**{part}**" in text
    assert len(text.splitlines()) < 60


def test_every_status_and_reason_is_explained() -> None:
    pages = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in ("troubleshooting", "guarantees"))
    explained = {
        name for cell in re.findall(r"^\| (.*?) \|", pages, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert {*get_args(EventStatus), *get_args(DeliveryStatus), *get_args(Reason)} <= explained


@pytest.mark.parametrize("known", [*TABLE, WAITING, REQUESTS], ids=lambda known: known.what)
def test_each_limit_of_the_table_is_documented(known: Slots | Rate) -> None:
    """A row of docs/limits.md begins with the name of the limit, and has its numbers."""
    lines = [line.split("|") for line in (ROOT / "docs/limits.md").read_text().splitlines()]
    found = [line[2] for line in lines if len(line) > 2 and line[1].strip().startswith(known.what)]
    assert found, "the page has no such row"
    named = {int(number.replace(",", "")) for cell in found for number in re.findall(r"\d[\d,]*", cell)}
    bounds = {known.most} if isinstance(known, Slots) else {int(known.rate.partition("/")[0])}
    assert bounds <= named
