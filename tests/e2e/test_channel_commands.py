"""Emails and notifications on the command line: registered, previewed, followed, suppressed."""

import json
from pathlib import Path
from typing import Any

import processes
import pytest

from receivers import Receiver

pytest_plugins = ["dev_fixtures"]

PAID = "Order {{ event.data.order }} was paid"


async def as_json(dev: processes.Dev, *args: str, stdin: str = "") -> Any:
    """Run a command that prints JSON, and return it."""
    done = await dev.run(*args, "--json", stdin=stdin)
    assert (done.code, done.err) == (0, ""), done
    return json.loads(done.out)


async def test_a_webhook_needs_no_url(running_dev: processes.Dev, tenant: str) -> None:
    made = await as_json(
        running_dev,
        *("webhooks", "create", "--tenant", tenant, "--filter", "event.data.order > 1"),
        *("--emails", 'Ann <ann@acme.example>, "Smith, Bob" <bob@acme.example>', "--emails", "{{ event.data.mail }}"),
        *("--notifications", "https://chat.example/secret-path"),
    )
    assert (made["url"], made["filter"]) == (None, "event.data.order > 1")
    assert [email["to"] for email in made["emails"]] == [
        ["Ann <ann@acme.example>", '"Smith, Bob" <bob@acme.example>'],
        ["{{ event.data.mail }}"],
    ]
    listed = await running_dev.run("webhooks", "list", "--tenant", tenant)
    assert '  email to Ann <ann@acme.example>, "Smith, Bob" <bob@acme.example> +2  ' in listed.out
    shown = await running_dev.run("webhooks", "show", made["id"])
    fields = [line.split(None, 1) for line in shown.out.splitlines()]
    assert ["notification", "POST https://chat.example"] in fields
    assert ["email", "{{ event.data.mail }}"] in fields
    assert "null" not in shown.out

    bare = await as_json(running_dev, "webhooks", "update", made["id"], "--emails", "", "--filter", "")
    assert (bare["emails"], bare["filter"], len(bare["notifications"])) == ([], None, 1)
    refused = await running_dev.run("webhooks", "update", made["id"], "--notifications", "")
    assert (refused.code, refused.out) == (1, "")
    assert "A webhook needs a url, emails or notifications." in refused.err


