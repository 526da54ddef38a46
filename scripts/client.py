"""Write the models and methods of the Python client from the OpenAPI document: `make client`.

Parts of requests are `TypedDict`s, so that a change has only the fields that were given. Parts of answers are models.
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from api.app import bare_app
from api.schemas.events import EventBase, ResultSoFar
from api.schemas.stats import StatisticsCounts
from hookkeeper.kinds import Channel
from hookkeeper.messages.event import Reason
from hookkeeper.messages.schedule import OverlapPolicy
from hookkeeper.services.caller import Scope
from hookkeeper.services.fields import RequestModel
from hookkeeper.services.schedules.fields import ScheduleFields
from hookkeeper.settings import Settings
from hookkeeper.statuses import DeliveryStatus, EventStatus

FOLDER = Path("clients/python/hookkeeper_client")
NOTE = "`make client` writes this file from the OpenAPI document."
NOT_FOR_CLIENTS = {"take_sendgrid_events"}
"""A callback, signed by the provider that calls it."""
OWN_IDS = {"post_event", "post_batch", "send_test"}
"""Operations that take any id of an event, which makes them safe to repeat."""
NOT_PASSED = {"idempotency-key", "cursor"}
"""The body has the id of the event, and lists read their pages themselves."""
BASES: tuple[type[BaseModel], ...] = (EventBase, ResultSoFar, ScheduleFields, StatisticsCounts)
"""Models of the server whose fields the document repeats in each model that inherits them."""
VALUES = {
    get_args(Channel): "Channel",
    get_args(DeliveryStatus): "DeliveryStatus",
    get_args(EventStatus): "EventStatus",
    get_args(OverlapPolicy): "OverlapPolicy",
    get_args(Reason): "Reason",
    get_args(Scope): "Scope",
}
"""Names of values that the document repeats in each field."""
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
MODELS = f'''"""What the API takes, as dicts, and what it answers, as models.

{NOTE}
"""

from datetime import datetime
from typing import Any, Literal, Required

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from hookkeeper_client.base import Model
'''
ROUTES = f'''"""One method for each operation of the API.

{NOTE}
"""

# mypy: disable-error-code="empty-body"

from datetime import datetime
from typing import Any, Literal, Unpack

from hookkeeper_client import models
from hookkeeper_client.base import Page, pages, route, stream


class Routes:
    """The methods of both clients. Those of `Client` return results, those of `AsyncClient` have to be awaited."""
'''


def main() -> None:
    document = bare_app(Settings(admin_key=SecretStr("a" * 32))).openapi()
    for name, text in generated(document).items():
        (FOLDER / name).write_text(text)


def generated(document: dict[str, Any]) -> dict[str, str]:
    """Return the text of each file that is generated."""
    operations = list(client_operations(document))
    bases = {base.__name__: base.model_json_schema(ref_template="#/components/schemas/{model}") for base in BASES}
    schemas = document["components"]["schemas"] | bases
    sent = reachable([operation.get("requestBody") for _, _, operation in operations], schemas)
    sent |= {base.__name__ for base in BASES if issubclass(base, RequestModel)}
    got = reachable([answers(operation) for _, _, operation in operations], schemas) | bases.keys()
    values = "".join(f"{name} = Literal{list(each)}\n" for each, name in VALUES.items())
    models = Models(schemas, sent, got - sent)
    routes = ROUTES + "".join(method(*operation) for operation in operations)
    return {"models.py": formatted(MODELS + values + models.text()), "routes.py": formatted(routes)}


def client_operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and operation of all that is for clients."""
    for path, methods in document["paths"].items():
        for verb, operation in methods.items():
            if path.startswith("/v1/") and operation["operationId"] not in NOT_FOR_CLIENTS:
                yield verb.upper(), path, operation


