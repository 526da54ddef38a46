"""Processes import what each of them needs: packages that few installations use are imported when they are used."""

import subprocess
import sys

import pytest

FEW_NEED = ("alembic", "aiosmtplib", "apprise", "cloudevents.core.bindings.http", "sendgrid")
CLIENTS = ("temporalio", "sqlalchemy", "alembic", "fastapi", "httpx", "cryptography", "structlog", "worker", "api.app")
"""What `dev` imports only after it has started the other processes, or not at all."""


def imported(*modules: str) -> set[str]:
    """Return all modules that are loaded once a new process has imported these."""
    program = f"import sys, {', '.join(modules)}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("module", ["hookkeeper.cli.run_worker", "hookkeeper.cli.run_api"])
def test_worker_and_api_start_without_what_few_need(module: str) -> None:
    assert imported(module).isdisjoint(FEW_NEED)


def test_dev_starts_processes_before_it_imports_clients() -> None:
    assert imported("hookkeeper.cli.main", "hookkeeper.cli.dev").isdisjoint(CLIENTS)


def test_the_api_needs_no_client_for_deliveries() -> None:
    assert "aiohttp" not in imported("hookkeeper.cli.run_api")


def test_the_worker_needs_no_web_framework() -> None:
    assert imported("hookkeeper.cli.run_worker").isdisjoint({"fastapi", "uvicorn"})


def test_the_command_line_starts_without_what_single_commands_need() -> None:
    needed_later = {"cryptography", "pydantic", "structlog", "temporalio", "yaml"}
    assert imported("hookkeeper.cli.main").isdisjoint(needed_later)
