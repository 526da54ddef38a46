"""`hookkeeper dev`: everything on this machine, until Ctrl-C."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli import stack
from cli.client import fail, out
from cli.datadir import DEFAULT, DataDir, InUse
from cli.processes import run, stop_event
from cli.supervisor import ServiceFailed
from cli.temporal_server import EmbeddedServerError
from registry.store import RegistryUnavailable

CANNOT_START = (
    stack.PortTaken,
    stack.KeyNeeded,
    InUse,
    EmbeddedServerError,
    ServiceFailed,
    RegistryUnavailable,
)


def dev(
    data_dir: Annotated[Path, typer.Option(help="Where all data is kept.")] = DEFAULT,
    host: Annotated[str, typer.Option(help="Address that the API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the API.")] = 8080,
    temporal_port: Annotated[int, typer.Option(help="Port of the Temporal server.")] = 7233,
    ui_port: Annotated[int, typer.Option(help="Port of the Temporal web UI.")] = 8233,
) -> None:
    """Start Temporal, a worker and the API on this machine, and keep them running. No Docker, no account."""
    try:
        run(_dev(DataDir(data_dir), host, stack.Ports(port, temporal_port, ui_port)))
    except CANNOT_START as error:
        fail(str(error))


async def _dev(data: DataDir, host: str, ports: stack.Ports) -> None:
    stop = stop_event()
    out.print("[bold]Hookkeeper[/bold]\n")
    async with stack.running(data, host, ports, on_ready=steps(out), on_event=tell_event) as running:
        print_addresses(out, running)
        out.print("\n  Ctrl-C stops everything; the data stays.")
        await stop.wait()
        out.print("\n  Stopping: attempts that are under way are finished first.")
    out.print("  Stopped.")


def steps(console: Console) -> Callable[[str], None]:
    """Give a function that ticks off each service with the time it took."""
    began = time.monotonic()

    def tick(name: str) -> None:
        console.print(f"  [green]✓[/green] {name:<10} [dim]{time.monotonic() - began:4.1f} s[/dim]")

    return tick


def tell_event(name: str, text: str) -> None:
    out.print(f"  [yellow]![/yellow] {name} {text}")


def print_addresses(console: Console, running: stack.Stack) -> None:
    rows = {
        "API": running.url,
        "API docs": f"{running.url}/docs",
        "Temporal UI": running.ui_url,
        "Admin key": running.admin_key,
        "Data, logs": str(running.data_dir),
    }
    console.print()
    for name, value in rows.items():
        console.print(f"  {name:<12} {value}", markup=False)
