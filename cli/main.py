"""The command line: `hookkeeper --help`.

Commands import their dependencies when they run, so `hookkeeper send` does not load a database and a web framework.
"""

import errno
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from cli.client import (
    event_types,
    events,
    keys,
    options,
    recoveries,
    schedules,
    sending,
    stats,
    status,
    suppressions,
    tenants,
    webhooks,
)
from cli.console import Failed, print_failure, print_result
from cli.datadir import DEFAULT
from cli.processes import start_without_collections
from hookkeeper.version import VERSION

START, SEND, LOOK, MANAGE, OPERATE = "Start", "Send and receive", "What is going on", "Manage", "Operate"
"""The groups of commands in the help."""
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Durable webhook delivery: every event is a Temporal workflow, and its history is the delivery log."
    "\n\nCommands that show or change something call the API at HOOKKEEPER_URL with the key HOOKKEEPER_API_KEY. In the"
    " directory of `hookkeeper dev`, neither is needed.",
)


@app.command(rich_help_panel=START)
def dev(
    context: typer.Context,
    data_dir: Annotated[Path, typer.Option(help="Folder for all data.")] = DEFAULT,
    host: Annotated[str, typer.Option(help="Address on which the API listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API.")] = 8080,
    temporal_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Temporal server.")] = 7233,
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Temporal web UI.")] = 8233,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the metrics. 0: none.")] = 9464,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Encrypt all data, with a key in the data directory.")
    ] = False,
) -> None:
    """Start Temporal, a worker and the API on this machine, and keep them running.

    A port that is in use is replaced by the next free one, unless it was given as an option.
    """
    start_without_collections()
    from cli.local.dev import run_dev
    from cli.ports import OPTIONS, Ports

    wanted = Ports(port, temporal_port, ui_port, metrics_port or None)
    given = [name for name, option in OPTIONS.items() if _is_given(context, option)]
    run_dev(data_dir, host, wanted, given, encrypt=encrypt)


def _is_given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option.removeprefix("--").replace("-", "_"))
    return source is not None and source.name == "COMMANDLINE"


@app.command(rich_help_panel=START)
def demo(
    once: Annotated[bool, typer.Option("--once", help="Exit after the event is delivered.")] = False,
) -> None:
    """Start everything, send one event to a receiver that fails twice, and show each attempt."""
    start_without_collections()
    from cli.local.demo import run_demo

    run_demo(once=once)


app.command(rich_help_panel=SEND)(sending.send)
app.command(rich_help_panel=SEND)(sending.trigger)


@app.command(rich_help_panel=SEND)
def listen(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on the loopback address; 0 selects a free one.")
    ] = 9000,
    fail: Annotated[int, typer.Option(min=0, help="Answer the first N webhooks with 503.")] = 0,
    status: Annotated[int, typer.Option(min=200, max=599, help="Status of the other responses.")] = 200,
    delay: Annotated[float, typer.Option(min=0, help="Seconds to wait before each response.")] = 0.0,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            help="Signing key (whsec_…, whsk_… or whpk_…). Default: the keys of webhooks with this port, from the API."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per request.")] = False,
) -> None:
    """Receive deliveries on this machine, verify their signatures, and print them, until Ctrl-C."""
    from cli.client.listen import Behaviour, run_listen

    run_listen(port, Behaviour(fail=fail, status=status, delay=delay), secret or [], as_json=as_json)


Body = Annotated[str, typer.Argument(metavar="BODY", help="The body: a text, @file, or - for standard input.")]


@app.command(rich_help_panel=SEND)
def sign(
    body: Body,
    secret: Annotated[str, typer.Option(help="Signing key (whsec_… or whsk_…).")],
    id_: Annotated[str, typer.Option("--id", help="The event's id: webhook-id.")] = "evt_test",
    timestamp: Annotated[int | None, typer.Option(min=0, help="Seconds since 1970; default: now.")] = None,
) -> None:
    """Print the headers of a request that is signed as a delivery is, one in each line."""
    from cli.client.signatures import signed_headers

    for name, value in signed_headers(secret, id_, options.read_bytes(body), timestamp).items():
        typer.echo(f"{name}: {value}")


@app.command(rich_help_panel=SEND)
def verify(
    body: Body,
    secret: Annotated[list[str], typer.Option(help="Signing key (whsec_…, whsk_… or whpk_…).")],
    header: Annotated[list[str], typer.Option(help="A header of the request, 'name: value'; can be repeated.")],
) -> None:
    """Verify the signature of a request as a receiver does. Exit 1, with the reason, if it is wrong."""
    from cli.client.signatures import check_keys, check_request

    check_keys(secret)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in header)}
    check_request(secret, headers, options.read_bytes(body))
    typer.echo("signature verified")


app.command(rich_help_panel=LOOK)(status.status)
app.command(rich_help_panel=LOOK)(status.explain)


