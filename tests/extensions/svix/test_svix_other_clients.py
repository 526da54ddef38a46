"""Svix's other clients, unchanged: `make svix-clients`, since packages have to be downloaded for it."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from sockets import serving

from instances import KEY, Instance
from receivers import Receiver

CALLS = Path(__file__).parent / "clients"
MIN_CALLS = 30
CLIENTS = {
    "javascript": ("npm install --no-audit --no-fund --silent", "node calls.mjs"),
    "go": ("go mod download", "go run ."),
    "command line": ("svix version", "sh calls.sh"),
}
"""The commands that install a client, and that make its calls."""
pytestmark = pytest.mark.skipif("SVIX_CLIENTS" not in os.environ, reason="downloads packages: make svix-clients")


async def _run(command: str, *arguments: str, folder: Path) -> str:
    """Run a command and return its output. A failure shows what it has printed."""
    process = await asyncio.create_subprocess_exec(
        *command.split(), *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_makes_the_calls_of_its_documentation(
    client: str, instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    install, run = CLIENTS[client]
    if shutil.which(install.split()[0]) is None:
        pytest.skip(f"{install.split()[0]} is not installed")
    folder = shutil.copytree(CALLS, tmp_path / "calls")
    await _run(install, folder=folder)
    async with serving(instance.app) as server:
        url = f"http://127.0.0.1:{server.port}"
        calls = await _run(run, url, KEY, inbox.url, instance.tenant, folder=folder)
    assert int(calls) >= MIN_CALLS
    request = (await inbox.got(1))[0]
    assert request.body == b'{"order":4711}'
    assert request.headers["svix-id"] == "m-1"
