"""The command line as people and scripts use it: its output and its exit codes."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
import processes
import pytest
import typer
from standardwebhooks import Webhook
from typer.testing import CliRunner

from cli.client.api import Api
from cli.datadir import DEFAULT, DataDir
from cli.main import app
from cli.ports import Ports
from hookkeeper.version import VERSION
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]


async def as_json(dev: processes.Dev, *args: str) -> Any:
    """Run a command that prints JSON, and return it."""
    done = await dev.run(*args, "--json")
    assert (done.code, done.err) == (0, ""), done
    return json.loads(done.out)


# Sending


@pytest.mark.promise("docs/command-line.md")
async def test_send_follows_the_attempts(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    inbox.fails(503, 500)
    await running_dev.webhook(inbox.url, tenant, retry={"schedule": [0.1, 0.1]})
    done = await running_dev.run("send", "order.paid", "--data", '{"n": 1}', "--tenant", tenant, "--follow")
    assert (done.code, done.err) == (0, "")
    accepted, *attempts, end = done.out.splitlines()
    assert accepted.endswith("  1 delivery")
    for line, result in zip(attempts, ("✗ attempt 1", "✗ attempt 2", "✓ attempt 3"), strict=True):
        assert f"{result}  POST {inbox.url} → " in line
    assert [line.split("→ ")[1].split()[0] for line in attempts] == ["503", "500", "200"]
    assert "“answer 503”" in attempts[0]
    assert end == "  succeeded"
    assert [json.loads(request.body)["data"] for request in inbox.requests] == [{"n": 1}] * 3


async def test_send_fails_if_a_delivery_fails(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    inbox.fails(500)
    await running_dev.webhook(inbox.url, tenant, retry={"schedule": []})
    done = await running_dev.run("send", "order.paid", "--tenant", tenant, "--follow", "--json")
    assert done.code == 1
    assert json.loads(done.out)["status"] == "failed"
    assert f"✗ attempt 1  POST {inbox.url} → 500  " in done.err
    assert f"POST {inbox.url}  failed (exhausted)\n" in done.err


@pytest.mark.promise("docs/command-line.md")
async def test_responses_cannot_control_the_terminal(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    inbox.otherwise = Answer(410, "\x1b]0;owned\x07 \x9b2J gone\u202e")
    await running_dev.webhook(inbox.url, tenant)
    sent = await running_dev.run("send", "order.paid", "--tenant", tenant, "--follow")
    event_id = sent.out.split()[0]
    shown = await running_dev.run("events", "show", event_id, "--tenant", tenant)
    for done in (sent, shown):
        assert r"2J gone\u202e”" in done.out
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(done.out)


async def test_send_repeats_safely(running_dev: processes.Dev, tenant: str) -> None:
    command = ("send", "order.paid", "--tenant", tenant, "--id", "order-1")
    assert (await as_json(running_dev, *command))["duplicate"] is False
    again = await running_dev.run(*command)
    assert (again.code, again.out.splitlines()[0]) == (0, "order-1  order.paid  no webhook  duplicate")
    other = await running_dev.run(*command, "--data", "[]")
    assert other.code == 1
    assert other.err.startswith("Error: 409 Conflict: ")


async def test_following_an_event_without_webhooks_says_that_nothing_was_sent(
    running_dev: processes.Dev, tenant: str
) -> None:
    sent = await running_dev.run("send", "order.paid", "--tenant", tenant, "--follow")
    assert (sent.code, sent.err) == (1, "")
    assert f"No webhook of tenant {tenant} gets order.paid: none matches its type, channels and data." in sent.out
    assert "`hookkeeper webhooks create` registers a webhook." in sent.out


async def test_a_test_event_is_followed(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    webhook = await running_dev.webhook(inbox.url, tenant)
    sent = await running_dev.run("webhooks", "test", webhook["id"], "--follow")
    assert (sent.code, sent.err) == (0, ""), sent
    assert "  1 delivery\n" in sent.out
    assert "✓ attempt 1" in sent.out
    assert sent.out.endswith("  succeeded\n")


async def test_a_tenant_is_named_only_for_an_id_that_several_have(running_dev: processes.Dev, tenant: str) -> None:
    event = await as_json(running_dev, "send", "order.paid", "--tenant", tenant)
    assert (await as_json(running_dev, "events", "show", event["id"]))["tenant"] == tenant
    await as_json(running_dev, "send", "order.paid", "--tenant", f"{tenant}-2", "--id", event["id"])
    for command in ("show", "redeliver"):
        refused = await running_dev.run("events", command, event["id"])
        assert refused.code == 1
        assert f"tenant: Several tenants have this event: name one, such as {tenant}, {tenant}-2" in refused.err
    named = await running_dev.run("events", "show", event["id"], "--tenant", "nobody")
    assert named.err == "Error: 404 Not Found: No such event.\n"


async def test_lists_take_ages(running_dev: processes.Dev, tenant: str) -> None:
    event = await as_json(running_dev, "send", "order.paid", "--tenant", tenant)
    await running_dev.until(event["id"], tenant, "no_webhook")
    listed = await as_json(running_dev, "events", "list", "--tenant", tenant, "--since", "1h")
    assert [item["id"] for item in listed["items"]] == [event["id"]]
    before = await running_dev.run("events", "list", "--tenant", tenant, "--until", "1h")
    assert before.out == "Nothing matches.\n"


async def test_a_webhook_that_is_unknown_is_wrong_usage(running_dev: processes.Dev, tenant: str) -> None:
    await as_json(running_dev, "webhooks", "create", "http://127.0.0.1:9000/", "--tenant", tenant, "--name", "Shop")
    assert (await running_dev.run("events", "list", "--tenant", tenant, "--webhook", "shop")).code == 0
    done = await running_dev.run("events", "list", "--tenant", tenant, "--webhook", "shopp")
    assert (done.code, "did you mean Shop?" in done.err) == (2, True)


async def test_send_reads_data_from_files_and_standard_input(running_dev: processes.Dev, tenant: str) -> None:
    (running_dev.folder / "data.json").write_text('{"from": "é"}')
    for data, stdin, expected in (
        ("@data.json", "", {"from": "é"}),
        ("-", '["stdin"]', ["stdin"]),
        ("null", "", None),
    ):
        done = await running_dev.run("send", "a", "--tenant", tenant, "--data", data, "--json", stdin=stdin)
        assert done.code == 0, done.err
        assert (await running_dev.event(json.loads(done.out)["id"], tenant))["data"] == expected


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("{", "--data is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("@nowhere.json", "cannot read nowhere.json: No such file or directory"),
    ],
)
async def test_send_reports_invalid_data(running_dev: processes.Dev, data: str, sentence: str) -> None:
    done = await running_dev.run("send", "a", "--data", data)
    assert (done.code, done.out, done.err) == (1, "", f"Error: {sentence}\n")


# Events


async def test_commands_to_events(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    inbox.fails(500, 500)
    await running_dev.webhook(inbox.url, tenant, retry={"schedule": [3600]})
    event_id = (await running_dev.send(tenant))["id"]
    event = await running_dev.until_delivery(event_id, tenant, "retrying", 1)
    delivery = event["deliveries"][0]["id"]
    mine = (event_id, "--tenant", tenant)

    accepted = await as_json(running_dev, "events", "hold", *mine)
    assert accepted == {"id": event_id, "command": "hold", "delivery": None}
    shown = await as_json(running_dev, "events", "show", *mine)
    assert shown["deliveries"][0]["status"] == "held"
    await as_json(running_dev, "events", "release", *mine, "--delivery", delivery)
    await as_json(running_dev, "events", "retry", event_id)
    await running_dev.until_delivery(event_id, tenant, "retrying", 2)
    await as_json(running_dev, "events", "cancel", *mine)
    assert (await running_dev.until(event_id, tenant))["status"] == "cancelled"
    done = await running_dev.run("events", "redeliver", *mine)
    assert (done.code, done.out) == (0, "redeliver: accepted\n")
    assert (await running_dev.until(event_id, tenant, "succeeded"))["deliveries"][0]["attempts"][-1]["number"] == 3

    refused = await running_dev.run("events", "hold", *mine)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("Error: 409 Conflict: ")
    shown = await running_dev.run("events", "show", *mine)
    assert shown.code == 0
    for text in (event_id, f"POST {inbox.url}  succeeded", "✗ attempt 1  500 Internal", "✓ attempt 3", "manual"):
        assert text in shown.out


async def test_a_webhook_is_understood_where_a_delivery_is_wanted(
    running_dev: processes.Dev, inbox: Receiver, tenant: str
) -> None:
    """By its id, also if it has no URL, and by its name."""
    orders = await running_dev.webhook(inbox.url, tenant, name="Orders")
    emails = {"tenant": tenant, "name": "Mails", "emails": [{"to": ["ann@acme.example"]}]}
    mails = (await running_dev.http.post("/v1/webhooks", json=emails)).json()
    event_id = (await running_dev.send(tenant))["id"]
    await running_dev.until(event_id, tenant)
    for meant, delivery in (
        ("Orders", orders["id"]),
        (orders["id"], orders["id"]),
        (mails["id"], f"{mails['id']}.email.1"),
    ):
        accepted = await as_json(running_dev, "events", "redeliver", event_id, meant)
        assert accepted["delivery"] == delivery
    refused = await running_dev.run("events", "retry", event_id, "Payments")
    assert (refused.code, refused.out) == (1, "")
    assert f"the event has no delivery 'Payments'. It has:\n  {orders['id']}  Orders\n" in refused.err


async def test_an_event_is_erased_only_after_a_yes(running_dev: processes.Dev, tenant: str) -> None:
    event_id = (await running_dev.send(tenant))["id"]
    await running_dev.until(event_id, tenant)
    asked = await running_dev.run("events", "erase", event_id)
    assert (asked.code, "add --yes" in asked.err) == (2, True)
    assert (await running_dev.event(event_id, tenant))["id"] == event_id
    assert (await as_json(running_dev, "events", "erase", event_id, "--yes"))["id"] == event_id
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await running_dev.run("events", "show", event_id)).code == 0:
            await asyncio.sleep(0.2)


async def test_many_events_are_sent_and_the_refused_ones_are_named(running_dev: processes.Dev, tenant: str) -> None:
    sent = await running_dev.run("send", "a", "--tenant", tenant, "--count", "201")
    assert (sent.code, sent.err) == (0, "")
    # A batch that a busy server did not finish is repeated.
    counts = re.findall(r"(\d+) (?:accepted|duplicate)", sent.out)
    assert sum(map(int, counts)) == 201, sent.out
    lines = [
        {"data": {"n": 1}},
        {"type": "b", "id": f"{tenant}-b"},
        {"type": "no type"},
        [],
        {"id": f"{tenant}-b", "type": "b"},
    ]
    file = "\n".join(["", *map(json.dumps, lines), "{"])
    command = ("events", "send", "a", "--tenant", tenant, "--file", "-")
    sent = await running_dev.run(*command, stdin=file)
    assert (sent.code, sent.out) == (1, "2 accepted, 1 duplicate, 3 refused\n")
    problems = dict(line.removeprefix("✗ event ").split(": ", 1) for line in sent.err.splitlines())
    assert problems["4"].startswith("422 ")
    assert (problems["5"], problems["7"].split(":")[0]) == ("the line is not a JSON object", "the line is not JSON")
    listed = (await running_dev.http.get("/v1/events", params={"tenant": tenant, "total": True})).json()
    assert (listed["total"], {event["type"] for event in listed["items"][:2]}) == (203, {"a", "b"})
    counted = await running_dev.run("events", "list", "--tenant", tenant, "--total", "--limit", "1")
    assert counted.out.endswith("\nTotal: 203\n")


async def test_a_link_to_the_portal_opens_it(running_dev: processes.Dev, tenant: str) -> None:
    made = await running_dev.run("portal-link", tenant, "--allow", "redeliver", "--path", "/webhooks")
    assert made.code == 0, made.err
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as browser:
        page = await browser.get(made.out.strip())
    assert page.status_code == 200


async def test_events_can_be_rescheduled(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    await running_dev.webhook(inbox.url, tenant)
    day, next_day = [(datetime.now(UTC) + timedelta(days=days)).isoformat() for days in (1, 2)]
    accepted = await as_json(running_dev, "send", "a", "--tenant", tenant, "--deliver-at", "in 10m")
    assert accepted["status"] == "scheduled"
    assert (await running_dev.event(accepted["id"], tenant))["deliver_at"] < day
    await as_json(running_dev, "events", "reschedule", accepted["id"], next_day, "--tenant", tenant)
    assert (await running_dev.event(accepted["id"], tenant))["deliver_at"][:16] == next_day[:16]
    await as_json(running_dev, "events", "release", accepted["id"], "--tenant", tenant)
    await running_dev.until(accepted["id"], tenant, "succeeded")


@pytest.mark.promise("docs/command-line.md")
async def test_events_are_listed(running_dev: processes.Dev, tenant: str) -> None:
    sent = [(await running_dev.send(tenant))["id"] for _ in range(3)]
    for event_id in sent:
        await running_dev.until(event_id, tenant)

    async def pages() -> list[str]:
        first = await as_json(running_dev, "events", "list", "--tenant", tenant, "--limit", "2")
        rest = await as_json(running_dev, "events", "list", "--tenant", tenant, "--cursor", first["next_cursor"])
        return [event["id"] for page in (first, rest) for event in page["items"]]

    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:  # until all are listed
            listed = await running_dev.http.get("/v1/events", params={"tenant": tenant, "status": "no_webhook"})
            if len(listed.json()["items"]) == 3:
                break
            await asyncio.sleep(0.05)
    assert await pages() == sent[::-1]
    table = await running_dev.run("events", "list", "--tenant", tenant, "--status", "no_webhook")
    header, *rows = table.out.splitlines()
    assert header.split() == ["Event", "Type", "Tenant", "Status", "Accepted", "Webhook", "Outcome"]
    assert [row.split()[0] for row in rows] == sent[::-1], "no id is cut off"


# Webhooks


@pytest.mark.promise("docs/command-line.md")
async def test_webhooks_can_be_managed(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    made = await as_json(
        running_dev,
        *(
            "webhooks",
            "create",
            inbox.url,
            "--tenant",
            tenant,
            "--name",
            "shop",
            "--uid",
            "shop-1",
            "--events",
            "order.*",
            "--events",
            "a",
        ),
        *("--headers", "x-token: 1:2", "--retry-schedule", "5,5m", "--timeout", "7"),
    )
    id_ = made["id"]
    assert (made["events"], made["timeout"], made["name"]) == (["order.*", "a"], 7, "shop")
    assert made["retry"]["schedule"] == [5, 300]

    changed = await as_json(running_dev, "webhooks", "update", id_, "--no-enabled", "--retry-schedule", "never")
    assert (changed["enabled"], changed["retry"]["schedule"], changed["name"]) == (False, [], "shop")
    assert await as_json(running_dev, "webhooks", "show", id_) == changed
    listed = await as_json(running_dev, "webhooks", "list", "--tenant", tenant, "--no-enabled")
    assert listed["items"] == [changed]
    header, row = (await running_dev.run("webhooks", "list", "--tenant", tenant)).out.splitlines()
    assert header.split() == ["Webhook", "Uid", "Name", "Tenant", "State", "24", "h", "Cause", "Target", "Events"]
    assert row.split() == [id_, "shop-1", "shop", tenant, "disabled", "(manual)", "-", inbox.url, "order.*", "a"]
    await as_json(running_dev, "webhooks", "update", id_, "--enabled")

    secret = (await as_json(running_dev, "webhooks", "secret", id_))["secret"]
    assert secret == made["secret"]
    rotated = await as_json(running_dev, "webhooks", "rotate-secret", id_, "--grace", "60")
    assert rotated["secret"] != secret
    again = await running_dev.run("webhooks", "rotate-secret", id_)
    assert (again.code, "end it now with `--end-previous`" in again.err) == (1, True), again.err
    test = await as_json(running_dev, "webhooks", "test", id_, "--type", "order.tested", "--data", '{"order": 7}')
    await running_dev.until(test["id"], tenant, "succeeded")
    (request,) = inbox.requests
    assert request.headers["x-token"] == "1:2"
    for key in (secret, rotated["secret"]):
        verified = Webhook(key).verify(request.body.decode(), request.headers)
        assert (verified["type"], verified["data"]) == ("order.tested", {"order": 7})

    assert await as_json(running_dev, "webhooks", "delete", id_, "--yes") == {"id": id_, "deleted": True}
    gone = await running_dev.run("webhooks", "show", id_)
    assert (gone.code, gone.err) == (1, "Error: 404 Not Found: There is no such webhook.\n")


async def test_webhooks_are_printed_for_people(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    made = await running_dev.run("webhooks", "create", inbox.url, "--tenant", tenant)
    fields = dict(line.split(None, 1) for line in made.out.splitlines() if len(line.split(None, 1)) == 2)
    assert fields["url"] == inbox.url
    assert fields["secret"].startswith("whsec_")
    deleted = await running_dev.run("webhooks", "delete", fields["id"])
    assert (deleted.code, "add --yes" in deleted.err) == (2, True)
    deleted = await running_dev.run("webhooks", "delete", fields["id"], "--yes")
    assert (deleted.code, deleted.out) == (0, f"{fields['id']} is deleted\n")
    bad = await running_dev.run("webhooks", "create", "ftp://shop.example", "--tenant", tenant)
    assert bad.code == 1
    assert bad.err.splitlines()[1:] == ["  url: must start with https:// or http://"]


async def test_a_webhook_is_meant_by_its_name(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    webhook = await running_dev.webhook(inbox.url, tenant, name=f"Shop {tenant}")
    assert (await as_json(running_dev, "webhooks", "show", f"Shop {tenant}"))["id"] == webhook["id"]
    await as_json(running_dev, "webhooks", "pause", f"Shop {tenant}")
    for status, ids in (("paused", [webhook["id"]]), ("failing", [])):
        listed = await as_json(running_dev, "webhooks", "list", "--tenant", tenant, "--status", status)
        assert [each["id"] for each in listed["items"]] == ids
    await running_dev.webhook(inbox.url, tenant, name=f"Shop {tenant}")
    long = await running_dev.webhook(inbox.url, tenant, name=f'The "Orders" of our new online shop {tenant}')
    assert (await as_json(running_dev, "webhooks", "show", long["name"]))["id"] == long["id"]
    assert (await as_json(running_dev, "webhooks", "preview", long["name"]))["request"]["url"] == inbox.url
    several = await running_dev.run("webhooks", "delete", f"Shop {tenant}", "--yes")
    assert (several.code, "several webhooks are named" in several.err) == (1, True)
    unknown = await running_dev.run("webhooks", "show", tenant)
    assert unknown.err == "Error: 404 Not Found: There is no such webhook.\n"


# Help, usage


def commands() -> Iterator[tuple[str, ...]]:
    root = typer.main.get_command(app)
    assert isinstance(root, click.Group | typer.core.TyperGroup)
    for name, command in root.commands.items():
        yield (name,)
        for sub in getattr(command, "commands", ()):
            yield (name, sub)


@pytest.mark.parametrize("command", [(), *commands()], ids=" ".join)
def test_help(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="hookkeeper")
    assert result.exit_code == 0
    assert f"Usage: {' '.join(('hookkeeper', *command))}" in result.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("option", ["--version", "--help"])
def test_output_for_which_there_is_no_space(option: str) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "hookkeeper", option]
        done = subprocess.run(command, cwd=processes.ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: cannot write the output: No space left on device\n")


async def test_version(tmp_path: Path) -> None:
    done = await processes.hookkeeper("--version", cwd=tmp_path, fresh=True)
    assert (done.code, done.out) == (0, f"{VERSION}\n")


@pytest.mark.promise("docs/command-line.md")
@pytest.mark.parametrize(
    "args",
    [
        (),
        ("bogus",),
        ("send",),
        ("send", "a", "--bogus"),
        ("events", "list", "--limit", "0"),
        ("webhooks", "create", "http://a", "--retry-schedule", "soon"),
        ("webhooks", "create", "http://a", "--headers", "no-colon"),
        ("webhooks", "update", "wh_1"),
        ("webhooks", "update", "wh_1", "--json"),
        ("webhooks", "preview"),
        ("webhooks", "preview", "wh_1", "--file", "-"),
        ("webhooks", "preview", "--file", "-", "--data", "-"),
        ("send", "a", "--count", "2", "--follow"),
        ("send", "a", "--count", "2", "--file", "-"),
        ("send", "--file", "-", "--data", "-"),
        ("webhooks", "delete", "wh_1"),
        ("event-types", "edit", "order.paid"),
        ("dev", "--port", "0"),
    ],
    ids=" ".join,
)
def test_usage_errors_exit_with_2(args: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, args, prog_name="hookkeeper")
    assert result.exit_code == 2
    assert "Usage: hookkeeper" in result.output


# Which server, which key


async def test_finds_the_dev_of_its_directory(running_dev: processes.Dev, tmp_path: Path) -> None:
    assert (await running_dev.run("events", "list")).code == 0
    url = {"HOOKKEEPER_URL": running_dev.url}
    elsewhere = await processes.hookkeeper("events", "list", cwd=tmp_path, settings=url)
    assert elsewhere.code == 1
    assert elsewhere.err.startswith("Error: 401 Unauthorized: ")
    assert "HOOKKEEPER_API_KEY" in elsewhere.err
    key = {"HOOKKEEPER_API_KEY": running_dev.key}
    with_key = await processes.hookkeeper("events", "list", cwd=tmp_path, settings=url | key)
    assert with_key.code == 0
    wrong = {"HOOKKEEPER_API_KEY": "hk_wrong"}
    wrong_key = await processes.hookkeeper("events", "list", cwd=running_dev.folder, settings=wrong)
    assert wrong_key.code == 1


async def test_reports_an_unreachable_api(running_dev: processes.Dev, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{processes.free_ports().api}"
    for cwd, command in ((running_dev.folder, ("events", "list")), (tmp_path, ("send", "a", "--follow"))):
        done = await processes.hookkeeper(*command, cwd=cwd, settings={"HOOKKEEPER_URL": f"{url}/"})
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"Error: cannot reach {url} (")
        assert "Is `hookkeeper dev` running? Else set HOOKKEEPER_URL.\n" in done.err
        assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080/", True),
        ("https://hooks.example", False),
        ("http://127.0.0.1.hooks.example", False),
    ],
)
def test_the_key_of_a_dev_is_sent_to_loopback_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, sent: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOOKKEEPER_API_KEY", raising=False)
    monkeypatch.setenv("HOOKKEEPER_URL", url)
    data = DataDir(DEFAULT)
    with data.locked():
        data.store_api("http://127.0.0.1:18080", data.admin_key(), Ports())
    api = Api.of_environment()
    assert ("authorization" in api._http.headers) is sent
    api.close()


# Each process alone


async def test_reports_invalid_settings(tmp_path: Path) -> None:
    settings = {"HOOKKEEPER_RETENTION": "x", "HOOKKEEPER_PORT": "0"}
    # In one folder, `dev` and `demo` would find the data directory in use before they read the settings.
    for command in ("api", "worker", "migrate", "promote", "dev", "demo"):
        (tmp_path / command).mkdir()
    completed = await asyncio.gather(
        *(processes.hookkeeper(folder.name, cwd=folder, settings=settings) for folder in tmp_path.iterdir())
    )
    for done in completed:
        assert done.code == 78, "a supervisor need not start it again"
        first, *named = done.err.splitlines()
        assert first == "Error: invalid settings:"
        assert "Value error" not in done.err
        assert [line.split(":")[0] for line in named] == ["  HOOKKEEPER_PORT", "  HOOKKEEPER_RETENTION"]


async def test_an_api_needs_a_key(tmp_path: Path) -> None:
    done = await processes.hookkeeper("api", cwd=tmp_path)
    assert (done.code, done.err) == (78, "Error: HOOKKEEPER_ADMIN_KEY is not set\n")


async def test_names_that_are_no_settings_are_reported(tmp_path: Path) -> None:
    mistyped = {"HOOKKEEPER_RETENTON": "P1D", "HOOKKEEPER_LOG_FORMAT": "json"}
    migrated = await processes.hookkeeper("migrate", "--registry-only", cwd=tmp_path, settings=mistyped)
    assert migrated.code == 0
    warnings = [line for line in map(json.loads, migrated.err.splitlines()) if line["level"] == "warning"]
    assert [line["detail"] for line in warnings] == [
        "HOOKKEEPER_RETENTON is not a setting: did you mean HOOKKEEPER_RETENTION?"
    ]


async def test_processes_run_alone_and_stop_cleanly(running_dev: processes.Dev, tmp_path: Path) -> None:
    """As in production: migrate, twice at once, then an API and a worker on one Temporal and one registry."""
    port = processes.free_ports().api
    settings = {
        "HOOKKEEPER_ADMIN_KEY": "a-key-for-tests-only",
        "HOOKKEEPER_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'own.db'}",
        "HOOKKEEPER_TASK_QUEUE": "alone",
        "HOOKKEEPER_PORT": str(port),
        "TEMPORAL_ADDRESS": running_dev.temporal,
    }
    client = {"HOOKKEEPER_URL": f"http://127.0.0.1:{port}", "HOOKKEEPER_API_KEY": "a-key-for-tests-only"}

    async def run(*args: str, settings: processes.Settings = settings, fresh: bool = False) -> processes.Done:
        return await processes.hookkeeper(*args, cwd=tmp_path, settings=settings, fresh=fresh)

    first, second = await asyncio.gather(run("migrate", fresh=True), run("migrate"))
    assert first == second == processes.Done(0, "", "")
    async with (
        processes.process("worker", cwd=tmp_path, settings=settings, fresh=True) as worker,
        processes.process("api", cwd=tmp_path, settings=settings, fresh=True) as api,
    ):
        await api.says("serving")
        sent, second_api = await asyncio.gather(run("send", "a", "--follow", settings=client), run("api"))
        assert (sent.code, sent.out.splitlines()[-1]) == (1, "  no webhook"), sent
        assert second_api.code == 1
        assert second_api.err == f"Error: cannot listen on 127.0.0.1, port {port}: Address already in use\n"
        for process in (api, worker):
            assert await process.stop(signal.SIGTERM) == 0
            assert "Traceback" not in process.err.read_text()


async def test_a_request_under_way_is_made_again_soon_after_its_worker_was_killed(
    tmp_path: Path, inbox: Receiver, tenant: str
) -> None:
    """With `--local`, and not only after its heartbeat timeout: the next worker knows that the process has ended."""
    inbox.answers = [Answer(delay=60)]
    async with processes.processes_apart(tmp_path) as installation:
        await installation.webhook(inbox.url, tenant, timeout=30)
        accepted = await installation.send(tenant)
        await inbox.got(1)
        await installation.worker.stop(signal.SIGKILL)
        async with installation.another_worker() as worker:
            event = await installation.until(accepted["id"], tenant)
            await worker.says("activities of ended workers are retried")  # after its second look, a second later
    assert (event["status"], [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]]) == (
        "succeeded",
        [200],
    )
    assert len(inbox.requests) == 2