@app.command(rich_help_panel=LOOK)
def top(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant; without the queues of all.")] = None,
    interval: Annotated[float, typer.Option(min=0.5, help="Seconds between two frames.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
) -> None:
    """Show rates, queues and failing webhooks, live, until Ctrl-C."""
    from cli.client.api import Api

    stats.run_top(Api.of_environment(), tenant, interval, once=once)


@app.command(rich_help_panel=MANAGE)
def portal_link(
    tenant: Annotated[str, typer.Argument(help="The customer who may use the link.")],
    name: Annotated[str | None, typer.Option(help="Who gets the link: shown on the pages and in lists.")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="view_secrets, manage_webhooks or redeliver, beside viewing; can be repeated."),
    ] = None,
    path: Annotated[str | None, typer.Option(help="The page that it opens, such as /webhooks.")] = None,
    pages: Annotated[
        list[str] | None,
        typer.Option(
            help="schedules, recoveries, suppressions or limits, beside Overview, Events, Webhooks and Event types;"
            " can be repeated."
        ),
    ] = None,
    language: Annotated[str | None, typer.Option(help="en, de or fr; by default that of the browser.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a single-use link to the portal for a customer without a key, and print it."""
    from cli.client.api import Api, present

    body = {"tenant": tenant} | present(
        name=name, path=path, capabilities=allow or None, pages=pages or None, language=language
    )
    link = Api.of_environment().call("POST", "portal-links", body=body)
    print_result(as_json, link, link["url"])


app.add_typer(events.app, name="events", rich_help_panel=LOOK)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=MANAGE)
app.add_typer(recoveries.app, name="recoveries", rich_help_panel=MANAGE)
app.add_typer(schedules.app, name="schedules", rich_help_panel=MANAGE)
app.add_typer(event_types.app, name="event-types", rich_help_panel=MANAGE)
app.add_typer(suppressions.app, name="suppressions", rich_help_panel=MANAGE)
app.add_typer(tenants.app, name="tenants", rich_help_panel=MANAGE)
app.add_typer(keys.app, name="keys", rich_help_panel=MANAGE)
app.command(rich_help_panel=LOOK)(stats.stats)


@app.command(rich_help_panel=OPERATE)
def api() -> None:
    """Serve the API. Settings come from the environment (HOOKKEEPER_…, TEMPORAL_…)."""
    start_without_collections()
    from cli.operators.run_api import run_api

    run_api()


@app.command(rich_help_panel=OPERATE)
def worker(
    local: Annotated[
        bool,
        typer.Option(
            "--local",
            help="All workers of this namespace run on this machine: prepare it as `migrate` does, and repeat at once"
            " what ended workers had begun.",
        ),
    ] = False,
) -> None:
    """Run a worker. Settings come from the environment (HOOKKEEPER_…, TEMPORAL_…)."""
    start_without_collections()
    from cli.operators.run_worker import run_worker

    run_worker(local=local)


@app.command(rich_help_panel=OPERATE)
def migrate(
    registry_only: Annotated[
        bool, typer.Option("--registry-only", help="Leave the namespace as it is. Temporal need not run.")
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Make tables although the namespace has another registry, and leave that one.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(min=0, help="Seconds to wait for the registry and the namespace, until they are there."),
    ] = 0.0,
) -> None:
    """Update the registry's schema and Temporal's namespace. Can be repeated safely."""
    from cli.operators.maintenance import run_migrate

    run_migrate(registry_only=registry_only, new=new, wait=wait)


@app.command(rich_help_panel=OPERATE)
def adopt() -> None:
    """Let the namespace belong to this registry, in place of another one: after a move of either of them."""
    from cli.operators.maintenance import run_adopt

    run_adopt()


@app.command(rich_help_panel=OPERATE)
def doctor(as_json: options.AsJson = False) -> None:
    """Examine Temporal, the registry, workers, keys, clocks, certificates and outgoing connections.

    Each fault is shown with what fixes it.

    Exit codes: 0 if all is well, 1 if something is wrong, 3 if there are warnings only.
    """
    from cli.operators.doctor import run_doctor

    run_doctor(as_json=as_json)


@app.command(rich_help_panel=OPERATE)
def reindex(
    since: Annotated[
        str,
        typer.Option(
            help="Events since: RFC 3339, or an age such as 30m, 2h, 7d. Default: as long as Temporal keeps events."
        ),
    ] = "",
) -> None:
    """Add to the index of events what it lacks, from histories, and end open events whose runs are gone.

    Can be interrupted and repeated safely.
    """
    from cli.operators.maintenance import run_reindex

    run_reindex(since)


@app.command(rich_help_panel=OPERATE)
def recount(
    since: Annotated[
        str,
        typer.Option(
            help="Counters of tenants since: RFC 3339, or an age such as 2h, 7d. Default: as long as rows are kept."
        ),
    ] = "",
) -> None:
    """Mend the counters of tenants from the rows of events, and totals over all tenants from these.

    After an upgrade or a rollback, totals need it: workers mend them once a day.
    """
    from cli.operators.maintenance import run_recount

    run_recount(since)


@app.command(rich_help_panel=OPERATE)
def backup(
    target: Annotated[Path, typer.Argument(help="A new folder for the copy, which `dev --data-dir` can use.")],
    data_dir: Annotated[Path, typer.Option(help="The folder with all data of a `dev`.")] = DEFAULT,
) -> None:
    """Copy the data of a `dev` as it is at one moment, while it runs or not."""
    from cli.datadir import DataDir
    from cli.local.backup import run_backup

    run_backup(DataDir(data_dir), target)


@app.command(rich_help_panel=OPERATE)
def promote() -> None:
    """Let workers of HOOKKEEPER_DEPLOYMENT_VERSION get all tasks, once they run. Can be repeated safely."""
    from cli.operators.maintenance import run_promote

    run_promote()


for extension in entry_points(group="hookkeeper.commands"):
    extension.load()(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Durable webhook delivery: every event is a Temporal workflow, and its history is the delivery log."""


def main() -> None:
    try:
        app(prog_name="hookkeeper")
    except Failed as failure:
        print_failure(failure)
        sys.exit(failure.exit_code)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print_failure(Failed(f"cannot write the output: {error.strerror}"))
        os._exit(Failed.exit_code)  # Python would try to write it once more, and fail again
