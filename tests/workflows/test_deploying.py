"""A new release takes over what the old one left waiting: real worker processes, of two versions of the code.

Setup: a webhook whose receiver fails twice; its policy would wait an hour after each failure.
Timeline: the old worker makes the first attempt and is killed. The new one, whose retry rule never waits for more than
half a second, is deployed while the run waits; a person asks for an attempt, which fails as well.
Proves: the open run replays on the new code, which decides from then on; nothing is lost, nothing is sent twice. A
timer that the old code has started runs as long as it said, or until the run is touched.
"""

import shutil
from pathlib import Path

import pytest

from instances import Instance
from receivers import Receiver
from worker_processes import ROOT, SOON_UNSTUCK, worker_process

RULE = "    return max(step * (1 + MAX_JITTER * jitter), hint)\n"
NEW_RULE = "    return min(step, 0.5)\n"
NOT_CODE = shutil.ignore_patterns(".*", "tests", "docs", "__pycache__", "*.egg-info", "*.db*")


def new_release(folder: Path) -> Path:
    """Copy the code, with another rule of when the next attempt comes."""
    shutil.copytree(ROOT, folder, ignore=NOT_CODE)
    rule = folder / "workflows" / "retry.py"
    text = rule.read_text()
    assert text.count(RULE) == 1
    rule.write_text(text.replace(RULE, NEW_RULE))
    return folder


@pytest.mark.promise("docs/deployment.md")
async def test_a_new_release_continues_the_runs_of_the_old_one(
    idle_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    inbox.fails(503, 500)
    webhook = await idle_instance.webhook(inbox.url, retry={"schedule": [3600, 3600]})
    event_id = (await idle_instance.send())["id"]
    async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as old:
        await inbox.got(1)
        await idle_instance.until_delivery(event_id, "retrying", 1)
        old.kill()
    async with worker_process(idle_instance, new_release(tmp_path / "release")):
        await idle_instance.run(event_id).signal("retry", webhook["id"])
        event = await idle_instance.until_final(event_id)
    assert event["status"] == "succeeded"
    assert [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]] == [503, 500, 200]
    assert len(inbox.requests) == 3


async def test_a_changed_rule_of_a_new_release_applies_to_open_runs(
    idle_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    inbox.fails(503, 503)
    await idle_instance.webhook(inbox.url, retry={"schedule": [4, 3600]})
    event_id = (await idle_instance.send())["id"]
    async with worker_process(idle_instance, timeouts=SOON_UNSTUCK) as old:
        await inbox.got(1)
        await idle_instance.until_delivery(event_id, "retrying", 1)
        old.kill()
    async with worker_process(idle_instance, new_release(tmp_path / "release")):
        event = await idle_instance.until_final(event_id)  # by the old rule, the second wait is an hour
    assert event["status"] == "succeeded"
    assert len(event["deliveries"][0]["attempts"]) == len(inbox.requests) == 3
