"""`hookkeeper dev`: everything on this machine, until Ctrl-C."""

import shutil
import sys
import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path

from rich.markup import escape

from cli.console import err, out
from cli.datadir import DEFAULT, DataDir
from cli.local import stack
from cli.operators.startup import read_settings, unknown_settings
from cli.ports import SERVICES, Ports, free_ports
from cli.processes import ShutdownDeadline, forever, run, until_stopped
from hookkeeper.version import VERSION


def run_dev(data_dir: Path, host: str, wanted: Ports, given: Collection[str], *, encrypt: bool) -> None:
    """Start everything and keep it running until stopped. Ports that are in use are replaced, except those `given`."""
    run(_dev(DataDir(data_dir), host, wanted, given, encrypt))


async def _dev(data: DataDir, host: str, wanted: Ports, given: Collection[str], encrypt: bool) -> None:
    out.print(f"[bold]Hookkeeper[/bold] {VERSION}\n")
    for sentence in unknown_settings():
        print_event("Warning:", sentence)
    deadline = ShutdownDeadline(stack.shutdown_time(read_settings()), print_hang)
    ports = free_ports(wanted, given, host)
    for name, port in wanted.by_name.items():
        if (other := ports.by_name[name]) != port:
            print_event("Port", f"{port} is in use: {SERVICES[name]} gets {other}")
    async with AsyncExitStack() as services, until_stopped(print_stopping, deadline):
        running = await services.enter_async_context(
            stack.running(data, ports, host, encrypt=encrypt, on_ready=progress_printer(), on_event=print_event)
        )
        print_addresses(running)
        print_first_steps(running, data.path)
        out.print("\n  Ctrl-C stops everything; the data is kept.")
        await forever()
    out.print("  Stopped.")


def progress_printer() -> Callable[[str], None]:
    """Return a function that reports each service that is ready, with the seconds since now."""
    started_at = time.monotonic()

    def print_ready(name: str) -> None:
        out.print(f"  [green]✓[/green] {name:<11} [dim]{time.monotonic() - started_at:.1f} s[/dim]")

    return print_ready


def print_event(name: str, text: str) -> None:
    out.print(f"  [yellow]![/yellow] {name} {escape(text)}")


def print_stopping() -> None:
    out.print("\n  Stopping: attempts in progress finish first.")


def print_hang(text: str, stacks: str) -> None:
    err.print(f"{text}\n{stacks}", markup=False)


def print_first_steps(running: stack.Stack, data_dir: Path) -> None:
    """Print the commands of a first delivery. Commands find the default data directory by themselves, others not."""
    name = command_name()
    finds = data_dir == DEFAULT.absolute()
    out.print("\n  Try it in two other terminals:")
    if not finds:
        print_command(f"export HOOKKEEPER_URL={running.url} HOOKKEEPER_API_KEY={running.admin_key}", "in both")
    print_command(f"{name} webhooks create http://127.0.0.1:9000/hook")
    print_command(f"{name} listen --port 9000", "receives events until Ctrl-C")
    print_command(f"{name} send order.paid --follow", "in the other terminal")


def print_command(command: str, comment: str = "") -> None:
    out.print(f"    {command}" + (f"  # {comment}" if comment else ""), markup=False)


def print_addresses(running: stack.Stack, capture_reason: str = "no provider is set") -> None:
    """Print the addresses of all services, and where emails go."""
    saved = f"saved to {running.emails}: {capture_reason}"
    rows = {
        "Dashboard": running.url,
        "API": running.url,
        "API docs": f"{running.url}/docs",
        "Temporal UI": running.ui_url,
        "Temporal": running.temporal_address,
        "Admin key": running.admin_key,
        "Data, logs": str(running.data_dir),
        "Emails": saved if running.emails else f"sent through {running.mail_provider}",
        **({"Metrics": running.metrics} if running.metrics else {}),
        **({"Encryption": _encryption(running)} if running.encrypted_by else {}),
    }
    out.print()
    for name, value in rows.items():
        out.print(f"  {name:<13} {value}", markup=False)


def _encryption(running: stack.Stack) -> str:
    return f"keys: {running.encrypted_by}; sign in at {running.url}/codec to read payloads in the Temporal UI"


def command_name() -> str:
    """Return the command to print in examples: `hookkeeper`, or the path with which it was started."""
    path = sys.argv[0]
    return path if Path(path).name == "hookkeeper" and shutil.which("hookkeeper") != path else "hookkeeper"
