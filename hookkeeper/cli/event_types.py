"""`hookkeeper event-types …`."""

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.markup import escape

from hookkeeper.cli.client import Api
from hookkeeper.cli.console import Failed, out, print_table
from hookkeeper.services.catalogue_documents import Imported, from_openapi

app = typer.Typer(no_args_is_help=True, help="The catalogue of event types.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_event_types(as_json: AsJson = False) -> None:
    """List the event types by name."""
    items = list(Api.of_environment().all("event-types"))
    if as_json:
        typer.echo(json.dumps({"items": items, "next_cursor": None}))
        return
    print_table(
        ("Event type", "Description", ""),
        [
            (each["name"], escape(each["description"]), "[yellow]archived[/yellow]" if each["archived"] else "")
            for each in items
        ],
    )


@app.command()
def show(name: Annotated[str, typer.Argument(help="The event type.")]) -> None:
    """Show an event type as JSON."""
    typer.echo(json.dumps(Api.of_environment().call("GET", "event-types", name), indent=2))


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="An OpenAPI 3.1 document with webhooks, as JSON or YAML.")],
    as_json: AsJson = False,
) -> None:
    """Add or change the event types of an OpenAPI document; others are not changed."""
    api = Api.of_environment()
    known = {each["name"] for each in api.all("event-types")}
    done: dict[str, list[str]] = {"added": [], "changed": []}
    for each in _read(file):
        body = {"description": each.description, "schema": each.schema, "examples": each.examples}
        if each.name in known:
            api.call("PATCH", "event-types", each.name, body=body)
        else:
            api.call("POST", "event-types", body=body | {"name": each.name})
        done["changed" if each.name in known else "added"].append(each.name)
    if as_json:
        typer.echo(json.dumps(done))
    else:
        out.print(f"{len(done['added'])} added, {len(done['changed'])} changed")


@app.command()
def export(
    format_: Annotated[str, typer.Option("--format", help="openapi or asyncapi.")] = "openapi",
) -> None:
    """Print the whole catalogue as an OpenAPI 3.1 or AsyncAPI 3 document."""
    typer.echo(json.dumps(Api.of_environment().call("GET", "catalogue", format=format_), indent=2))


def _read(file: Path) -> list[Imported]:
    try:
        return list(from_openapi(yaml.safe_load(file.read_text())))  # JSON is YAML
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise Failed(f"{file} is neither JSON nor YAML: {error}") from error
    except ValueError as error:
        raise Failed(f"{file} {error}") from error
