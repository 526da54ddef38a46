"""The command line: `hookkeeper --help`."""

from typing import Annotated

import typer
from pydantic import ValidationError

from cli import events, webhooks
from cli.client import fail
from cli.demo import demo
from cli.dev import dev
from cli.listen import listen
from cli.processes import migrate as migrate_all
from cli.processes import serve_api, serve_worker
from settings import Settings
from version import VERSION

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Durable webhook delivery: every event is a Temporal workflow, and its history is the delivery log.",
)
app.command()(dev)
app.command()(demo)
app.command()(events.send)
app.command()(listen)
app.add_typer(events.app, name="events")
app.add_typer(webhooks.app, name="webhooks")


@app.command()
def api() -> None:
    """Serve the API. Settings come from the environment (HOOKKEEPER_…, TEMPORAL_…)."""
    serve_api(_settings())


@app.command()
def worker() -> None:
    """Run a worker. Settings come from the environment (HOOKKEEPER_…, TEMPORAL_…)."""
    serve_worker(_settings())


@app.command()
def migrate() -> None:
    """Bring the registry's schema and Temporal's namespace up to date. Safe to repeat."""
    migrate_all(_settings())


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(VERSION)
        raise typer.Exit


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        lines = (f"\n  HOOKKEEPER_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        fail("the settings are not right:" + "".join(lines))


def main() -> None:
    app()


if __name__ == "__main__":
    main()
