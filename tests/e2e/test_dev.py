"""`hookkeeper dev` starts everything, stops everything, and loses nothing."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import processes
import pytest
from standardwebhooks import Webhook

from cli.local.temporal_server import find_binary
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]


def codes(event: dict[str, Any]) -> list[int | None]:
    return [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]]


async def stops_cleanly(dev: processes.Dev, number: signal.Signals) -> None:
    """Stop it, and check that no process and no port is left."""
    children = await processes.children(dev.process.pid)
    assert "temporal" in children
    assert await dev.process.stop(number) == 0
    assert not any(processes.is_alive(pid) for pid in children.values())
    assert dev.ports.are_free()
    assert dev.process.err.read_text() == ""
    assert "Stopped." in dev.process.written()


@pytest.mark.promise("docs/first-webhook.md")
async def test_prints_all_addresses(running_dev: processes.Dev) -> None:
    output = running_dev.process.written()
    for service in ("Temporal", "Worker", "API"):
        assert f"✓ {service}" in output
    for address in (running_dev.url, f"{running_dev.url}/docs", running_dev.temporal, running_dev.key):
        assert f" {address}\n" in output
    emails = running_dev.folder / ".hookkeeper" / "emails"
    assert f"  Emails        saved to {emails}: no provider is set\n" in output
    async with httpx.AsyncClient(trust_env=False) as http:
        ui = f"http://127.0.0.1:{running_dev.ports.ui}"
        assert f" {ui}\n" in output
        assert "<!doctype html>" in (await http.get(ui, follow_redirects=True)).text
        # The web UI finds a server that another test has killed a moment after that is back.
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await http.get(f"{ui}/api/v1/namespaces/default")).status_code != 200:
                await asyncio.sleep(0.1)
        assert (await http.get(f"{running_dev.url}/docs")).status_code == 200


@pytest.mark.promise("docs/first-webhook.md")
async def test_delivers_an_event_posted_over_http(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    inbox.fails(503, 503)
    webhook = await running_dev.webhook(inbox.url, tenant, retry={"schedule": [0.1, 0.2]})
    accepted = await running_dev.send(tenant, data={"order": 4711})
    event = await running_dev.until(accepted["id"], tenant)
    assert (event["status"], codes(event)) == ("succeeded", [503, 503, 200])
    for request in inbox.requests:
        assert Webhook(webhook["secret"]).verify(request.body.decode(), request.headers)["data"] == {"order": 4711}
    assert event["links"]["self"].startswith(f"{running_dev.url}/v1/events/{event['id']}")
    assert event["links"]["temporal"].startswith(f"http://127.0.0.1:{running_dev.ports.ui}/")


@pytest.mark.promise("docs/first-webhook.md")
async def test_secrets_are_readable_by_the_owner_only(running_dev: processes.Dev) -> None:
    data = running_dev.folder / ".hookkeeper"
    assert data.stat().st_mode & 0o777 == 0o700
    for name in ("admin.key", "dev.json", "registry.db", "registry.db-wal", "temporal.db", "logs/hookkeeper.log"):
        assert (data / name).stat().st_mode & 0o777 == 0o600


async def test_loses_nothing_however_it_ends(tmp_path: Path, inbox: Receiver, tenant: str) -> None:
    """Setup: one event that is delivered, one that has failed once and waits for its retry.
    Timeline: Ctrl-C after the first; kill -9 while the second waits, which also kills Temporal's server; SIGTERM.
    Proves: a stop leaves no process and no port; results are kept, and the retry is made when it is due.
    """
    async with processes.dev(tmp_path, fresh=True) as dev:
        webhook = await dev.webhook(inbox.url, tenant, retry={"schedule": [6]})
        done = await dev.until((await dev.send(tenant))["id"], tenant, "succeeded")
        key = dev.key
        await stops_cleanly(dev, signal.SIGINT)

    async with processes.dev(tmp_path) as second:  # on other ports
        assert second.key == key
        still_done = await second.event(done["id"], tenant)
        assert still_done.pop("links") != done.pop("links")
        assert still_done == done
        assert (await second.http.get(f"/v1/webhooks/{webhook['id']}")).json()["url"] == inbox.url
        inbox.fails(500)
        waits = await second.send(tenant)
        await second.until_delivery(waits["id"], tenant, "retrying", 1)
        children = await processes.children(second.process.pid)
        os.kill(second.process.pid, signal.SIGKILL)
        await second.process.process.wait()

    own = {
        "HOOKKEEPER_ADMIN_KEY": "a-key-of-my-own-choice",
        "HOOKKEEPER_PUBLIC_URL": "https://hooks.example/",
        "HOOKKEEPER_SMTP_URL": "smtp://ann:password-of-ann@mail.example:587",
    }
    async with processes.dev(tmp_path, second.ports, own) as third:  # at once, on the same ports
        assert third.key == "a-key-of-my-own-choice"
        assert "  Emails        sent through SMTP (mail.example)\n" in third.process.written()
        assert "password-of-ann" not in third.process.written()
        await processes.until(lambda: not any(processes.is_alive(pid) for pid in children.values()))
        event = await third.until(waits["id"], tenant)
        assert (event["status"], codes(event)) == ("succeeded", [500, 200])
        first, last = [datetime.fromisoformat(attempt["started_at"]) for attempt in event["deliveries"][0]["attempts"]]
        assert (last - first).total_seconds() >= 3
        assert event["links"]["self"].startswith("https://hooks.example/v1/")
        assert len(inbox.requests) == 3
        await stops_cleanly(third, signal.SIGTERM)


async def test_stops_during_its_start(tmp_path: Path) -> None:
    ports = processes.free_ports()
    async with processes.process("dev", *ports.arguments, cwd=tmp_path) as starting:
        await starting.says("✓ Temporal")
        children = await processes.children(starting.pid)
        assert await starting.stop(signal.SIGINT) == 0
        assert not any(processes.is_alive(pid) for pid in children.values())
        assert ports.are_free()
        assert starting.err.read_text() == ""


async def test_stops_when_its_terminal_is_closed(tmp_path: Path) -> None:
    """SIGHUP, and no terminal to print to."""
    ports = processes.free_ports()
    terminal, inside = os.openpty()
    starting = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hookkeeper", "dev", *ports.arguments),
        cwd=tmp_path,
        env=processes.environment(processes.NOTHING),
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    output = b""
    while b"Temporal" not in output:
        output += await asyncio.to_thread(os.read, terminal, 1000)
    children = await processes.children(starting.pid)
    os.close(terminal)
    starting.send_signal(signal.SIGHUP)
    async with asyncio.timeout(processes.STOP):
        await starting.wait()
    assert children
    assert not any(processes.is_alive(pid) for pid in children.values())
    assert ports.are_free()


async def test_restarts_temporal(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    """Setup: a delivery that has failed once and waits for its retry.
    Timeline: kill -9 of Temporal's server.
    Proves: it is restarted, and the delivery is made.
    """
    await running_dev.webhook(inbox.url, tenant, retry={"schedule": [5]})
    inbox.fails(500)
    accepted = await running_dev.send(tenant)
    await running_dev.until_delivery(accepted["id"], tenant, "retrying", attempts=1)
    before = (await processes.children(running_dev.process.pid))["temporal"]
    os.kill(before, signal.SIGKILL)
    event = await running_dev.until(accepted["id"], tenant)
    assert (event["status"], codes(event)) == ("succeeded", [500, 200])
    await running_dev.process.says("temporal died (signal 9), restarted")
    assert (await processes.children(running_dev.process.pid))["temporal"] != before
    await running_dev.until_ready()
    assert len(inbox.requests) == 2


async def test_a_port_in_use_is_replaced_and_the_command_line_finds_the_api(tmp_path: Path) -> None:
    """No option names a port, so the usual ones are replaced where other processes use them."""
    with ExitStack() as others:
        for port in (8080, 7233, 8233, 9464):
            with suppress(OSError):  # in use already
                others.enter_context(socket.create_server(("127.0.0.1", port)))
        async with processes.process("dev", cwd=tmp_path) as dev:
            output = await dev.says("Ctrl-C stops everything")
            for port, service in ((8080, "the API"), (7233, "Temporal"), (9464, "metrics")):
                assert re.search(rf"! Port {port} is in use: {service} gets \d+\n", output)
            listed = await processes.hookkeeper("webhooks", "list", "--json", cwd=tmp_path)
            assert (listed.code, json.loads(listed.out)["items"]) == (0, [])
            stored = json.loads((tmp_path / ".hookkeeper/dev.json").read_text())
            assert f":{stored['ports']['api']}" in stored["url"]
            async with httpx.AsyncClient(trust_env=False) as http:
                answer = await http.get(f"http://127.0.0.1:{stored['ports']['metrics']}/metrics")
            assert "hookkeeper_source_up" in answer.text


# Refusals


async def test_reports_why_it_cannot_start(running_dev: processes.Dev, tmp_path: Path) -> None:
    used = running_dev.ports.api

    async def refused(
        sentence: str,
        *args: str,
        cwd: Path = tmp_path,
        settings: processes.Settings = processes.NOTHING,
        code: int = 1,
    ) -> None:
        done = await processes.hookkeeper("dev", *processes.free_ports().arguments, *args, cwd=cwd, settings=settings)
        assert done.code == code, done
        assert done.err.startswith(f"Error: {sentence}"), done
        assert "Traceback" not in done.err

    await asyncio.gather(
        refused(
            f"another dev or demo uses {running_dev.folder / '.hookkeeper'} ({running_dev.url})\n",
            cwd=running_dev.folder,
        ),
        refused(
            f"port {used} for the API is in use: stop the process that uses it, or set --port\n",
            *("--port", str(used), "--data-dir", "a"),
        ),
        refused(
            f"port {used} for the Temporal web UI is in use: stop the process that uses it, or set --ui-port\n",
            *("--ui-port", str(used), "--data-dir", "b"),
        ),
        refused(
            "the API, Temporal, the Temporal web UI need different ports\n",
            *("--port", "17233", "--temporal-port", "17233", "--data-dir", "c"),
        ),
        refused(
            "set HOOKKEEPER_ADMIN_KEY to listen on 0.0.0.0, because other machines can reach it\n",
            *("--host", "0.0.0.0", "--data-dir", "d"),
        ),
        refused(
            "::nowhere:: is not an address of this machine: ",
            *("--host", "::nowhere::", "--data-dir", "e"),
            settings={"HOOKKEEPER_ADMIN_KEY": "a-key-for-tests-only"},
        ),
        refused(
            "192.0.2.1 is not an address of this machine: ",
            *("--host", "192.0.2.1", "--data-dir", "g"),
            settings={"HOOKKEEPER_ADMIN_KEY": "a-key-for-tests-only"},
        ),
        refused("cannot store data in /dev/null: File exists\n", "--data-dir", "/dev/null"),
        refused(
            "invalid settings:\n  HOOKKEEPER_RETENTION: ",
            *("--data-dir", "f"),
            settings={"HOOKKEEPER_RETENTION": "x"},
            code=78,
        ),
    )


async def test_reports_a_setting_that_only_the_worker_reads(tmp_path: Path) -> None:
    """Setup: a sender that is no address, and a mistyped name. Proves: `dev` ends, and says why."""
    settings = {"HOOKKEEPER_EMAIL_FROM": "no-address", "HOOKKEEPER_RETENTON": "P1D"}
    done = await processes.hookkeeper("dev", *processes.free_ports().arguments, cwd=tmp_path, settings=settings)
    assert done.code == 78, "a supervisor need not start it again"
    assert done.err.startswith("Error: the email settings are invalid: ")
    assert done.err.count("Error: ") == 1
    assert "! Warning: HOOKKEEPER_RETENTON is not a setting: did you mean HOOKKEEPER_RETENTION?\n" in done.out


# Temporal's own command line


async def signal_run(dev: processes.Dev, workflow_id: str, name: str, delivery: str | None = None) -> None:
    argument = ("--input", json.dumps(delivery)) if delivery else ()
    sending = await asyncio.create_subprocess_exec(
        *(str(find_binary()), "workflow", "signal", "--address", dev.temporal),
        *("--workflow-id", workflow_id, "--name", name, *argument),
        env=processes.environment(processes.NOTHING),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = await sending.communicate()
    assert sending.returncode == 0, out.decode()


@pytest.mark.parametrize(("name", "status"), [("retry", "succeeded"), ("cancel", "cancelled")])
async def test_signals_to_all_deliveries(
    running_dev: processes.Dev, inbox: Receiver, tenant: str, name: str, status: str
) -> None:
    inbox.fails(500)
    await running_dev.webhook(inbox.url, tenant, retry={"schedule": [3600]})
    accepted = await running_dev.send(tenant)
    await running_dev.until_delivery(accepted["id"], tenant, "retrying", 1)
    await signal_run(running_dev, accepted["workflow_id"], name)
    event = await running_dev.until(accepted["id"], tenant)
    assert event["status"] == status
    assert [attempt["trigger"] for attempt in event["deliveries"][0]["attempts"]][1:] == ["manual"] * (name == "retry")


@pytest.mark.promise("docs/first-webhook.md")
async def test_signals_to_one_delivery(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    inbox.fails(500, 500)
    for _ in range(2):
        await running_dev.webhook(inbox.url, tenant, retry={"schedule": [3600]})
    accepted = await running_dev.send(tenant)
    first, second = [delivery["id"] for delivery in accepted["deliveries"]]

    async def until_statuses(**expected: str) -> None:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while True:
                event = await running_dev.event(accepted["id"], tenant)
                if {delivery["id"]: delivery["status"] for delivery in event["deliveries"]} == expected:
                    return
                await asyncio.sleep(0.05)

    await until_statuses(**{first: "retrying", second: "retrying"})
    await signal_run(running_dev, accepted["workflow_id"], "hold", first)
    await until_statuses(**{first: "held", second: "retrying"})
    await signal_run(running_dev, accepted["workflow_id"], "retry", second)
    await until_statuses(**{first: "held", second: "succeeded"})
    await signal_run(running_dev, accepted["workflow_id"], "release", first)
    await until_statuses(**{first: "retrying", second: "succeeded"})
    await signal_run(running_dev, accepted["workflow_id"], "cancel", first)
    await until_statuses(**{first: "cancelled", second: "succeeded"})
