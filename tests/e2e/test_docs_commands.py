"""The commands in README and the guide to the first webhook, and the JSON of all pages, sent to the API."""

import json
import re
import shlex
import signal
from typing import Any

import httpx
import processes
import pytest

from api.app import bare_app
from test_docs import ROOT, SETTINGS
from test_docs_examples import DELIVERED, ROUTES, blocks, json_examples, model_of

pytest_plugins = ["dev_fixtures"]


async def curl(dev: processes.Dev, line: str) -> httpx.Response:
    """Make the request of this line."""
    words = shlex.split(line.replace("$HOOKKEEPER_API_KEY", dev.key))
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    url = next(word for word in words if word.startswith("localhost:8080")).replace("localhost:8080", dev.url)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        return await http.post(url, headers=headers, content=words[words.index("-d") + 1])


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


@pytest.mark.parametrize("example", json_examples())
async def test_the_api_accepts_the_examples_of_all_pages(running_dev: processes.Dev, tenant: str, example: str) -> None:
    value: dict[str, Any] = json.loads(example)
    if list(value) == DELIVERED:
        pytest.skip("a body that is delivered; no request")
    route = next(route for route, model in ROUTES.items() if model is model_of(value))
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
