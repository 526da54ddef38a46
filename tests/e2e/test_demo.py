"""`hookkeeper demo`: what a newcomer sees first."""

import re
import shlex
import signal
from pathlib import Path

import httpx
import stage

STEPS = (
    "✓ Temporal",
    "✓ Receiver",
    "1  A customer registers a webhook",
    "an email       to ada@example.com",
    "2  An order is paid",
    "3  The event is delivered",
    "✓ Webhook       delivered with attempt 3; the receiver verified each signature",
    "✓ Email         “Order 4711 was paid” to ada@example.com, saved to a file: the demo sends no emails",
    '✓ Notification  the receiver got POST /notify  {"text": "Order 4711 was paid"}',
)
ATTEMPTS = {
    "POST": ["✗ 1 503", "✗ 2 503", "✓ 3 200"],
    "email to": ["✓ 1 saved to a file"],
    "notify POST": ["✓ 1 200"],
}


def run_of(said: str) -> tuple[str, str, str]:
    """Give base address of the Temporal web UI, workflow id and run id of the link."""
    link = re.search(r"^ *(http://127\.0\.0\.1:\d+)/namespaces/default/workflows/([^/]+)/([^/]+)/timeline$", said, re.M)
    assert link, said
    base, workflow_id, run_id = link.groups()
    return base, workflow_id, run_id


def event_of(said: str) -> str:
    sent = re.search(r"^ *POST /v1/events +(evt_\S+)$", said, re.M)
    assert sent, said
    return sent[1]


def tells_the_story(said: str, folder: Path) -> None:
    places = [said.find(step) for step in STEPS]
    assert -1 not in places, said
    assert places == sorted(places), said
    attempts: dict[str, list[str]] = {}
    for line in re.findall(r"([✗✓]) attempt (\d)  (\D+?) \S+ +→ ([\w ]+?)  ", said):
        mark, number, what, result = line
        attempts.setdefault(what, []).append(f"{mark} {number} {result}")
    assert attempts == ATTEMPTS
    kept = re.search(r"^ *(/\S+\.eml)$", said, re.M)
    assert kept, said
    assert (Path(kept[1]).parent, Path(kept[1]).exists()) == (folder / ".hookkeeper" / "emails", True)


async def test_tells_its_story_again_and_again(tmp_path: Path) -> None:
    """Timeline: a demo that keeps running, until Ctrl-C; in the same directory one that ends by itself.

    A provider that is set for the second one is not asked: nobody wants a demo's emails.
    """
    async with stage.process("demo", cwd=tmp_path, settings={"COLUMNS": "80"}) as demo:
        said = await demo.says("Send another:")
        tells_the_story(said, tmp_path)
        assert "The workflow in the Temporal web UI" in said
        base, workflow_id, run_id = run_of(said)
        async with httpx.AsyncClient(trust_env=False) as http:
            path = f"{base}/api/v1/namespaces/default/workflows/{workflow_id}"
            run = (await http.get(path, params={"execution.runId": run_id})).json()["workflowExecutionInfo"]
        assert run["status"] == "WORKFLOW_EXECUTION_STATUS_COMPLETED"
        assert run["execution"]["runId"] == run_id

        show = re.search(r"The event, in another terminal\n +hookkeeper (.*)$", said, re.M)
        assert show
        shown = await stage.hookkeeper(*shlex.split(show[1]), cwd=tmp_path)
        assert (shown.code, event_of(said) in shown.out) == (0, True), shown

        command = re.search(r"Send another: +hookkeeper (.*)$", said, re.M)
        assert command
        another = await stage.hookkeeper(*shlex.split(command[1]), cwd=tmp_path)
        assert (another.code, another.out.count("✓ attempt 1")) == (0, 3), another

        children = await stage.children(demo.pid)
        assert set(children) == {"temporal", "worker", "api"}
        assert await demo.stop(signal.SIGINT) == 0
        assert not any(stage.is_alive(pid) for pid in children.values())
        assert demo.err.read_text() == ""

    provider = {"HOOKKEEPER_SENDGRID_API_KEY": "SG.key", "HOOKKEEPER_SENDGRID_HOST": base}
    second = await stage.hookkeeper("demo", "--once", cwd=tmp_path, settings=provider, seconds=60)
    assert (second.code, second.err) == (0, "")
    tells_the_story(second.out, tmp_path)
    assert event_of(second.out) != event_of(said)
    # Nothing runs any more that could be looked at.
    assert not any(words in second.out for words in ("Send another", "web UI\n", "in another terminal", "/workflows/"))


async def test_stopped_before_its_end_it_has_failed(tmp_path: Path) -> None:
    async with stage.process("demo", "--once", cwd=tmp_path) as demo:
        await demo.says("✗ attempt 1")
        children = await stage.children(demo.pid)
        assert await demo.stop(signal.SIGINT) == 1
        assert not any(stage.is_alive(pid) for pid in children.values())
        assert demo.err.read_text() == "Error: stopped before the event was delivered\n"
