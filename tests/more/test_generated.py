"""The Python client has every operation of the API, and its models are those of the OpenAPI document."""

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import SecretStr

from api.app import bare_app
from hookkeeper.settings import Settings
from hookkeeper.version import VERSION
from hookkeeper_client import AsyncClient, Client
from hookkeeper_client.base import Operation
from hookkeeper_client.routes import Routes
from scripts.client import FOLDER, NOT_FOR_CLIENTS, client_operations, generated

ROOT = Path(__file__).parents[2]
DOCUMENT = bare_app(Settings(admin_key=SecretStr("a" * 32))).openapi()
OPERATIONS = {operation["operationId"]: (verb, path) for verb, path, operation in client_operations(DOCUMENT)}


def test_each_operation_of_the_api_is_a_method_of_both_clients() -> None:
    methods = {name: each for name, each in vars(Routes).items() if isinstance(each, Operation)}
    assert {name: (each.verb, each.path) for name, each in methods.items()} == OPERATIONS
    assert issubclass(Client, Routes)
    assert issubclass(AsyncClient, Routes)


def test_only_callbacks_are_left_out() -> None:
    paths = {path: methods for path, methods in DOCUMENT["paths"].items() if path.startswith("/v1/")}
    left_out = [
        each for methods in paths.values() for each in methods.values() if each["operationId"] not in OPERATIONS
    ]
    assert {each["operationId"] for each in left_out} == NOT_FOR_CLIENTS
    assert {tag for each in left_out for tag in each["tags"]} == {"providers"}


@pytest.mark.parametrize("name", ["models.py", "routes.py"])
def test_the_generated_files_are_up_to_date(name: str, made: dict[str, str]) -> None:
    assert (ROOT / FOLDER / name).read_text() == made[name], "run `make client`"


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return generated(DOCUMENT)


def test_the_version_is_that_of_hookkeeper() -> None:
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def examples() -> list[tuple[str, Any]]:
    """Return the examples of answers with their operations."""
    found = []
    for _, _, operation in client_operations(DOCUMENT):
        for status, answer in operation["responses"].items():
            media = answer.get("content", {}).get("application/json", {}) if status[0] == "2" else {}
            name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
            given = DOCUMENT["components"]["schemas"].get(name, {}).get("examples", [])
            found += [(operation["operationId"], example) for example in given]
    return found


def test_each_example_of_an_answer_is_read_without_loss() -> None:
    assert len(examples()) > 30
    for name, example in examples():
        operation = vars(Routes)[name]
        model = operation.answer.validate_python(example)
        written = operation.answer.dump_json(model, by_alias=True, exclude_unset=True).decode()
        assert without_zeros(written) == without_zeros(json.dumps(example)), name
        assert not getattr(model, "model_extra", None), name


def test_times_of_answers_are_no_text() -> None:
    for name, example in examples():
        answer = vars(Routes)[name].answer
        read = str(answer.dump_python(answer.validate_python(example)))
        assert re.findall(r"'\d{4}-\d\d-\d\dT[^']*'", read) == [], name


def test_unknown_fields_of_parts_that_are_dicts_are_kept() -> None:
    (example,) = DOCUMENT["components"]["schemas"]["WebhookView"]["examples"]
    emails = [{"to": ["ann@acme.example"], "mood": "good"}]
    assert vars(Routes)["show_webhook"].answer.validate_python(example | {"emails": emails}).emails == emails


@pytest.mark.parametrize("page", ["README.md", "docs/python-client.md", "clients/python/README.md"])
def test_pages_call_methods_with_arguments_that_they_have(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    nodes = [node for block in blocks for node in ast.walk(ast.parse(block))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("hookkeeper.")]
    assert calls
    for call in calls:
        operation = vars(Routes)[ast.unparse(call.func).removeprefix("hookkeeper.")]
        body = operation.function.__annotations__.get("body")
        fields = get_type_hints(get_args(body)[0]) if body else {}
        named = {str(each.arg) for each in call.keywords}
        assert len(call.args) == len(operation.in_path), ast.unparse(call)
        assert named <= operation.declared | fields.keys(), ast.unparse(call)


def without_zeros(text: str) -> Any:
    """Return JSON with times as short as they can be: the API writes milliseconds, and pydantic microseconds."""
    return json.loads(re.sub(r"(\.\d*?)0*Z", r"\1Z", text).replace(".Z", "Z"))
