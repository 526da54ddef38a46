"""Commands, JSON, routes and settings that the documentation shows are ones that the code accepts."""

import importlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel
from typer.main import get_command

from api.app import bare_app
from cases import each
from cli.main import app
from extensions.cells.cell_map import Cell, CellMap
from hookkeeper import temporal_names
from hookkeeper.command_rules import Command
from hookkeeper.content import filters, payload
from hookkeeper.content.context import OutgoingEvent, WebhookContext, context_of
from hookkeeper.content.payload import body_of
from hookkeeper.kind import load
from hookkeeper.kinds import LISTS
from hookkeeper.services.catalogue.event_types import NewEventType
from hookkeeper.services.events.new_event import NewEvent
from hookkeeper.services.schedules.fields import NewSchedule
from hookkeeper.services.tenants.portal_links import NewPortalLink
from hookkeeper.services.webhooks.fields import NewWebhook
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
    """Yield the lines of indented code, which are commands, with continued lines joined. In code with a `$`, only lines
    with it are commands, and the others are output. All other code is in fences, with its language.
    """
    unfenced = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL).replace("\\\n", " ")
    for block in re.findall(r"(?:^    .+\n?)+", unfenced, re.MULTILINE):
        lines = [line.strip() for line in block.splitlines()]
        yield from (line for line in [line[2:] for line in lines if line.startswith("$ ")] or lines if line[0] != "#")


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
    """Tell by its fields what a request creates, or what is in a file."""
    if "cells" in value:
        return CellMap
    if "env_file" in value:
        return Cell
    if "event" in value:
        return NewSchedule
    if "schema" in value:
        return NewEventType
    return NewEvent if "type" in value else NewWebhook


@each("example", json_examples())
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
    for kind, items in LISTS:
        for item in getattr(webhook, kind.field):
            load(items.check)(item)


def curl_examples() -> list[Any]:
    return [
        pytest.param(line, id=f"{named(path)}-{number}")
        for path, text in TEXTS.items()
        for number, line in enumerate((line for line in blocks(text) if re.match("curl .*:8080", line)), 1)
    ]


@each("line", curl_examples())
def test_curl_sends_a_valid_request(line: str) -> None:
    words = shlex.split(line)
    path = next(word for word in words if word.startswith("localhost:8080")).removeprefix("localhost:8080")
    if "-d" in words:
        ROUTES[path].model_validate_json(words[words.index("-d") + 1])
    else:
        assert path in served()


@cache
def whole_command() -> Any:
    return get_command(app)


