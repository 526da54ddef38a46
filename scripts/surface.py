"""Print what stays compatible, a line each: `python -m scripts.surface`.

Routes with their parameters and fields, settings, commands with their options, metrics with their labels, tables with
their columns, and names that Temporal stores. `tests/more/surfaces/` keeps the lines of each release;
`tests/more/test_surfaces.py` fails if one of them is missing now (docs/internals/changing-workflows.md).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import typer.core
from prometheus_client import CollectorRegistry, ProcessCollector
from pydantic import SecretStr

from api.app import bare_app
from cli.main import app
from hookkeeper import metrics, temporal_names
from hookkeeper.registry.models import Base
from hookkeeper.settings import Settings

Json = Mapping[str, Any]


def surface() -> list[str]:
    """Return all lines."""
    return sorted({*routes(), *settings(), *commands(), *measured(), *columns(), *names()})


def routes() -> Iterator[str]:
    document = bare_app(Settings(admin_key=SecretStr("x" * 32), public_url="http://surface.test")).openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from (f"{method.upper()} {path} {line}" for line in _operation(operation))
    for name, schema in document["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            mark = "" if field in schema.get("required", ()) else "?"
            yield f"schema {name}.{field}{mark}: {_types(described)}"


def _operation(operation: Json) -> Iterator[str]:
    for each in operation.get("parameters", ()):
        mark = "" if each.get("required") else "?"
        yield f"takes {each['in']} {each['name']}{mark}: {_types(each['schema'])}"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"takes {kind}: {_types(content.get('schema', {}))}"
    for status, answer in operation["responses"].items():
        kinds = [f"{kind}: {_types(content.get('schema', {}))}" for kind, content in answer.get("content", {}).items()]
        if status < "400":
            yield f"answers {status} {', '.join(kinds)}".rstrip()


def _types(schema: Json) -> str:
    """Return the types of a value, or the names of its schemas."""
    if reference := schema.get("$ref"):
        return str(reference).rpartition("/")[2]
    if alternatives := (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        return " | ".join(sorted(map(_types, alternatives)))
    if items := schema.get("items"):
        return f"[{_types(items)}]"
    return str(schema.get("type", "any"))


def settings() -> Iterator[str]:
    yield from (f"setting HOOKKEEPER_{name.upper()}" for name in Settings.model_fields)


def commands() -> Iterator[str]:
    yield from _commands(typer.main.get_command(app), ("hookkeeper",))


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[str]:
    name = " ".join(path)
    yield f"command {name}"
    for each in command.get_params(typer.Context(command)):
        options = [option for option in (*each.opts, *each.secondary_opts) if option.startswith("--")]
        yield from (f"command {name} {option}" for option in options)
        if each.param_type_name == "argument":
            yield f"command {name} {each.name}{'' if each.required else '?'}"
    if isinstance(command, typer.core.TyperGroup):
        context = typer.Context(command)
        for sub in command.list_commands(context):
            if inner := command.get_command(context, sub):
                yield from _commands(inner, (*path, sub))


def measured() -> Iterator[str]:
    registries: tuple[CollectorRegistry, ...] = (metrics.PROCESS, metrics.SOURCES_UP, *metrics.STATE.values())
    for metric in {each for registry in registries for each in registry._collector_to_names}:
        if not isinstance(metric, ProcessCollector):
            yield f"metric {metric._name} {metric._type} {' '.join(metric._labelnames)}".rstrip()  # type: ignore[attr-defined]


def columns() -> Iterator[str]:
    for table in Base.metadata.tables.values():
        yield from (f"column {table.name}.{column.name}" for column in table.columns)


def names() -> Iterator[str]:
    for name, value in vars(temporal_names).items():
        if name.isupper() and isinstance(value, str):
            yield f"name in Temporal {value}"


if __name__ == "__main__":
    print("\n".join(surface()))  # noqa: T201
