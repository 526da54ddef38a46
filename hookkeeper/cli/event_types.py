"""`hookkeeper event-types …`."""

import json
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from hookkeeper.cli.client import Api
from hookkeeper.cli.console import Failed, print_result
from hookkeeper.cli.options import AsJson
from hookkeeper.cli.resources import Resource
from hookkeeper.services.catalogue_documents import Imported, from_openapi

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


@app.command("search-keys")
def set_search_keys(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Up to five, such as order_id or customer.id; none removes the keys."),
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="The event type that has them.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant whose events of all types have them.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replace the search keys of an event type or of a tenant: new events are found by the values at these paths."""
    if (type_ is None) == (tenant is None):
        raise typer.BadParameter("give either --type or --tenant")
    api, keys = Api.of_environment(), paths or []
    if type_ is not None:
        result = api.call("PATCH", "event-types", type_, body={"search_keys": keys})
    else:
        result = api.call("PUT", "search-keys", body={"tenant": tenant, "paths": keys})
    print_result(as_json, result, f"search keys of {type_ or tenant}: {', '.join(keys) or 'none'}")


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
