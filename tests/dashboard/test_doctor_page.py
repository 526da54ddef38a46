"""The page of `hookkeeper doctor`."""

import re
from html import unescape

from browsers import browsing

from instances import Instance


async def test_an_operator_sees_what_is_wrong_first(idle_instance: Instance) -> None:
    """Setup: no worker runs. The process has its own connection to Temporal, and needs no settings of it."""
    async with browsing(idle_instance.app) as browser:
        answer = await browser.get("/doctor")
        limits = await browser.get("/limits")
    assert answer.status_code == 200
    assert "Something is wrong." in answer.text
    rows = [
        [
            " ".join(unescape(re.sub("<[^>]+>", " ", cell)).split())
            for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr>\s*<td>.*?</tr>", answer.text, re.DOTALL)
    ]
    found = {check: (state, text) for state, check, text in rows}
    queue = idle_instance.settings.task_queue
    assert found["workers"][0] == "✕ wrong"
    assert f"none polls {queue}" in found["workers"][1]
    assert "`hookkeeper worker`" in found["workers"][1]
    assert found["registry schema"][0] == found["temporal clock"][0] == "✓ well"
    states = [state for state, _, _ in rows]
    assert states == sorted(states, key=["✕ wrong", "! warning", "✓ well"].index)
    assert 'href="/doctor"' in limits.text
