"""Svix's clients in other languages, unchanged: `make svix-clients`, since packages have to be downloaded for it."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from sockets import serving

from instances import KEY, Instance
from receivers import Receiver

CALLS = Path(__file__).parents[1] / "svix_clients"
MIN_CALLS = 30
pytestmark = pytest.mark.skipif("SVIX_CLIENTS" not in os.environ, reason="downloads packages: make svix-clients")


async def _run(*command: str, folder: Path) -> str:
    """Run a command and return its output. A failure shows what it has printed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
async def test_the_javascript_client_does_what_its_documentation_shows(
    instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    for name in ("package.json", "calls.mjs"):
        shutil.copy(CALLS / name, tmp_path)
    await _run("npm", "install", "--no-audit", "--no-fund", "--silent", folder=tmp_path)
    async with serving(instance.app) as server:
        url = f"http://127.0.0.1:{server.port}"
        calls = await _run("node", "calls.mjs", url, KEY, inbox.url, folder=tmp_path)
    assert int(calls) >= MIN_CALLS
    request = (await inbox.got(1))[0]
    assert request.body == b'{"order":4711}'
    assert request.headers["svix-id"] == "m-1"
