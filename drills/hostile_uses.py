"""Cases of the neighbour drill: the hostile tenant uses one of the younger parts of Hookkeeper up to its bounds, or all
of them at once, with a tenant for each.
"""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from itertools import count, cycle, repeat
from typing import Any

import httpx

from drills.hostile_tenant import TENANT, Attack, Tenant
from hookkeeper_client import ApiError, AsyncClient, HookkeeperError

RATE, CONNECTIONS = 40.0, 8
"""Requests a second of each flood, and its connections."""
WEBHOOKS, CHANNELS, STREAMS = 30, 10, 20
EVENTS = 200
BODY = b"\x01" * (1024 * 1024)
"""As JSON, it is six times as long."""


async def channels(tenant: Tenant) -> None:
    """Post events to as many channels as allowed; read lists by channel, and webhooks by their uids."""
    named = [f"channel-{n}" for n in range(CHANNELS)]
    event = {"type": "channels", "channels": named}
    await tenant.post_all("channels", [event] * EVENTS)
    for n in range(WEBHOOKS):
        await tenant.webhooks("channels", 1, url=f"{tenant.receiver}/empty", channels=named, uid=f"uid-{n}")
    lists = cycle(f"/v1/events?limit=100&in_channel={name}" for name in named)
    uids = cycle(f"/v1/webhooks/uid-{n}/deliveries?limit=100" for n in range(WEBHOOKS))
    await tenant.start.wait()
    async with asyncio.TaskGroup() as floods:
        floods.create_task(_flood(tenant, "events in channels", "POST", "/v1/events", event, rate=4))
        floods.create_task(tenant.flood("lists by channel", "GET", lists, rate=RATE, connections=CONNECTIONS))
        floods.create_task(tenant.flood("lists by uid", "GET", uids, rate=RATE, connections=CONNECTIONS))


async def tenant_objects(tenant: Tenant) -> None:
    """Let the operator add tenants, limit, suspend, resume and delete them, while each fails, retries and posts."""
    await tenant.start.wait()
    url = f"{tenant.receiver}/fail"
    for n in count():
        name = f"{tenant.name}-object-{n}"
        described = {"id": name, "rate_limit": "100/second", "retry": {"schedule": [1] * 49}}
        await tenant.operate("tenants", "POST", "/v1/tenants", described | {"metadata": {"number": str(n)}})
        for _ in range(10):
            await tenant.operate("tenants", "POST", "/v1/webhooks", {"tenant": name, "url": url})
        batch = {"events": [{"tenant": name, "type": "tenants"}] * 50}
        for changes in ({"rate_limit": "10/second"}, {"suspended": True}, {"suspended": False, "rate_limit": None}):
            await tenant.operate("batches of tenants", "POST", "/v1/events/batch", batch)
            await tenant.operate("tenants", "PATCH", f"/v1/tenants/{name}", changes)
        await tenant.operate("tenants", "GET", f"/v1/tenants?q=metadata.number:{n}")
        await tenant.operate("deletions", "DELETE", f"/v1/tenants/{name}")
        await asyncio.sleep(2)


async def svix(tenant: Tenant) -> None:
    """Send messages, read all lists, and recover, by Svix's API."""
    app = f"/api/v1/app/{tenant.name}"
    endpoint = {"url": f"{tenant.receiver}/fail", "uid": "shop"}
    await tenant.call("endpoints", "POST", f"{app}/endpoint", endpoint)
    await tenant.post_all("messages", [{"type": "svix", "data": {"text": "x" * 1000}}] * EVENTS)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    lists = [f"{app}/msg?limit=250", f"{app}/attempt/endpoint/shop?limit=250", f"{app}/endpoint/shop/msg?limit=250"]
    lists += [f"{app}/endpoint/shop/stats?since={since}", f"{app}/msg?limit=250&with_content=false"]
    message, recovery = {"eventType": "svix", "payload": {"n": 1}}, {"since": since}
    await tenant.start.wait()
    async with asyncio.TaskGroup() as floods:
        floods.create_task(_flood(tenant, "messages", "POST", f"{app}/msg", message, rate=10))
        floods.create_task(tenant.flood("lists of Svix", "GET", cycle(lists), rate=RATE, connections=CONNECTIONS))
        floods.create_task(_flood(tenant, "recoveries", "POST", f"{app}/endpoint/shop/recover", recovery, rate=2))


