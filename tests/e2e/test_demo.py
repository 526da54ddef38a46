"""`hookkeeper demo`: what a newcomer sees first."""

import re
import signal
from pathlib import Path

import httpx
import stage

STEPS = (
    "✓ Temporal",
    "✓ Receiver",
    "1  A customer registers a webhook",
    "2  An order is paid",
    "3  It arrives",
    "✗ attempt 1  503 Service Unavailable",
    "✗ attempt 2  503 Service Unavailable",
    "✓ attempt 3  200 OK",
    "✓ Delivered with attempt 3. The receiver verified the signature of each.",
    "The run in the Temporal web UI",
)


def run_of(said: str) -> tuple[str, str, str]:
    """Give base address of the Temporal web UI, workflow id and run id of the link."""
    link = re.search(r"^ *(http://127\.0\.0\.1:\d+)/namespaces/default/workflows/([^/]+)/([^/]+)/timeline$", said, re.M)
    assert link, said
    base, workflow_id, run_id = link.groups()
    return base, workflow_id, run_id


def tells_the_story(said: str) -> None:
    places = [said.find(step) for step in STEPS]
    assert -1 not in places, said
    assert places == sorted(places), said
    assert said.count("attempt ") == 4


async def test_tells_its_story_again_and_again(tmp_path: Path) -> None:
    """Timeline: a demo that keeps running, until Ctrl-C; in the same directory one that ends by itself."""
    async with stage.process("demo", cwd=tmp_path, settings={"COLUMNS": "80"}) as demo:
        said = await demo.says("Send another:")
        tells_the_story(said)
        base, workflow_id, run_id = run_of(said)
        async with httpx.AsyncClient(trust_env=False) as http:
            path = f"{base}/api/v1/namespaces/default/workflows/{workflow_id}"
            run = (await http.get(path, params={"execution.runId": run_id})).json()["workflowExecutionInfo"]
        assert run["status"] == "WORKFLOW_EXECUTION_STATUS_COMPLETED"
        assert run["execution"]["runId"] == run_id

        command = re.search(r"Send another: +hookkeeper (.*)$", said, re.M)
        assert command
        another = await stage.hookkeeper(*command[1].split(), cwd=tmp_path)
        assert (another.code, another.out.count("200 OK")) == (0, 1), another

        children = await stage.children(demo.pid)
        assert set(children) == {"temporal", "worker", "api"}
        assert await demo.stop(signal.SIGINT) == 0
        assert not any(stage.is_alive(pid) for pid in children.values())
        assert demo.err.read_text() == ""

    second = await stage.hookkeeper("demo", "--once", cwd=tmp_path, seconds=60)
    assert (second.code, second.err) == (0, "")
    tells_the_story(second.out)
    assert run_of(second.out)[1] != workflow_id
    assert "Send another" not in second.out


async def test_stopped_before_its_end_it_has_failed(tmp_path: Path) -> None:
    async with stage.process("demo", "--once", cwd=tmp_path) as demo:
        await demo.says("✗ attempt 1")
        children = await stage.children(demo.pid)
        assert await demo.stop(signal.SIGINT) == 1
        assert not any(stage.is_alive(pid) for pid in children.values())
        assert demo.err.read_text() == "Error: stopped before the event was delivered\n"
