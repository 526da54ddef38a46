"""`hookkeeper dev --encrypt`: data on the disk can be read with the key only."""

import asyncio
import json
import re
import signal
import sqlite3
import subprocess
from base64 import b64decode
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import processes

from cli.local.temporal_server import find_binary
from hookkeeper.crypto.signing_keys import new_secret
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

DATA = {"customer-field": "customer-word", "order": 471147114711}
UNREADABLE = (
    *("customer-field", "customer-word", "471147114711", "header-word", "subject-word", "note-path", "detail-word"),
    *("receiver-path", "answer-word", "receiver.example", "127.0.0.1:{port}"),
)


def found_in(files: list[Path], words: list[str]) -> list[str]:
    assert files
    return [f"{word} in {file.name}" for file in files for word in words if word.encode() in file.read_bytes()]


async def fill(dev: processes.Dev, inbox: Receiver, unreachable: str) -> tuple[str, list[str]]:
    """Deliver an event by all channels, and let one delivery fail; return its id and all signing keys."""
    inbox.fails(503, 500)
    inbox.otherwise = Answer(200, "answer-word")
    good = await dev.webhook(
        f"{inbox.url}/receiver-path",
        "acme",
        headers={"x-token": "header-word"},
        retry={"schedule": [0.1, 0.2, 0.3]},
        emails=[{"to": ["ann@receiver.example"], "subject": "subject-word {{ event.data.order }}", "text": "."}],
        notifications=[{"http": {"url": f"{inbox.url}/note-path", "body": '{"text": {{ event.data.order }}}'}}],
    )
    bad = await dev.webhook(
        unreachable, "acme", retry={"schedule": [0.1]}, on_failure={"emails": [{"to": ["ops@receiver.example"]}]}
    )
    rotated = await dev.http.post(f"/v1/webhooks/{bad['id']}/rotate-secret", json={})
    suppressed = {"tenant": "acme", "address": "bob@receiver.example", "detail": "detail-word"}
    assert (await dev.http.post("/v1/suppressions", json=suppressed)).status_code == 201
    event_id = (await dev.send("acme", data=DATA))["id"]
    assert (await dev.until(event_id, "acme"))["status"] == "failed"
    return event_id, [webhook["secret"].removeprefix("whsec_") for webhook in (good, bad, rotated.json())]


async def test_nothing_on_the_disk_is_readable(tmp_path: Path, inbox: Receiver) -> None:
    """Setup: a dev with --encrypt.
    Timeline: an event with deliveries that succeed and fail, an email, a notification, an alert; a search in all
    databases and their logs; a stop, and a start without the option.
    Proves: data, secrets and receivers cannot be read on the disk; API, command line and Temporal's own tools
    (with the key) show them; the next start finds the key by itself; without it, the error names the missing key.
    """
    data = tmp_path / ".hookkeeper"
    unreachable = f"http://127.0.0.1:{processes.free_ports().api}/receiver-path"
    async with processes.dev(tmp_path, options=("--encrypt",)) as dev:
        event_id, secrets = await fill(dev, inbox, unreachable)
        port = inbox.url.rpartition(":")[2].partition("/")[0]
        words = [*(word.format(port=port) for word in UNREADABLE), *secrets]
        assert found_in(sorted(data.glob("*.db*")), words) == []
        assert (data / "encryption.keys").stat().st_mode & 0o777 == 0o600
        key = (data / "encryption.keys").read_text().strip()
        assert f"keys: {data / 'encryption.keys'}" in dev.process.written()
        assert key.partition(":")[2] not in dev.process.written()
        shown = await dev.run("events", "show", event_id, "--tenant", "acme", "--json")
        assert json.loads(shown.out)["data"] == DATA
        await check_temporals_tools(dev, event_id)
        assert await dev.process.stop(signal.SIGINT) == 0
    assert found_in(sorted(data.glob("*.db*")), words) == []

    async with processes.dev(tmp_path) as again:
        assert (await again.event(event_id, "acme"))["data"] == DATA
        await again.process.stop(signal.SIGINT)

    other = {"HOOKKEEPER_ENCRYPTION_KEYS": "other:" + "A" * 43 + "="}
    refused = await processes.hookkeeper("dev", *processes.free_ports().arguments, cwd=tmp_path, settings=other)
    assert refused.code == 1
    assert "encrypted with key dev1, which is not in HOOKKEEPER_ENCRYPTION_KEYS" in refused.err
    assert "AAAA" not in refused.err + refused.out


