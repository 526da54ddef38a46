"""The TypeScript client, as docs/typescript.md describes it: types from the API's document, checked, and used."""

import json
import re
import shutil
from pathlib import Path

import processes
import pytest

from receivers import receiver
from test_examples import run, with_packages
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]

CLIENT = processes.ROOT / "clients/typescript"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the client, with its packages."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    return with_packages(CLIENT, tmp_path / "typescript")


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
