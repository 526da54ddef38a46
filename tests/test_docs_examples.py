"""Commands, JSON, routes and settings that the documentation shows are ones that the code accepts."""

import json
import re
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel
from typer.main import get_command

from api.app import bare_app
from hookkeeper import temporal_names
from hookkeeper.cli.main import app
from hookkeeper.command_rules import Command
from hookkeeper.content import emails, filters, notifications, payload
from hookkeeper.content.context import OutgoingEvent, WebhookContext, context_of
from hookkeeper.content.payload import body_of
from hookkeeper.services.event_types import NewEventType
from hookkeeper.services.new_event import NewEvent
from hookkeeper.services.portal_links import NewPortalLink
from hookkeeper.services.schedule_fields import NewSchedule
from hookkeeper.services.webhook_fields import NewWebhook
from hookkeeper.settings import Settings
from test_docs import PAGES, ROOT, SETTINGS
from worker import WORKFLOWS

TEXTS = {path: path.read_text() for path in PAGES}
CLIENT_VARIABLES = {"HOOKKEEPER_URL", "HOOKKEEPER_API_KEY"}
COMPOSE_VARIABLES = {"HOOKKEEPER_VERSION"}
ROUTES: dict[str, type[BaseModel]] = {
    "/v1/events": NewEvent,
    "/v1/event-types": NewEventType,
    "/v1/portal-links": NewPortalLink,
    "/v1/schedules": NewSchedule,
    "/v1/webhooks": NewWebhook,
}
DELIVERED = ["id", "type", "timestamp", "data"]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str) -> Iterator[str]:
    """Yield the lines of indented code, with continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("    ") and not line.strip().startswith("#"):
            yield line.strip()


def inline(text: str) -> Iterator[str]:
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def found(pattern: str) -> list[Any]:
    return [
        pytest.param(match, id=f"{named(path)}: {match}")
        for path, text in TEXTS.items()
        for match in dict.fromkeys(re.findall(pattern, text))
    ]


def json_examples() -> list[Any]:
    """Return each JSON block of all pages."""
    return [
        pytest.param(block, id=f"{named(path)}-{number}")
        for path, text in TEXTS.items()
        for number, block in enumerate(re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL), 1)
    ]


def model_of(value: dict[str, Any]) -> type[BaseModel]:
    """Tell by its fields what a request creates."""
    if "event" in value:
        return NewSchedule
    if "schema" in value:
        return NewEventType
    return NewEvent if "type" in value else NewWebhook


@pytest.mark.parametrize("example", json_examples())
def test_json_is_a_valid_request_or_what_is_delivered(example: str) -> None:
    value = json.loads(example)
    if list(value) == DELIVERED:
        sent = OutgoingEvent(**{"tenant": "", **value, "timestamp": datetime.fromisoformat(value["timestamp"])})
        assert json.loads(body_of(None, context_of(sent, WebhookContext("wh_1"))).content) == value
        return
    request = model_of(value).model_validate(value)
    if isinstance(request, NewWebhook):
        check_templates(request)


def check_templates(webhook: NewWebhook) -> None:
    if webhook.payload:
        payload.check(webhook.payload)
    if webhook.filter:
        filters.check(webhook.filter)
    for email in webhook.emails:
        emails.check(email)
    for notification in webhook.notifications:
        notifications.check(notification)


def curl_examples() -> list[Any]:
    return [
        pytest.param(line, id=f"{named(path)}-{number}")
        for path, text in TEXTS.items()
        for number, line in enumerate((line for line in blocks(text) if line.startswith("curl ")), 1)
    ]


@pytest.mark.parametrize("line", curl_examples())
def test_curl_sends_a_valid_request(line: str) -> None:
    words = shlex.split(line)
    path = next(word for word in words if word.startswith("localhost:8080")).removeprefix("localhost:8080")
    if "-d" in words:
        ROUTES[path].model_validate_json(words[words.index("-d") + 1])
    else:
        assert path in bare_app(SETTINGS).openapi()["paths"]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that these words name, and its arguments."""
    command: Any = get_command(app)
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, " ".join(words)
        command = command.commands[rest.pop(0)]
    return command, rest


def hookkeeper_lines(of: Any) -> list[Any]:
    lines = [(path, line.removeprefix(".venv/bin/")) for path, text in TEXTS.items() for line in of(text)]
    return [pytest.param(line, id=f"{named(path)}: {line}") for path, line in lines if line.startswith("hookkeeper ")]


@pytest.mark.parametrize("line", hookkeeper_lines(blocks))
def test_commands_in_blocks_parse(line: str) -> None:
    command, rest = command_of(shlex.split(line, comments=True))
    command.make_context("hookkeeper", rest).close()


@pytest.mark.parametrize("line", hookkeeper_lines(inline))
def test_commands_in_text_name_commands_and_options(line: str) -> None:
    command, rest = command_of(shlex.split(line))
    options = {
        name for option in command.get_params(typer.Context(command)) for name in (*option.opts, *option.secondary_opts)
    } | {"--help"}
    assert {word for word in rest if word.startswith("--")} <= options


@pytest.mark.parametrize("target", found(r"\bmake ([a-z]+)\b(?=`|    |$| [A-Z_]+=)"))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", found(r"\bHOOKKEEPER_[A-Z_]+\b"))
def test_settings_exist(name: str) -> None:
    known = {f"HOOKKEEPER_{field}".upper() for field in Settings.model_fields}
    assert name in known | CLIENT_VARIABLES | COMPOSE_VARIABLES


def test_routes_exist() -> None:
    paths = bare_app(SETTINGS).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    for path, text in TEXTS.items():
        for route in re.findall(r"`((?:GET|POST|PATCH|DELETE) /[\w/{}.-]+)", text):
            assert route in served, f"{named(path)}: {route}"


@pytest.mark.parametrize("name", found(r"temporal workflow signal .* --name (\w+)"))
def test_signals_exist(name: str) -> None:
    assert name in set(get_args(Command)) - {"redeliver"}  # tests/workflows/test_names_on_the_wire.py: a run has these


@pytest.mark.parametrize("name", found(r"`(Hook[A-Z]\w+)`"))
def test_search_attributes_exist(name: str) -> None:
    assert name in temporal_names.SEARCH_ATTRIBUTES


@pytest.mark.parametrize("name", found(r"`(\w+Workflow)`"))
def test_workflow_types_exist(name: str) -> None:
    assert name in {workflow.__name__ for workflow in WORKFLOWS}