async def test_a_file_sets_fields_that_have_no_option(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    """Setup: a webhook from a file, and one option that overrides it.
    Timeline: the output of `show` is changed and used as the file of an update.
    Proves: masked secrets are kept, and fields that cannot be set are ignored.
    """
    webhook = {
        "tenant": tenant,
        "url": "https://overridden.example",
        "payload": {"template": '{"paid": {{ event.data.order }}}'},
        "notifications": [{"http": {"url": f"{inbox.url}/secret", "headers": {"x-key": "secret"}}}],
        "on_failure": {"emails": [{"to": ["ops@acme.example"]}]},
    }
    (running_dev.folder / "hook.json").write_text(json.dumps(webhook))
    made = await as_json(running_dev, "webhooks", "create", inbox.url, "--file", "hook.json")
    assert (made["url"], made["payload"]["template"]) == (inbox.url, webhook["payload"]["template"])  # type: ignore[index]
    shown = await as_json(running_dev, "webhooks", "show", made["id"])
    assert "secret" not in json.dumps(shown)

    changed = json.dumps(shown | {"name": "renamed"})
    updated = await as_json(running_dev, "webhooks", "update", made["id"], "--file", "-", stdin=changed)
    assert updated | {"name": "", "updated_at": shown["updated_at"]} == shown
    accepted = await running_dev.send(tenant, data={"order": 4711})
    await running_dev.until(accepted["id"], tenant, "succeeded")
    requests = {request.path: request for request in inbox.requests}
    assert json.loads(requests["/hook"].body) == {"paid": 4711}
    assert requests["/hook/secret"].headers["x-key"] == "secret"


async def test_a_preview_shows_everything_and_sends_nothing(running_dev: processes.Dev, inbox: Receiver) -> None:
    webhook = {
        "url": inbox.url,
        "events": ["order.*"],
        "filter": "event.data.order > 1",
        "emails": [{"to": ["Ann <ann@acme.example>"], "subject": PAID, "html": "<b>{{ event.data.order }}</b>"}],
        "notifications": [{"http": {"url": inbox.url, "body": f'{{"text": "{PAID}"}}'}}],
    }
    preview_command = ("webhooks", "preview", "--file", "-", "--type", "order.paid", "--data")
    matching = await running_dev.run(*preview_command, '{"order": 4711}', stdin=json.dumps(webhook))
    assert matching.code == 0, matching.err
    texts = (
        "✓ The webhook matches this event.",
        f"\nPOST {inbox.url}\n  content-type: application/json\n",
        '"data":{"order":4711}}\n',
        "\nemail to Ann <ann@acme.example>\n  subject: Order 4711 was paid\n",
        "\n  <b>4711</b>\n",
        "\nnotify POST http://127.0.0.1:",
        '\n  {"text": "Order 4711 was paid"}\n',
    )
    for text in texts:
        assert text in matching.out

    unmatching = await running_dev.run(*preview_command, "{}", stdin=json.dumps(webhook))
    assert unmatching.code == 0
    assert "✗ The webhook does not match this event:" in unmatching.out
    assert "\nemail 1\n  ✗ html: `event.data.order` is undefined" in unmatching.out
    registered = await as_json(running_dev, "webhooks", "create", "--emails", "ann@acme.example", "--events", "order.*")
    preview = await as_json(running_dev, "webhooks", "preview", registered["id"], "--type", "order.paid")
    assert (preview["matches"], preview["request"]) == (True, None)
    assert preview["emails"][0]["rendered"]["subject"] == "order.paid"
    await as_json(running_dev, "webhooks", "delete", registered["id"], "--yes")
    assert inbox.requests == []


@pytest.mark.parametrize(
    ("file", "stdin", "sentence"),
    [
        ("nowhere.json", "", "cannot read nowhere.json: No such file or directory"),
        ("-", "[]", "--file is not a JSON object"),
        ("-", "{", "--file is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
async def test_reports_an_invalid_file(tmp_path: Path, file: str, stdin: str, sentence: str) -> None:
    done = await processes.hookkeeper("webhooks", "create", "--file", file, cwd=tmp_path, stdin=stdin)
    assert (done.code, done.out, done.err) == (1, "", f"Error: {sentence}\n")


async def test_follows_all_channels(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    await running_dev.webhook(
        f"{inbox.url}/hook",
        tenant,
        emails=[{"to": ["ann@acme.example", "bob@acme.example"], "subject": PAID}, {"to": ["{{ event.data.none }}"]}],
        notifications=[{"http": {"url": inbox.url}}],
    )
    suppressed = ("suppressions", "add", "bob@acme.example", "--tenant", tenant)
    assert (await running_dev.run(*suppressed)).code == 0
    done = await running_dev.run("send", "order.paid", "--tenant", tenant, "--data", '{"order": 4711}', "--follow")
    assert (done.code, done.err, done.out.splitlines()[-1]) == (1, "", "  failed")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    event_id = lines[0].split()[0]
    host = inbox.url.removesuffix("/hook")

    def text_after(start: str) -> str:
        (line,) = (line for line in lines if start in line)
        return line.split(start)[1]

    assert text_after(f"✓ attempt 1 POST {inbox.url}/hook →").startswith(" 200 ")
    assert text_after(f"✓ attempt 1 notify POST {host} →").startswith(" 200 ")
    kept = text_after("✓ attempt 1 email to ann@acme.example, bob@acme.example → saved to a file")
    assert "“not sent to bob@acme.example: on the suppression list”" in kept
    assert "→ bad template" in text_after("✗ attempt 1 email to {{ event.data.none }}")
    assert text_after("email to {{ event.data.none }} failed") == " (bad template)"

    (file,) = (running_dev.folder / ".hookkeeper" / "emails").glob(f"{event_id}.*")
    assert b"\r\nSubject: Order 4711 was paid\r\n" in file.read_bytes()
    shown = await running_dev.run("events", "show", event_id, "--tenant", tenant)
    assert f"  emails/{file.name}  “not sent to bob" in shown.out
    assert "\n  email to {{ event.data.none }}  failed (bad template)  wh_" in shown.out


async def test_suppressions_are_kept(running_dev: processes.Dev, tenant: str) -> None:
    added = await as_json(
        running_dev, "suppressions", "add", "Ann@acme.example", "--tenant", tenant, "--detail", "[asked]"
    )
    assert (added["address"], added["reason"], added["detail"]) == ("ann@acme.example", "manual", "[asked]")
    again = await running_dev.run("suppressions", "add", "ann@acme.example", "--tenant", tenant)
    assert (again.code, again.out) == (0, f"ann@acme.example gets no more emails of tenant {tenant} (manual)\n")
    listed = await as_json(running_dev, "suppressions", "list", "--tenant", tenant, "--address", "ANN@acme.example")
    assert listed["items"] == [added]
    table = await running_dev.run("suppressions", "list", "--tenant", tenant)
    assert table.out.splitlines()[1].split() == ["ann@acme.example", tenant, "manual", added["created_at"], "[asked]"]

    removed = await running_dev.run("suppressions", "remove", "ann@acme.example", "--tenant", tenant)
    assert (removed.code, removed.out) == (0, f"ann@acme.example gets emails of tenant {tenant} again\n")
    gone = await running_dev.run("suppressions", "remove", "ann@acme.example", "--tenant", tenant)
    assert (gone.code, gone.err) == (1, "Error: 404 Not Found: This address is not suppressed.\n")