async def agents(tenant: Tenant) -> None:
    """Call the tools of agents that read most."""
    [webhook] = await tenant.webhooks("agents", 1, url=f"{tenant.receiver}/fail")
    sent = await tenant.call("agents", "POST", "/v1/events", {"type": "agents", "data": [{"text": "x" * 900}] * 200})
    event = sent.json()["id"] if sent is not None and sent.is_success else ""
    await tenant.post_all("agents", [{"type": "agents"}] * EVENTS)
    tools: dict[str, dict[str, Any]] = {
        "find_events": {"limit": 100},
        "explain_failure": {"event_id": event},
        "show_event": {"event_id": event},
        "list_deliveries": {"webhook_id": webhook, "limit": 100},
        "show_statistics": {"by": "type"},
    }
    accepts = {"accept": "application/json, text/event-stream"}
    await tenant.start.wait()
    async with asyncio.TaskGroup() as floods:
        for name, arguments in tools.items():
            call = {"method": "tools/call", "params": {"name": name, "arguments": arguments}}
            flood = _flood(tenant, name, "POST", "/mcp", {"jsonrpc": "2.0", "id": 1, **call}, rate=20, headers=accepts)
            floods.create_task(flood)


async def forwards(tenant: Tenant) -> None:
    """Forward deliveries: large requests to addresses that are answered at once, and to some that never are."""
    made = [await tenant.call("addresses", "POST", "/v1/forwards") for _ in range(8)]
    paths = [f"/v1/forwards/{answer.json()['token']}" for answer in made if answer is not None and answer.is_success]
    for path in paths:
        await tenant.webhooks("forwards", 1, url=str(tenant.http.base_url.join(path)), timeout=30)
    await tenant.start.wait()
    async with asyncio.TaskGroup() as tasks:
        for n, path in enumerate(paths):
            tasks.create_task(_answer_forwards(tenant, path, is_silent=n % 4 == 3))
        tasks.create_task(tenant.events("forwards", 4, "x" * 200_000))
        flood = tenant.flood("forwarded", "POST", cycle(paths), rate=RATE, connections=20, headers={}, content=BODY)
        tasks.create_task(flood)


async def _answer_forwards(tenant: Tenant, path: str, *, is_silent: bool) -> None:
    while True:
        with suppress(httpx.HTTPError):
            async with tenant.http.stream("GET", path, timeout=httpx.Timeout(10, read=None)) as stream:
                async for line in stream.aiter_lines():
                    if line.startswith('data: {"id"') and not is_silent:
                        answer = {"id": json.loads(line[6:])["id"], "status": 200, "body": "x" * 4096}
                        await tenant.call("answers", "PATCH", path, answer)
        await asyncio.sleep(1)


async def streams(tenant: Tenant) -> None:
    """Open more streams than allowed with the Python client, beside many events; half of them are never read."""
    await tenant.webhooks("streams", 5, url=f"{tenant.receiver}/fail", retry={"schedule": [1] * 49})
    await tenant.start.wait()
    key = tenant.http.headers["authorization"].removeprefix("Bearer ")
    async with AsyncClient(str(tenant.http.base_url), key, trust_env=False) as client, asyncio.TaskGroup() as tasks:
        for n in range(STREAMS):
            tasks.create_task(_follow(tenant, client, is_read=n % 2 == 0))
        tasks.create_task(_flood(tenant, "events", "POST", "/v1/events", {"type": "streams"}, rate=20))


async def _follow(tenant: Tenant, client: AsyncClient, *, is_read: bool) -> None:
    counted = tenant.answers.setdefault("messages of streams", Counter())
    while True:
        try:
            async for _ in client.stream_events():
                counted[200] += 1
                if not is_read:
                    await asyncio.Event().wait()
        except ApiError as refusal:
            counted[refusal.status] += 1
        except HookkeeperError:
            counted[0] += 1
        await asyncio.sleep(1)


async def everything(tenant: Tenant) -> None:
    """Do all of this at once, each with a tenant and a key of its own."""
    start = asyncio.Barrier(len(USES) + 1)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        for name, use in USES.items():
            tasks.create_task(use(await stack.enter_async_context(tenant.another(f"{TENANT}-{name}", start))))
        await start.wait()
        await tenant.start.wait()


async def _flood(
    tenant: Tenant, name: str, method: str, path: str, body: dict[str, Any], *, rate: float, headers: Any = None
) -> None:
    """Send the same request until cancelled."""
    sent = {**tenant.http.headers, **(headers or {})}
    content = json.dumps(body).encode()
    await tenant.flood(name, method, repeat(path), rate=rate, connections=4, headers=sent, content=content)


USES: dict[str, Attack] = {
    "channels": channels,
    "tenant-objects": tenant_objects,
    "svix": svix,
    "agents": agents,
    "forwards": forwards,
    "streams": streams,
}
