"""Statistics of a tenant with very many event types, which it asks for without a pause."""

import asyncio
from datetime import timedelta

import httpx
from callers import make_key
from sockets import serving

from hookkeeper.messages.event import Delivery
from hookkeeper.messages.run_report import EventProgress, RunReport
from hookkeeper.times import utc_now
from instance_parts import new_app
from instances import Instance

TYPES = 2700
CONNECTIONS = 8
EVENTS = 10


async def write_types(instance: Instance, tenant: str) -> None:
    """Write an event of each type, of the last hours, with a delivery that waits for a retry."""
    now = utc_now()
    progress = EventProgress("delivering", needs_attention=False, deliver_at=None, run_id="run", digest="abc")
    reports = [
        RunReport(
            tenant=tenant,
            event_id=f"evt_{n}",
            type=f"type_{n}",
            accepted_at=now - timedelta(hours=n % 4),
            as_of=now,
            progress=progress,
            deliveries=(Delivery(id="wh_1", webhook_id="wh_1", status="retrying"),),
        )
        for n in range(TYPES)
    ]
    for n in range(0, TYPES, 100):
        await instance.store.rows.write(reports[n : n + 100])


async def test_statistics_of_very_many_types_delay_no_other_tenant(idle_instance: Instance) -> None:
    """Setup: a tenant has 2,700 types. Timeline: it asks for them over eight connections, and another tenant posts.
    Proves: each answer is short and complete, and events are accepted meanwhile. Each test checks that no step of the
    event loop takes long.
    """
    busy = idle_instance.tenant
    await write_types(idle_instance, busy)
    key, other = [(await make_key(idle_instance, tenant))["key"] for tenant in (busy, f"{busy}-other")]
    posted = asyncio.Event()
    async with serving(new_app(idle_instance.settings, idle_instance.store, idle_instance.gateway)) as server:

        def client(of: str) -> httpx.AsyncClient:
            headers = {"authorization": f"Bearer {of}"}
            return httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}/v1", headers=headers, timeout=60)

        async def ask() -> httpx.Response:
            async with client(key) as http:
                answer = await http.get("/stats", params={"by": "type"})
                while not posted.is_set():
                    answer = await http.get("/stats", params={"by": "type"})
                return answer

        async with client(other) as http, asyncio.TaskGroup() as group:
            asking = [group.create_task(ask()) for _ in range(CONNECTIONS)]
            statuses = [(await http.post("/events", json={"type": "a"})).status_code for _ in range(EVENTS)]
            posted.set()
    assert statuses == [202] * EVENTS
    for task in asking:
        groups = task.result().json()["items"]
        assert len(groups) == 101
        assert (groups[0]["type"], groups[0]["events"]) == ("(other)", TYPES - 100)
        assert [sum(group[name] for group in groups) for name in ("events", "retrying")] == [TYPES, TYPES]
