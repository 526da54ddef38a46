"""`hookkeeper event-types …`."""

import json
from datetime import date
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.api import Api, present
from cli.client.options import AsJson, only, read_json
from cli.client.resources import Resource, parameter, with_parameters
from cli.console import Failed, Json, print_result
from hookkeeper.services.catalogue.documents import Imported, from_openapi

Name = Annotated[str, typer.Argument(help="The name, such as order.paid.")]
NAME_AND_FIELDS = (
    parameter("name", Name, Parameter.empty),
    parameter("description", only("What has happened.")),
    parameter("schema", only("JSON Schema 2020-12 of the data: JSON, @file, or - for standard input.")),
    parameter(
        "example",
        Annotated[list[str] | None, typer.Option(help="An example of the data, in the same form; can be repeated.")],
    ),
    parameter(
        "search_key",
        Annotated[
            list[str] | None,
            typer.Option(help="Path in the data by which events are found; can be repeated, up to five."),
        ],
    ),
)
resource = Resource(
    "event-types", "The catalogue of event types.", lambda known: typer.echo(json.dumps(known, indent=2))
)
app = resource.app
resource.list(
    "List the event types by name.",
    {
        "Event type": "name",
        "Description": "description",
        "": lambda row: "[yellow]archived[/yellow]" if row["archived"] else "",
    },
    "No event types: `hookkeeper event-types import` adds those of an OpenAPI document. Events need none.",
)
resource.show("Show an event type as JSON.")


def _fields(
    description: str | None, schema: str | None, example: list[str] | None, search_key: list[str] | None
) -> Json:
    return present(
        description=description,
        schema=read_json(schema, "--schema") if schema else None,
        examples=[read_json(text, "--example") for text in example if text] if example else None,
        search_keys=[path for path in search_key if path] if search_key else None,
    ) | ({"schema": None} if schema == "" else {})


def _create(name: str, **given: Any) -> None:
    resource.print(Api.of_environment().call("POST", "event-types", body={"name": name} | _fields(**given)))


def _edit(name: str, **given: Any) -> None:
    body = _fields(**given)
    if not body:
        raise typer.BadParameter("nothing to change: give --description, --schema, --example or --search-key")
    resource.print(Api.of_environment().call("PATCH", "event-types", name, body=body))


app.command("create", help="Add an event type. New events of this type are validated against its schema.")(
    with_parameters(NAME_AND_FIELDS, _create)
)
app.command(
    "edit", help="Change the given fields of an event type. An empty text removes the schema, the examples or the keys."
)(with_parameters(NAME_AND_FIELDS, _edit))


@app.command()
def archive(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Accept events of this type again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Refuse new events of a type. Its entry in the catalogue remains."""
    changed = Api.of_environment().call("PATCH", "event-types", name, body={"archived": not undo})
    print_result(as_json, changed, f"{name} is {'not archived any more' if undo else 'archived'}")


resource.delete("Delete an event type.", "Events of the type are accepted all the same, without validation.")


@app.command("search-keys")
def set_search_keys(
    tenant: Annotated[str, typer.Option(help="The tenant whose events of all types have them.")],
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Up to five, such as order_id or customer.id; none removes the keys."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replace the search keys of a tenant: new events are found by the values at these paths."""
    keys = paths or []
    result = Api.of_environment().call("PUT", "search-keys", body={"tenant": tenant, "paths": keys})
    print_result(as_json, result, f"search keys of {tenant}: {', '.join(keys) or 'none'}")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="An OpenAPI 3.1 document with webhooks, as JSON or YAML.")],
    as_json: AsJson = False,
) -> None:
    """Add or change the event types of an OpenAPI document; others are not changed."""
    api = Api.of_environment()
    existing = {event_type["name"]: event_type for event_type in api.all("event-types")}
    added, changed, unchanged = [], [], []
    for event_type in _read(file):
        body = {"description": event_type.description, "schema": event_type.schema, "examples": event_type.examples}
        if event_type.name not in existing:
            api.call("POST", "event-types", body=body | {"name": event_type.name})
            added.append(event_type.name)
        elif body.items() <= existing[event_type.name].items():
            unchanged.append(event_type.name)
        else:
            api.call("PATCH", "event-types", event_type.name, body=body)
            changed.append(event_type.name)
    result = {"added": added, "changed": changed, "unchanged": unchanged}
    print_result(as_json, result, ", ".join(f"{len(names)} {what}" for what, names in result.items()))


@app.command()
def export(
    format_: Annotated[str, typer.Option("--format", help="openapi or asyncapi.")] = "openapi",
) -> None:
    """Print the whole catalogue as an OpenAPI 3.1 or AsyncAPI 3 document."""
    typer.echo(json.dumps(Api.of_environment().call("GET", "catalogue", format=format_), indent=2))


def _read(file: Path) -> list[Imported]:
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON is YAML
        return list(from_openapi(json.loads(json.dumps(document, default=_text_of))))
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise Failed(f"{file} is neither JSON nor YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise Failed(f"{file} is not UTF-8") from error
    except RecursionError as error:
        raise Failed(f"{file} is nested too deeply") from error
    except ValueError as error:
        raise Failed(f"{file} {error}") from error
    except (AttributeError, KeyError, TypeError) as error:  # such as a list in place of an object
        raise Failed(f"{file} is not an OpenAPI 3.1 document") from error


def _text_of(value: object) -> str:
    """Return a date of YAML as it was written, which JSON has as a text; and anything else."""
    return value.isoformat() if isinstance(value, date) else str(value)
