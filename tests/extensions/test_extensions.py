"""The core without extensions, and with one of another package."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

import api.extensions
from instances import Instance, running_instance
from receivers import Receiver

PATHS = {"dashboard": "/login", "forwarding": "/v1/forwards", "mcp": "/mcp", "svix": "/api/v1/app"}
"""A path of each extension of the API that takes a POST."""
OTHER_URL = "http://other.test"
"""Settings for which no app of another test is used."""


def installed(monkeypatch: pytest.MonkeyPatch, change: Callable[[list[EntryPoint]], list[EntryPoint]]) -> None:
    def changed(group: str) -> Any:
        return change(list(entry_points(group=group)))

    monkeypatch.setattr(api.extensions, "entry_points", changed)


async def delivers(instance: Instance, inbox: Receiver) -> None:
    """Deliver an event."""
    await instance.webhook(inbox.url)
    async with instance.working():
        sent = await instance.send()
        assert (await instance.until_final(sent["id"]))["status"] == "succeeded"


@pytest.mark.promise("docs/extensions.md")
@pytest.mark.parametrize("name", PATHS)
async def test_api_worker_and_pages_work_without_an_extension(
    name: str, temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, lambda found: [entry for entry in found if entry.name != name])
    async with running_instance(temporal, tmp_path, public_url=OTHER_URL) as instance:
        answers = {other: (await instance.http.post(path, json={})).status_code for other, path in PATHS.items()}
        assert {other for other, status in answers.items() if status == 404} == {name}
        await delivers(instance, inbox)


@pytest.mark.processes
def test_api_worker_and_command_line_import_no_extension() -> None:
    program = """
        import sys
        from importlib import metadata

        class Refusing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("extensions", "dashboard"):
                    raise ImportError(f"{name} is imported")

        metadata.entry_points = lambda group: []
        sys.meta_path.insert(0, Refusing())
        import worker
        from api.app import bare_app
        from cli.main import app
        from hookkeeper.settings import Settings

        bare_app(Settings(admin_key="x" * 32))
        from typer.testing import CliRunner

        help_text = CliRunner().invoke(app, ["--help"]).output
        assert "webhooks" in help_text and "cells" not in help_text, help_text
        print("works")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "works\n", done.stderr


ANOTHER = """
from fastapi import APIRouter

from api.access import GuardedRoute, needs
from api.deps import CallerDep
from api.extensions import Extension

router = APIRouter(prefix="/v1/greeting", route_class=GuardedRoute)


@router.get("", dependencies=[needs("events:read")])
async def greet(caller: CallerDep) -> dict[str, str | None]:
    return {"tenant": caller.tenant}


EXTENSION = Extension(routers=(router,))
"""


@pytest.mark.promise("docs/extensions.md")
async def test_a_package_adds_a_route(temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greeting_extension.py").write_text(ANOTHER)
    monkeypatch.syspath_prepend(tmp_path)
    added = EntryPoint("greeting", "greeting_extension:EXTENSION", api.extensions.GROUP)
    installed(monkeypatch, lambda found: [*found, added])
    async with running_instance(temporal, tmp_path / "data", public_url=OTHER_URL) as instance:
        assert (await instance.http.get("/v1/greeting")).json() == {"tenant": None}
        assert (await instance.http.get("/v1/greeting", headers={"authorization": "none"})).status_code == 401
