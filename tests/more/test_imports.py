"""Processes import what each of them needs: packages that few installations use are imported when they are used."""

import subprocess
import sys

import pytest

FEW_NEED = {"alembic", "aiosmtplib", "cloudevents.core.bindings.http", "sendgrid"}
CLIENTS = ("temporalio", "sqlalchemy", "alembic", "fastapi", "httpx", "cryptography", "structlog", "worker", "api.app")
"""What `dev` imports only after it has started the other processes, or not at all."""


def imported(*modules: str) -> set[str]:
    """Return all modules that are loaded once a new process has imported these."""
    program = f"import sys, {', '.join(modules)}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines())


@pytest.mark.parametrize(
    ("module", "not_needed"),
    [
        ("cli.operators.run_worker", FEW_NEED | {"fastapi", "uvicorn"}),
        ("cli.operators.run_api", FEW_NEED | {"aiohttp"}),
        ("cli.main", {"cryptography", "pydantic", "structlog", "temporalio", "yaml"}),
    ],
)
def test_a_process_starts_without_what_it_does_not_need(module: str, not_needed: set[str]) -> None:
    assert imported(module).isdisjoint(not_needed)


def test_the_python_client_needs_only_httpx_and_pydantic() -> None:
    others = {"cryptography", "django", "fastapi", "flask", "hookkeeper", "starlette"}
    assert imported("hookkeeper_client", "hookkeeper_client.receiving").isdisjoint(others)


def test_dev_starts_processes_before_it_imports_clients() -> None:
    assert imported("cli.main", "cli.local.dev").isdisjoint(CLIENTS)