async def check_temporals_tools(dev: processes.Dev, event_id: str) -> None:
    """Read the run as Temporal's command line and web UI do: with the key, and without."""
    show = [
        *(str(find_binary()), "workflow", "show", "--address", dev.temporal),
        *("--workflow-id", f"event-acme-{event_id}", "--output", "json"),
    ]
    plain = await output(*show)
    assert b"customer-word" not in b64decode(input_of(plain)["data"])
    decoded = await output(*show, "--codec-endpoint", f"{dev.url}/codec", "--codec-auth", f"Bearer {dev.key}")
    assert b"customer-word" in b64decode(input_of(decoded)["data"])
    async with httpx.AsyncClient(trust_env=False) as browser:
        settings = (await browser.get(f"http://127.0.0.1:{dev.ports.ui}/api/v1/settings")).json()
        endpoint = settings["Codec"]["Endpoint"]
        assert endpoint == f"{dev.url}/codec"
        payloads = {"payloads": [input_of(plain)]}
        headers = {"origin": f"http://127.0.0.1:{dev.ports.ui}"}
        assert (await browser.post(f"{endpoint}/decode", json=payloads, headers=headers)).status_code == 401
        await browser.post(endpoint, data={"key": dev.key})
        answer = await browser.post(f"{endpoint}/decode", json=payloads, headers=headers)
        assert answer.headers["access-control-allow-origin"] == headers["origin"]
        assert answer.json() == {"payloads": [input_of(decoded)]}


def input_of(history: str) -> dict[str, Any]:
    """Return the input payload of a run."""
    started = json.loads(history)["events"][0]["workflowExecutionStartedEventAttributes"]
    return started["input"]["payloads"][0]  # type: ignore[no-any-return]


async def output(*argv: str) -> str:
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await process.communicate()
    return out.decode()


async def test_an_unencrypted_registry_is_encrypted(tmp_path: Path) -> None:
    data, url = tmp_path / ".hookkeeper", "https://receiver.example/receiver-path"
    data.mkdir(mode=0o700)
    webhook = Webhook(id="wh_1", tenant="acme", url=url, events=["*"], secret=new_secret("v1"))
    async with Store.connect(f"sqlite+aiosqlite:///{data / 'registry.db'}") as store:
        await store.migrate()
        await store.webhooks.add(webhook)
    words = ["receiver-path", webhook.secret.removeprefix("whsec_")]
    assert found_in(sorted(data.glob("registry.db*")), words)
    async with processes.dev(tmp_path, options=("--encrypt",)) as dev:
        shown = await dev.http.get("/v1/webhooks/wh_1")
        assert shown.json()["url"] == url
        assert found_in(sorted(data.glob("registry.db*")), words) == []


async def test_an_erased_event_leaves_the_database(tmp_path: Path) -> None:
    """Without encryption: the data is in no row, and after a checkpoint of the log in no page."""
    database = tmp_path / ".hookkeeper" / "temporal.db"
    async with processes.dev(tmp_path) as dev:
        erased, kept = [(await dev.send("acme", data={"name": f"data-of-{who}"}))["id"] for who in ("ann", "bob")]
        for event_id in (erased, kept):
            await dev.until(event_id, "acme", "no_webhook")
        assert rows_with(database, b"data-of-ann")
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await erase(dev, erased)).status_code == 409:  # it has succeeded, and its run is about to close
                await asyncio.sleep(0.1)
            while rows_with(database, b"data-of-ann"):
                await asyncio.sleep(0.2)
        assert (await dev.http.get(f"/v1/events/{erased}", params={"tenant": "acme"})).status_code == 404
        assert (await dev.event(kept, "acme"))["data"] == {"name": "data-of-bob"}
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw = b"".join(file.read_bytes() for file in database.parent.glob("temporal.db*"))
    assert b"data-of-bob" in raw
    assert b"data-of-ann" not in raw


async def erase(dev: processes.Dev, event_id: str) -> httpx.Response:
    answer = await dev.http.delete(f"/v1/events/{event_id}/data", params={"tenant": "acme"})
    assert answer.status_code in (202, 409)
    return answer


def rows_with(database: Path, words: bytes) -> list[str]:
    """Return the tables that have the words in a row."""
    found = []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()
            if any(words in (cell if isinstance(cell, bytes) else str(cell).encode()) for row in rows for cell in row):
                found.append(table)
    return found


async def test_reports_a_damaged_key_file(tmp_path: Path) -> None:
    (tmp_path / ".hookkeeper").mkdir()
    (tmp_path / ".hookkeeper" / "encryption.keys").write_text("dev1:c2VjcmV0\n")
    refused = await processes.hookkeeper("dev", *processes.free_ports().arguments, cwd=tmp_path)
    assert refused.code == 1
    assert re.search(r"encryption\.keys: key dev1 has 6 bytes, not 32", refused.err)
    assert "c2VjcmV0" not in refused.err


async def test_reports_an_invalid_key_without_repeating_it(tmp_path: Path) -> None:
    wrong = {"HOOKKEEPER_ENCRYPTION_KEYS": "c2VjcmV0LXdpdGhvdXQtYW4taWQ="}
    for command in ("api", "worker", "migrate", "dev"):
        refused = await processes.hookkeeper(command, cwd=tmp_path, settings=wrong)
        assert refused.code == 78
        assert "HOOKKEEPER_ENCRYPTION_KEYS: " in refused.err
        assert "c2VjcmV0" not in refused.err + refused.out