@cache
def served() -> dict[str, dict[str, Any]]:
    """Return the paths of the API, with their methods."""
    paths: dict[str, dict[str, Any]] = bare_app(SETTINGS).openapi()["paths"]
    return paths


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that these words name, and its arguments."""
    command: Any = whole_command()
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, " ".join(words)
        command = command.commands[rest.pop(0)]
    return command, rest


def hookkeeper_lines(of: Any) -> list[Any]:
    lines = [(path, line.removeprefix(".venv/bin/")) for path, text in TEXTS.items() for line in of(text)]
    return [pytest.param(line, id=f"{named(path)}: {line}") for path, line in lines if line.startswith("hookkeeper ")]


RUN_BY = {
    "cp -p": "tests/e2e/test_backup.py",
    "curl -s localhost:9464/metrics": "tests/e2e/test_metrics.py",
    "docker compose down": "tests/registry/test_backups.py",
    "docker compose exec": "tests/registry/test_backups.py",
    "done": "tests/registry/test_backups.py",
    "for": "tests/registry/test_backups.py",
    "hookkeeper adopt": "tests/test_wrong_registry.py",
    "hookkeeper backup": "tests/e2e/test_backup.py",
    "hookkeeper cells": "tests/e2e/test_cells.py",
    "hookkeeper dev": "tests/e2e/test_dev.py",
    "hookkeeper doctor": "tests/cli/test_doctor_command.py",
    "hookkeeper import": "tests/extensions/importing/test_import_commands.py",
    "hookkeeper forward": "tests/extensions/forwarding/test_forward.py",
    "hookkeeper listen": "tests/more/test_docs_commands.py",
    "hookkeeper reindex": "tests/cli/test_run_reindex.py",
    "hookkeeper router": "tests/extensions/cells/test_router.py",
    "litestream": "tests/e2e/test_backup.py",
    "make audit": "tests/more/test_packaging.py",
    "make client": "tests/more/test_generated.py",
    "make demo": "tests/e2e/test_demo.py",
    "make dev": "tests/e2e/test_dev.py",
    "make docs": "tests/more/test_docs_site.py",
    "make fuzz": "tests/more/test_fuzz.py",
    "make messages": "tests/dashboard/test_translations.py",
    "make release": "tests/more/test_release_files.py",
    "psql": "tests/registry/test_registry_database.py",
    "test !": "tests/e2e/test_backup.py",
}
"""The tests of commands that take longer, or need more, than a `dev`, by the words with which the commands begin."""
NOT_RUN = {
    "cosign": "signs with a key of the publisher",
    "cp -a": "restores a folder: tests/e2e/test_backup.py does",
    "docker": "needs Docker: tests/more/test_packaging.py reads docker-compose.yml",
    "echo": "writes to .env",
    "export": "sets a variable of the shell",
    "git tag": "tags a release",
    "go install": "needs the internet and half an hour",
    "gpg": "signs with a key of the publisher",
    "helm": "needs a cluster: tests/more/test_helm_chart.py renders the chart",
    "kubectl": "needs a cluster: tests/more/test_helm_chart.py validates the objects",
    "make bench": "takes minutes: tests/more/test_benchmarks.py tests its parts",
    "make check": "CI runs it",
    "make drill": "takes minutes: tests/more/drills runs short forms",
    "make format": "changes files",
    "make production-like": "needs Go and half an hour: tests/more/drills/test_production.py tests its parts",
    "make test": "runs the tests",
    "mkdir": "for what `go install` builds",
    "mv": "restores a folder: tests/e2e/test_backup.py does",
    "pg_basebackup": "writes where a server of its own does: `python -m drills restore` runs it",
    "pip install": "needs the internet",
    "python -m benchmarks": "as make bench",
    "python -m drills": "as make drill",
}
"""Why no test runs these commands."""


def commands() -> list[Any]:
    """Return each command of the pages and of the notes of the chart, without variables and `.venv/bin`."""
    notes = {path: path.read_text() for path in ROOT.glob("deploy/helm/**/NOTES.txt")}
    lines = [
        (path, without_variables(line))
        for path, text in (TEXTS | notes).items()
        if path.name != "architecture.md"
        for line in blocks(text)
    ]
    return [pytest.param(line, id=f"{named(path)}: {line}") for path, line in lines]


def without_variables(line: str) -> str:
    return re.sub(r"^([A-Z_]+=(\$\(.*?\)|\S+) )*(\.venv/bin/)?", "", line)


@each("line", commands())
def test_each_command_is_run_by_a_test_or_named_with_the_reason(line: str) -> None:
    """Commands and requests are sent to a `dev` by `tests/more/test_docs_commands.py`."""
    assert line.startswith((*RUN_BY, *NOT_RUN, "hookkeeper ", "temporal workflow ", "curl ")), (
        "add it to one of the tables"
    )


OUTER_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS")


@each("line", [each for each in commands() if each.values[0].startswith(("make ", "python "))])
def test_drills_and_benchmarks_parse(line: str) -> None:
    """The Makefile is asked what it would run."""
    if line.startswith("make "):
        stamps = (f"--old-file=.venv/.stamp-{name}" for name in ("made", "runtime", "dev", "bench"))
        make = ["make", "--dry-run", *stamps, *shlex.split(line, comments=True)[1:]]
        # The options of a make that runs the tests are no part of the documentation.
        variables = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
        done = subprocess.run(make, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
        line = done.stdout.replace("\\\n", " ")
    for module, words in re.findall(r"python -m (drills|benchmarks(?:\.index)?)\b(.*)", line):
        name = module if "." in module else f"{module}.__main__"
        importlib.import_module(name)._parser().parse_args(shlex.split(words, comments=True))


def test_the_tables_of_commands_name_no_others() -> None:
    lines = [command.values[0] for command in commands()]
    assert not [words for words in (*RUN_BY, *NOT_RUN) if not any(line.startswith(words) for line in lines)]
    assert not [test for test in RUN_BY.values() if not (ROOT / test).exists()]


@each("line", hookkeeper_lines(blocks))
def test_commands_in_blocks_parse(line: str) -> None:
    command, rest = command_of(shlex.split(line, comments=True))
    command.make_context("hookkeeper", rest).close()


@each("line", hookkeeper_lines(inline))
def test_commands_in_text_name_commands_and_options(line: str) -> None:
    command, rest = command_of(shlex.split(line))
    options = {
        name for option in command.get_params(typer.Context(command)) for name in (*option.opts, *option.secondary_opts)
    } | {"--help"}
    assert {word for word in rest if word.startswith("--")} <= options


@each("target", found(r"\bmake ([a-z]+)\b(?=`|    |$| [A-Z_]+=)"))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@each("name", found(r"\bHOOKKEEPER_[A-Z_]+\b"))
def test_settings_exist(name: str) -> None:
    known = {f"HOOKKEEPER_{field}".upper() for field in Settings.model_fields}
    assert name in known | CLIENT_VARIABLES | COMPOSE_VARIABLES


def test_routes_exist() -> None:
    routes = {f"{method.upper()} {path}" for path, methods in served().items() for method in methods}
    for path, text in TEXTS.items():
        for route in re.findall(r"`((?:GET|POST|PATCH|DELETE) /[\w/{}.-]+)", text):
            assert route in routes, f"{named(path)}: {route}"


@each("name", found(r"temporal workflow signal .* --name (\w+)"))
def test_signals_exist(name: str) -> None:
    assert name in set(get_args(Command)) - {"redeliver"}  # tests/workflows/test_names_on_the_wire.py: a run has these


@each("name", found(r"`(Hook[A-Z]\w+)`"))
def test_search_attributes_exist(name: str) -> None:
    assert name in temporal_names.SEARCH_ATTRIBUTES


@each("name", found(r"`(\w+Workflow)`"))
def test_workflow_types_exist(name: str) -> None:
    assert name in {workflow.__name__ for workflow in WORKFLOWS}


def test_the_kind_of_target_that_is_shown_is_the_one_that_is_tested() -> None:
    shown = re.findall(
        r"`(file_target/\w+\.py)`:\n\n```python\n(.*?)```", (ROOT / "docs/targets.md").read_text(), re.DOTALL
    )
    assert {name: (ROOT / "tests/targets" / name).read_text() for name, _ in shown} == dict(shown)
    assert len(shown) == 3
