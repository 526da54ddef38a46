"""`hookkeeper demo`: the first thing that a new user sees."""

import re
import shlex
import signal
from pathlib import Path

import httpx
import processes

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


def run_of(output: str) -> tuple[str, str, str]:
    """Return the base URL of the Temporal web UI, and the workflow id and run id of the link."""
    link = re.search(
        r"^ *(http://127\.0\.0\.1:\d+)/namespaces/default/workflows/([^/]+)/([^/]+)/timeline$", output, re.M
    )
    assert link, output
    base, workflow_id, run_id = link.groups()
    return base, workflow_id, run_id


def event_of(output: str) -> str:
    sent = re.search(r"^ *POST /v1/events +(evt_\S+)$", output, re.M)
    assert sent, output
    return sent[1]


def assert_all_steps(output: str, folder: Path) -> None:
    positions = [output.find(step) for step in STEPS]
    assert -1 not in positions, output
    assert positions == sorted(positions), output
    attempts: dict[str, list[str]] = {}
    for line in re.findall(r"([✗✓]) attempt (\d)  (\D+?) \S+ +→ ([\w ]+?)  ", output):
        mark, number, what, result = line
        attempts.setdefault(what, []).append(f"{mark} {number} {result}")
    assert attempts == ATTEMPTS
    kept = re.search(r"^ *(/\S+\.eml)$", output, re.M)
    assert kept, output
    assert (Path(kept[1]).parent, Path(kept[1]).exists()) == (folder / ".hookkeeper" / "emails", True)


async def test_demo_runs_repeatedly(tmp_path: Path) -> None:
    """Timeline: a demo that runs until Ctrl-C; in the same directory, one that ends by itself.

    The second one has an email provider, which gets no emails of a demo.
    """
    async with processes.process("demo", cwd=tmp_path, settings={"COLUMNS": "80"}, fresh=True) as demo:
        output = await demo.says("Send another:")
        assert_all_steps(output, tmp_path)
        assert "The workflow in the Temporal web UI" in output
        base, workflow_id, run_id = run_of(output)
        async with httpx.AsyncClient(trust_env=False) as http:
            path = f"{base}/api/v1/namespaces/default/workflows/{workflow_id}"
            run = (await http.get(path, params={"execution.runId": run_id})).json()["workflowExecutionInfo"]
        assert run["status"] == "WORKFLOW_EXECUTION_STATUS_COMPLETED"
        assert run["execution"]["runId"] == run_id

        page = re.search(r"The event on the dashboard.*\n +(http\S+/events/\S+)$", output, re.M)
        assert page
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(page[1], follow_redirects=True)
        assert (answer.status_code, answer.url.path) == (200, "/login")

        show = re.search(r"The event, in another terminal\n +hookkeeper (.*)$", output, re.M)
        assert show
        shown = await processes.hookkeeper(*shlex.split(show[1]), cwd=tmp_path)
        assert (shown.code, event_of(output) in shown.out) == (0, True), shown

        command = re.search(r"Send another: +hookkeeper (.*)$", output, re.M)
        assert command
        another = await processes.hookkeeper(*shlex.split(command[1]), cwd=tmp_path)
        assert (another.code, another.out.count("✓ attempt 1")) == (0, 3), another

        children = await processes.children(demo.pid)
        assert "temporal" in children
        assert await demo.stop(signal.SIGINT) == 0
        assert not any(processes.is_alive(pid) for pid in children.values())
        assert demo.err.read_text() == ""

    provider = {"HOOKKEEPER_SENDGRID_API_KEY": "SG.key", "HOOKKEEPER_SENDGRID_HOST": base}
    second = await processes.hookkeeper("demo", "--once", cwd=tmp_path, settings=provider, seconds=60)
    assert (second.code, second.err) == (0, "")
    assert_all_steps(second.out, tmp_path)
    assert event_of(second.out) != event_of(output)
    # Nothing keeps running, so no links are printed.
    assert not any(
        words in second.out for words in ("Send another", "web UI\n", "in another terminal", "/workflows/", "dashboard")
    )


async def test_a_demo_stopped_before_its_end_fails(tmp_path: Path) -> None:
    async with processes.process("demo", "--once", cwd=tmp_path) as demo:
        await demo.says("✗ attempt 1")
        children = await processes.children(demo.pid)
        assert await demo.stop(signal.SIGINT) == 1
        assert not any(processes.is_alive(pid) for pid in children.values())
        assert demo.err.read_text() == "Error: stopped before the event was delivered\n"
