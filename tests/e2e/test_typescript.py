"""The TypeScript client, as docs/typescript.md describes it: types from the API's document, checked, and used."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import processes
import pytest
from test_examples import NPM_INSTALL, OUT_OF_REACH, run

from receivers import receiver
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]

CLIENT = processes.ROOT / "clients/typescript"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the client, with its packages."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node or npm is not installed")
    copy = tmp_path / "typescript"
    shutil.copytree(CLIENT, copy, ignore=shutil.ignore_patterns("build", "package-lock.json", "schema.d.ts"))
    if (copy / "node_modules").is_dir():
        return copy
    try:
        done = subprocess.run((*NPM_INSTALL, "--prefix", copy), capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        pytest.skip("npm was too slow")
    if unreachable := OUT_OF_REACH.search(done.stderr):
        pytest.skip(f"npm's registry cannot be reached: {unreachable[1]}")
    assert done.returncode == 0, done.stderr
    return copy


async def test_the_types_of_the_api_fit_a_program_and_refuse_a_wrong_field(
    running_dev: processes.Dev, folder: Path
) -> None:
    settings = {"HOOKKEEPER_URL": running_dev.url, "HOOKKEEPER_API_KEY": running_dev.key}
    for script in ("generate", "build"):
        done = await run("npm", "run", "--silent", script, cwd=folder, **settings)
        assert done.code == 0, done
    async with receiver() as inbox:
        sent = await run("node", "build/orders.js", inbox.url, cwd=folder, **settings)
        (request,) = await inbox.got(1, WAIT_TIMEOUT)
    assert (sent.code, sent.err) == (0, "")
    assert re.fullmatch(rf"{request.webhook_id}  succeeded\n", sent.out)
    assert json.loads(request.body)["data"] == {"order": 4711}

    program = folder / "orders.ts"
    program.write_text(program.read_text().replace('type: "order.paid"', 'type: "order.paid", kind: 1'))
    refused = await run("npm", "run", "--silent", "build", cwd=folder)
    assert refused.code != 0
    assert "'kind' does not exist" in refused.out
