"""The commands and the JSON of all pages, run with a `dev`."""

import asyncio
import gc
import json
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
import warnings
from typing import Any

import httpx
import processes
import pytest
from typer.testing import CliRunner

from api.app import bare_app
from cli.main import app
from receivers import Receiver
from test_docs import ROOT, SETTINGS
from test_docs_examples import (
    DELIVERED,
    NOT_RUN,
    ROUTES,
    RUN_BY,
    blocks,
    command_of,
    commands,
    curl_examples,
    json_examples,
    model_of,
)

pytest_plugins = ["dev_fixtures"]


async def curl(dev: processes.Dev, line: str) -> httpx.Response:
    """Make the request of this line."""
    words = shlex.split(line.replace("$HOOKKEEPER_API_KEY", dev.key))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    url = next(word for word in words if word.startswith("localhost:8080")).replace("localhost:8080", dev.url)
    data = words[words.index("-d") + 1] if "-d" in words else None
    async with (
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
        http.stream("POST" if data else "GET", url, headers=headers, content=data) as answer,
    ):
        if "stream" not in url:
            await answer.aread()
        return answer


def beginning_with(word: str) -> list[Any]:
    """Return the commands that begin with a word and that no other test runs."""
    lines = [(each, each.values[0]) for each in commands()]
    return [each for each, line in lines if line.startswith(word) and not line.startswith((*RUN_BY, *NOT_RUN))]


@pytest.mark.parametrize("page", ["README.md", "docs/first-webhook.md"])
async def test_the_first_webhook_works_as_written(running_dev: processes.Dev, tenant: str, page: str) -> None:
    """After its steps, the event was delivered with one retry, its signature was verified, and the log lists it."""
    lines = [line.replace("acme", tenant) for line in blocks((ROOT / page).read_text())]
    register, send = (line for line in lines if line.startswith("curl "))
    listen = next(line for line in lines if " listen " in line).split("hookkeeper ")[1].replace("9000", "0")
    show = next(line for line in lines if " events list " in line).split("hookkeeper ")[1]

    async with processes.process(*shlex.split(listen), cwd=running_dev.folder) as receiver:
        address = re.search(r"http://127\.0\.0\.1:\d+", await receiver.says("Ctrl-C"))
        assert address
        registered = await curl(running_dev, register.replace("http://127.0.0.1:9000", address[0]))
        assert registered.status_code == 201, registered.text
        assert registered.json()["secret"].startswith("whsec_")
        accepted = await curl(running_dev, send)
        assert accepted.status_code == 202, accepted.text
        event = await running_dev.until(accepted.json()["id"], tenant)
        assert [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]] == [503, 200]
        output = await receiver.says("signature verified", times=2)
        assert output.count(f"{event['id']}  signature verified") == 2
        assert await receiver.stop(signal.SIGINT) == 0
    listed = await running_dev.run(*shlex.split(show))
    assert event["id"] in listed.out


async def meant(dev: processes.Dev, tenant: str, inbox: Receiver, line: str) -> str:
    """Return the line with a tenant of its own, and with objects of it: a webhook, an event whose first attempt has
    failed, an event type and a key.
    """
    webhook = await dev.webhook(inbox.url, tenant, retry={"schedule": [3600]})
    known = {"acme": tenant, "order.paid": f"{tenant}.paid", "wh_…": webhook["id"]}
    if "tenants create" in line:
        known["acme"] = f"{tenant}-new"
    if "evt_…" in line:
        inbox.fails(500)
        known["evt_…"] = (await dev.send(tenant))["id"]
        await dev.until_delivery(known["evt_…"], tenant, "retrying", attempts=1)
    if "event-types" in line:
        assert (await dev.http.post("/v1/event-types", json={"name": known["order.paid"]})).is_success
    if "key_…" in line:
        key = await dev.http.post("/v1/keys", json={"name": "example", "tenant": tenant})
        known["key_…"] = key.json()["id"]
    for name, value in known.items():
        line = line.replace(name, value)
    return line


def run(words: list[str]) -> tuple[int, str]:
    """Return exit code and output of a command. It leaves its connection to the end of its process."""
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        done = CliRunner().invoke(app, words)
        result = done.exit_code, f"{done.output}{done.exception or ''}"
        del done
        gc.collect()
    return result


@pytest.mark.parametrize("line", beginning_with("hookkeeper "))
async def test_the_command_line_does_what_a_page_shows(
    running_dev: processes.Dev, tenant: str, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """In this process: the start of one takes longer than its command. Questions are answered with yes."""
    monkeypatch.setenv("HOOKKEEPER_URL", running_dev.url)
    monkeypatch.setenv("HOOKKEEPER_API_KEY", running_dev.key)
    words = shlex.split(await meant(running_dev, tenant, inbox, line), comments=True)
    asks = "--yes" in [name for option in command_of(words)[0].params for name in option.opts]
    code, output = await asyncio.to_thread(run, [*words[1:], *["--yes"][:asks]])
    assert code == 0, output


@pytest.mark.parametrize("line", beginning_with("temporal workflow "))
async def test_temporals_own_tool_does_what_a_page_shows(
    running_dev: processes.Dev, tenant: str, inbox: Receiver, line: str
) -> None:
    example = await meant(running_dev, tenant, inbox, line)
    words = shlex.split(example.replace("--namespace hookkeeper", "--namespace default"))
    tool = shutil.which("temporal", path=sysconfig.get_path("scripts"))
    assert tool
    done = await asyncio.create_subprocess_exec(
        *(tool, *words[1:], "--address", running_dev.temporal),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = await done.communicate(b"y\n")
    assert done.returncode == 0, out


@pytest.mark.parametrize("line", curl_examples())
async def test_the_api_answers_the_requests_of_all_pages(running_dev: processes.Dev, tenant: str, line: str) -> None:
    assert (await curl(running_dev, line.replace("acme", tenant))).is_success


@pytest.mark.parametrize("example", json_examples())
async def test_the_api_accepts_the_examples_of_all_pages(running_dev: processes.Dev, tenant: str, example: str) -> None:
    value: dict[str, Any] = json.loads(example)
    if list(value) == DELIVERED:
        pytest.skip("a body that is delivered; no request")
    route = next((route for route, model in ROUTES.items() if model is model_of(value)), None)
    if route is None:
        pytest.skip("a file; no request")
    unique = {"name": f"{tenant}.paid"} if "schema" in value else {"tenant": tenant}
    answer = await running_dev.http.post(route, json=value | unique)
    assert answer.status_code in (201, 202), answer.text


def posted_examples() -> list[Any]:
    """Return the examples of the OpenAPI document for requests that need no other object."""
    paths = bare_app(SETTINGS).openapi()
    found = []
    for path, methods in paths["paths"].items():
        body = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        if path.startswith("/v1/") and "{" not in path and "$ref" in body.get("schema", {}):
            model = paths["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
            found += [pytest.param(path, example, id=path) for example in model["examples"]]
    return found


@pytest.mark.parametrize(("path", "example"), posted_examples())
async def test_the_api_accepts_the_examples_of_its_document(
    running_dev: processes.Dev, tenant: str, path: str, example: dict[str, Any]
) -> None:
    value = json.loads(json.dumps(example).replace('"acme"', f'"{tenant}"').replace("order.paid", f"{tenant}.paid"))
    filter_ = {"tenant": tenant, "last": "1h"} if path == "/v1/bulk" else {}
    answer = await running_dev.http.post(path, params=filter_, json=value)
    assert answer.is_success, answer.text
    for item in answer.json().get("items", []):
        assert item["status"] == 202, item
