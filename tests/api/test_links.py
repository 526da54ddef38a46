"""Addresses of the Temporal web UI, which shows all tenants, are for operators only."""

import asyncio
from typing import Any

import httpx
import pytest
from callers import calling, make_key

from instances import KEY, Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

UI = "temporal-ui.test"


async def listed(http: httpx.AsyncClient, path: str, tenant: str, field: str = "items") -> httpx.Response:
    """Read what is written a moment later."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            answer = await http.get(path, params={"tenant": tenant} if "deliveries" not in path else {})
            if answer.is_error or answer.json()[field]:
                return answer
            await asyncio.sleep(0.05)


async def asked(http: httpx.AsyncClient, tenant: str, hook: dict[str, Any]) -> dict[str, httpx.Response]:
    """Return all answers that have links."""
    event = {"type": "a", "tenant": tenant}
    schedule = {"cron": ["0 8 1 1 *"], "event": {"type": "report.due"}, "tenant": tenant}
    posted = await http.post("/v1/events", json=event)
    made = await http.post("/v1/schedules", json=schedule)
    of_event, of_schedule = f"/v1/events/{posted.json()['id']}", f"/v1/schedules/{made.json()['id']}"
    await http.post(f"{of_schedule}/trigger", params={"tenant": tenant})
    answers = {
        "event": posted,
        "batch": await http.post("/v1/events/batch", json={"events": [event]}),
        "test event": await http.post(f"/v1/webhooks/{hook['id']}/test", json={}),
        "shown event": await http.get(of_event, params={"tenant": tenant}),
        "events": await listed(http, "/v1/events", tenant),
        "deliveries": await listed(http, f"/v1/webhooks/{hook['id']}/deliveries", tenant),
        "schedule": made,
        "resumed schedule": await http.post(f"{of_schedule}/resume", params={"tenant": tenant}),
        "schedules": await listed(http, "/v1/schedules", tenant),
        "firings": await listed(http, of_schedule, tenant, "recent"),
    }
    await http.delete(of_schedule, params={"tenant": tenant})
    return answers


@pytest.mark.parametrize("is_operator", [True, False], ids=["operator", "tenant"])
async def test_the_api_gives_addresses_of_temporal_to_operators_only(
    instance: Instance, inbox: Receiver, is_operator: bool
) -> None:
    key = KEY if is_operator else (await make_key(instance, instance.tenant))["key"]
    hook = await instance.webhook(inbox.url)
    async with calling(instance.app, key) as http:
        answers = await asked(http, instance.tenant, hook)
    assert all(answer.is_success for answer in answers.values())
    assert {name: UI in answer.text for name, answer in answers.items()} == dict.fromkeys(answers, is_operator)
