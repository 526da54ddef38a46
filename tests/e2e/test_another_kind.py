"""A kind of target that another package brings, through everything: `tests/targets` is all that there is of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import processes
import pytest
from browsers import Browser, Form, Page

TENANT = "acme"
FOLDER = Path(__file__).parents[1] / "targets"
SETTINGS = {"PYTHONPATH": f"{FOLDER}:{processes.ROOT}"}
LATER = {"schedule": [0.1, 3600]}


@pytest.fixture(scope="module")
async def dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[processes.Dev]:
    async with processes.dev(tmp_path_factory.mktemp("dev"), settings=SETTINGS, fresh=True) as started:
        yield started


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file in a folder that does not exist yet."""
    return str(tmp_path / "folder" / "events.txt")


async def made(dev: processes.Dev, target: dict[str, Any]) -> dict[str, Any]:
    fields = {"files": [target], "tenant": TENANT, "retry": LATER, "events": [f"t.{Path(target['path']).parts[-3]}"]}
    answer = await dev.http.post("/v1/webhooks", json=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def command(dev: processes.Dev, *args: str) -> str:
    done = await processes.hookkeeper(*args, cwd=dev.folder, settings=SETTINGS, fresh=True)
    assert done.code == 0, done
    return done.out


@pytest.mark.promise("docs/targets.md")
async def test_api_keeps_the_target_and_masks_its_secret(dev: processes.Dev, path: str) -> None:
    webhook = await made(dev, {"path": path, "password": "secret-word"})
    url = f"/v1/webhooks/{webhook['id']}"
    shown = (await dev.http.get(url)).json()
    assert shown["files"] == [{"path": path, "line": "{{ event.type }}", "password": "********"}]
    assert (shown["url"], shown["emails"]) == (None, [])
    refused = await dev.http.patch(url, json={"files": [{"path": path, "line": "{{ event.type | no_filter }}"}]})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "files.0")
    assert (await dev.http.patch(url, json={"files": [{"path": "no-slash"}]})).status_code == 422
    without = await dev.http.patch(url, json={"files": []})
    assert without.json()["detail"] == "A webhook needs a url, emails, notifications or files."

    same = await dev.http.patch(url, json={"files": shown["files"] + [{"path": path + "2"}]})
    assert same.status_code == 200, same.text
    swapped = await dev.http.patch(url, json={"files": same.json()["files"][::-1]})
    assert swapped.status_code == 200, swapped.text
    Path(path).parent.mkdir()
    event = await dev.until((await dev.send(TENANT, type=webhook["events"][0]))["id"], TENANT, "succeeded")
    first, second = f"{webhook['id']}.file.1", f"{webhook['id']}.file.2"
    assert {each["id"] for each in event["deliveries"]} == {first, second}
    assert Path(path).read_text() == f"secret-word{event['type']} {first}\n"

    document = (await dev.http.get("/openapi.json")).json()["components"]["schemas"]
    assert document["NewWebhook"]["properties"]["files"]["description"] == "Files that get a line for each event."
    assert "path" in document["FileTarget"]["properties"]


async def test_form_has_the_target_and_a_preview(dev: processes.Dev, path: str) -> None:
    async with httpx.AsyncClient(base_url=dev.url, trust_env=False, headers={"origin": dev.url}) as http:
        browser = Browser(http)
        assert (await browser.log_in(dev.key)).status_code == 303
        empty = Page((await browser.get("/webhooks/new")).text)
        assert "Files that get a line for each event." in empty.text and "Where the file is." in empty.text
        fields = {"tenant": TENANT, "files.0.path": path, "files.0.line": "order {{ event.data.order }}"}
        sample = {"sample.type": "order.paid", "sample.data": '{"order": 4711}'}
        shown = await browser.submit("/webhooks/new", "/webhooks/new/preview", **fields, **sample)
        assert "File 1: events.txt" in Page(shown.text).text and "order 4711" in Page(shown.text).text
        bad = await browser.submit("/webhooks/new", "/webhooks/new/preview", **fields, **sample | {"sample.data": "{}"})
        assert "`event.data.order` is undefined" in Page(bad.text).text
        saved = await browser.submit("/webhooks/new", "/webhooks/new", **fields, events="form.sent")
        assert saved.status_code == 303, Page(saved.text).text
        page = saved.headers["location"].partition("?")[0]
        edit = Form((await browser.get(f"{page}/edit")).text, f"{page}/edit").fields
        assert (edit["files.0.path"], edit["files.0.line"]) == (path, fields["files.0.line"])