def answers(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas of what is answered in success: the messages of a stream, or JSON."""
    contents = (answer.get("content", {}) for status, answer in operation["responses"].items() if status[0] == "2")
    return [media.get("x-itemSchema") or media["schema"] for content in contents for media in content.values()]


def reachable(node: Any, schemas: dict[str, Any], found: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return the names of the schemas that a part of the document refers to, pages left out."""
    if isinstance(node, list):
        for item in node:
            found = reachable(item, schemas, found)
    if not isinstance(node, dict):
        return found
    name = node.get("$ref", "").removeprefix("#/components/schemas/")
    if name and name not in found:
        found = reachable(schemas[name], schemas, found if is_page(name) else found | {name})
    for item in node.values():
        found = reachable(item, schemas, found)
    return found


def is_page(name: str) -> bool:
    return "Page" in name


def class_name(name: str) -> str:
    return re.sub("-(Input|Output)$", "", name)


def hint(schema: dict[str, Any], prefix: str = "") -> str:
    """Return a schema as a type; names of classes get the prefix."""
    if "$ref" in schema:
        return prefix + class_name(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(hint(each, prefix) for each in schema["anyOf"]))
    if values := schema.get("enum") or [schema[key] for key in ("const",) if key in schema]:
        return prefix + VALUES[tuple(values)] if tuple(values) in VALUES else f"Literal{values}"
    if schema.get("type") == "array":
        return f"list[{hint(schema['items'], prefix)}]"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"dict[str, {hint(values, prefix) if isinstance(values, dict) else 'Any'}]"
    if schema.get("format") == "date-time":
        return "datetime"
    return SCALARS.get(schema.get("type", ""), "Any")


class Models:
    """Classes in the order in which they need each other; one that has all fields of another inherits them."""

    def __init__(self, schemas: dict[str, Any], sent: frozenset[str], got: frozenset[str]) -> None:
        self._schemas = {class_name(name): schemas[name] for name in sorted(sent | got, reverse=True)}
        self._sent = {class_name(name) for name in sent}
        self._written: dict[str, str] = {}
        self._fields = {name: self._fields_of(name) for name in sorted(self._schemas)}

    def text(self) -> str:
        for name in self._fields:
            self._write(name)
        return "\n\n".join(self._written.values())

    def _fields_of(self, name: str) -> dict[str, str]:
        schema, fields = self._schemas[name], {}
        for field, described in schema.get("properties", {}).items():
            type_ = "list[NewEvent]" if (name, field) == ("EventBatch", "events") else hint(described)
            is_required = field in schema.get("required", ())
            if name in self._sent:
                type_ = type_.replace("datetime", "datetime | str")
                fields[field] = f"{field}: {f'Required[{type_}]' if is_required else type_}"
                continue
            if not is_required and "None" not in type_:
                type_ += " | None"
            default = "" if is_required else " = None"
            if field in dir(BaseModel):
                fields[field] = f"{field}_: {type_} = Field({'' if is_required else 'None, '}alias={field!r})"
            else:
                fields[field] = f"{field}: {type_}{default}"
        return fields

    def _base(self, name: str) -> str:
        """Return the largest class of which this one has all fields."""
        fields = set(self._fields[name].values())
        smaller = [
            (len(others), other)
            for other, others in self._fields.items()
            if (other in self._sent) == (name in self._sent) and len(others) > 2 and set(others.values()) < fields
        ]
        if smaller:
            return max(smaller)[1]
        return "TypedDict" if name in self._sent else "Model"

    def _write(self, name: str) -> None:
        if name in self._written:
            return
        base, fields = self._base(name), self._fields[name]
        inherited = self._fields.get(base, {})
        for needed in (base, *re.findall(r"\b[A-Z]\w+", " ".join(fields.values()))):
            if needed in self._fields and needed != name:
                self._write(needed)
        own = [line for field, line in fields.items() if field not in inherited]
        description = self._schemas[name].get("description", "")
        lines = [docstring(description, " " * 4) + "\n"] * bool(description) + own
        total = ", total=False" if name in self._sent else ""
        self._written[name] = f"class {name}({base}{total}):\n" + "".join(f"    {line}\n" for line in lines or ["pass"])


def docstring(description: str, indent: str) -> str:
    """Return the first sentence as a docstring that begins at this indent."""
    sentence = re.split(r"(?<=[.])\s", " ".join(description.split("\n\n")[0].split()))[0]
    return textwrap.fill(f'"""{sentence}"""', 120 - len(indent), subsequent_indent=indent)


def method(verb: str, path: str, operation: dict[str, Any]) -> str:
    """Return one operation as the method that describes it."""
    name = operation["operationId"]
    in_path, given = [], []
    for parameter in operation.get("parameters", ()):
        type_ = hint(parameter["schema"], "models.").replace("datetime", "datetime | str")
        field = parameter["name"].replace("-", "_")
        if parameter["in"] == "path":
            in_path.append(f"{field}: str")
        elif parameter["name"] not in NOT_PASSED:
            given.append(f"{field}: {type_}{'' if 'None' in type_ else ' | None'} = None")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    arguments = ["self", *in_path, *(["/"] * bool(in_path)), *(["*"] * bool(given)), *given]
    if body:
        arguments.append(f"**body: Unpack[{hint(body, 'models.').removesuffix(' | None')}]")
    kind, result = answer_of(operation)
    marks = ", own_id=True" if name in OWN_IDS else ""
    return f'''
    @{kind}("{verb}", "{path}"{marks})
    def {name}({", ".join(arguments)}) -> {result}:
        {docstring(operation["description"], " " * 8)}
'''


def answer_of(operation: dict[str, Any]) -> tuple[str, str]:
    """Return the decorator of an operation, and the type of its result."""
    found = answers(operation)
    if not found:
        return "route", "None"
    if content := found[0].get("properties", {}).get("data", {}).get("contentSchema"):
        return "stream", hint(content, "models.")
    type_ = hint(found[0], "models.")
    if not is_page(type_):
        return "route", type_
    item = "EventSummary" if type_ == "models.EventPage" else type_.split("_")[1]
    return "pages", f"Page[models.{item}]"


def formatted(text: str) -> str:
    for command in (("check", "--fix", "--quiet", "--select", "F401,I"), ("format", "--quiet")):
        done = subprocess.run(  # noqa: S603 - no input from outside
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(FOLDER / "generated.py"), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        text = done.stdout
    return text


if __name__ == "__main__":
    main()