@pytest.mark.promise("docs/targets.md")
async def test_a_failure_is_retried_and_seen_everywhere(dev: processes.Dev, path: str) -> None:
    """Timeline: the folder is missing for two attempts; it is made; the delivery is retried by hand."""
    webhook = await made(dev, {"path": path, "line": "{{ event.data.order }}"})
    url, type_ = f"/v1/webhooks/{webhook['id']}", webhook["events"][0]
    sent = await dev.send(TENANT, type=type_, data={"order": 4711})
    event = await dev.until_delivery(sent["id"], TENANT, "retrying", 2)
    (delivery,) = event["deliveries"]
    assert (delivery["id"], delivery["channel"]) == (f"{webhook['id']}.file.1", "file")
    assert (delivery["target"], [each["error"] for each in delivery["attempts"]]) == ("events.txt", ["not_written"] * 2)
    assert delivery["attempts"][0]["response_excerpt"] == "No such file or directory"
    health = (await dev.http.get(url)).json()["health"]
    assert (health["status"], health["failing"][0]["target"]) == ("degraded", "file.1")
    for query in ({"channel": "file"}, {"error": "not_written"}):
        listed = (await dev.http.get("/v1/events", params={"tenant": TENANT, "type": type_} | query)).json()["items"]
        assert [each["id"] for each in listed] == [sent["id"]]
    other = await dev.http.get("/v1/events", params={"tenant": TENANT, "type": type_, "channel": "email"})
    assert other.json()["items"] == []

    Path(path).parent.mkdir()
    retried = await dev.http.post(f"/v1/events/{sent['id']}/retry", params={"tenant": TENANT})
    assert retried.status_code == 202, retried.text
    event = await dev.until(sent["id"], TENANT, "succeeded")
    assert [each["error"] for each in event["deliveries"][0]["attempts"]] == ["not_written", "not_written", None]
    assert Path(path).read_text() == f"4711 {webhook['id']}.file.1\n"
    assert (await dev.http.get(url)).json()["health"]["status"] == "healthy"
    stats = (
        await dev.http.get("/v1/stats", params={"by": "channel", "tenant": TENANT, "webhook": webhook["id"]})
    ).json()
    assert [(each["channel"], each["attempts"]) for each in stats["items"]] == [("file", 3)]


async def test_command_line_sets_shows_previews_and_follows(dev: processes.Dev, path: str) -> None:
    Path(path).parent.mkdir()
    target, type_ = {"path": path, "line": "n {{ event.data.n }}"}, f"cli.{Path(path).parts[-3]}"
    options = ("--files", json.dumps(target), "--events", type_, "--tenant", TENANT)
    webhook = json.loads(await command(dev, "webhooks", "create", *options, "--json"))
    assert webhook["files"] == [target | {"password": None}]
    refused = await processes.hookkeeper(
        "webhooks", "create", "--files", path, cwd=dev.folder, settings=SETTINGS, fresh=True
    )
    assert refused.err == f"Error: '{path}' is no JSON object\n"
    shown, listed, preview, followed = await asyncio.gather(
        command(dev, "webhooks", "show", webhook["id"]),
        command(dev, "webhooks", "list", "--tenant", TENANT, "--event", type_),
        command(dev, "webhooks", "preview", webhook["id"], "--type", type_, "--data", '{"n": 5}'),
        command(dev, "send", type_, "--data", '{"n": 6}', "--tenant", TENANT, "--follow"),
    )
    assert ["file", json.dumps(target)] in [line.split(None, 1) for line in shown.splitlines()]
    assert "  append to {" in listed
    assert "\nappend to events.txt\n\n  n 5\n" in preview
    assert "append to events.txt" in followed and "3 bytes" in followed
    assert Path(path).read_text() == f"n 6 {webhook['id']}.file.1\n"
    assert "--files" in await command(dev, "webhooks", "create", "--help")
