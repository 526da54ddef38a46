"""Two cells with a router in front of them, and a tenant that moves from one to the other."""

import asyncio
import itertools
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import processes
import pytest

from hookkeeper import ids
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]

ADMIN_KEY = "the-admin-key-of-both-cells"
SETTINGS = {"HOOKKEEPER_ADMIN_KEY": ADMIN_KEY, "HOOKKEEPER_MIN_SCHEDULE_INTERVAL": "1"}
EVERY, AHEAD = 2, 5


def received(inbox: Receiver, kind: str) -> list[str]:
    """Return the ids of events of a type, in the order of their arrival."""
    return [request.webhook_id for request in inbox.requests if json.loads(request.body)["type"] == kind]


def write_map(folder: Path, cells: dict[str, processes.Dev]) -> Path:
    known = {}
    for name, dev in cells.items():
        env_file = folder / f"{name}.env"
        database = f"sqlite+aiosqlite:///{dev.folder / '.hookkeeper' / 'registry.db'}"
        env_file.write_text(
            f"HOOKKEEPER_DATABASE_URL={database}\nHOOKKEEPER_ADMIN_KEY={ADMIN_KEY}\nTEMPORAL_ADDRESS=-\n"
        )
        known[name] = {"url": dev.url, "env_file": str(env_file)}
    path = folder / "cells.json"
    path.write_text(json.dumps({"cells": known, "default": "a"}))
    return path


class Poster:
    """Posts events one after another, each until it is accepted; a few more than were delivered in order."""

    def __init__(self, http: httpx.AsyncClient, inbox: Receiver) -> None:
        self._http = http
        self._inbox = inbox
        self.accepted: list[str] = []
        self._stop = asyncio.Event()

    async def post(self) -> None:
        for n in itertools.count():
            event = {"id": f"e{n}", "type": "order.paid", "data": {"n": n}}
            while (answer := await self._http.post("/v1/events", json=event)).status_code == 503:
                await asyncio.sleep(0.05)
            assert answer.status_code in (200, 202), answer.text
            self.accepted.append(f"e{n}")
            while not self._stop.is_set() and len(self.accepted) > len({*received(self._inbox, "order.paid")}) + AHEAD:
                await asyncio.sleep(0.05)
            if self._stop.is_set():
                return

    def stop(self) -> None:
        self._stop.set()


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.timeout(600)  # it starts six processes, each of which has its own time
async def test_a_tenant_moves_while_its_events_are_posted(tmp_path: Path, tenant: str) -> None:
    """Setup: two `dev`, a router, an ordered and another webhook, a schedule, a tenant's key.
    Timeline: the tenant moves; the command is killed after the map has changed, and repeated; the tenant moves back.
    Proves: nothing is lost or doubled, order is kept, the schedule misses no time, early events can be read, and the
    cell that the tenant has left accepts nothing more of it.
    """
    async with AsyncExitStack() as stack:
        folders = {name: tmp_path / name for name in "ab"}
        for folder in folders.values():
            folder.mkdir()
        cells = {}
        for name, folder in folders.items():
            cells[name] = await stack.enter_async_context(processes.dev(folder, settings=SETTINGS))
        ordered, other = [await stack.enter_async_context(receiver()) for _ in range(2)]
        ordered.answers = [Answer(delay=0.3), Answer(503)]
        ordered.otherwise = Answer(delay=0.05)
        settings = {"HOOKKEEPER_CELL_MAP": str(write_map(tmp_path, cells)), "HOOKKEEPER_ADMIN_KEY": ADMIN_KEY}
        port = processes.free_ports().api
        router = processes.process("router", cwd=tmp_path, settings=settings | {"HOOKKEEPER_PORT": str(port)})
        await (await stack.enter_async_context(router)).says("serving")
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False))
        operator = {"authorization": f"Bearer {ADMIN_KEY}"}
        made = await http.post("/v1/keys", json={"name": "backend", "tenant": tenant}, headers=operator)
        http.headers["authorization"] = f"Bearer {made.json()['key']}"
        retry = {"schedule": [1.0] * 9}
        hooks = [
            (await http.post("/v1/webhooks", json=fields | {"retry": retry})).json()["id"]
            for fields in ({"url": ordered.url, "ordered": True, "events": ["order.*"]}, {"url": other.url})
        ]
        schedule = {"id": "tick", "every": EVERY, "overlap": "allow_all", "event": {"type": "tick"}, "note": "Ticks."}
        assert (await http.post("/v1/schedules", json=schedule)).status_code == 201

        poster = Poster(http, ordered)
        posting = asyncio.create_task(poster.post())
        await until(lambda: len(received(ordered, "order.paid")) > 3 and received(other, "tick"))
        command = ("cells", "move", tenant, "--to", "b", "--settle", "2")
        async with processes.process(*command, cwd=tmp_path, settings=settings) as moving:
            await moving.says("accepts the tenant's events")
            assert await moving.stop(signal.SIGKILL) != 0
        done = await processes.hookkeeper(*command, cwd=tmp_path, settings=settings, seconds=2 * WAIT_TIMEOUT)
        assert done.code == 0, done
        poster.stop()
        await posting
        await until(lambda: len(received(ordered, "order.paid")) > len(poster.accepted))  # one was repeated
        await until(lambda: len(received(other, "order.paid")) >= len(poster.accepted))

        assert list(dict.fromkeys(received(ordered, "order.paid"))) == poster.accepted
        assert len(received(ordered, "order.paid")) == len(poster.accepted) + 1
        assert sorted(received(other, "order.paid")) == sorted(poster.accepted)
        ticks = sorted(received(other, "tick"))
        times = [scheduled[1] for tick in ticks if (scheduled := ids.scheduled_event(tick))]
        assert {(later - earlier).seconds for earlier, later in itertools.pairwise(times)} == {EVERY}

        for event_id in (poster.accepted[0], poster.accepted[-1]):
            await processes.Client(http).until(event_id, tenant, "succeeded")
        left = [
            (await cells[name].http.get("/v1/webhooks", params={"tenant": tenant})).json()["items"] for name in "ab"
        ]
        assert left[0] == []
        assert {(hook["id"], hook["enabled"], hook["disabled_reason"]) for hook in left[1]} == {
            (id_, True, None) for id_ in hooks
        }
        assert (await http.get("/v1/schedules/tick")).json()["note"] == "Ticks."
        shown = await processes.hookkeeper("cells", "list", cwd=tmp_path, settings=settings)
        assert f"{tenant}  b     earlier events in a" in shown.out

        own = {"authorization": http.headers["authorization"]}
        assert (await cells["a"].http.get("/v1/keys/current", headers=own)).status_code == 401
        late = {"type": "order.paid", "tenant": tenant}
        assert (await cells["a"].http.post("/v1/events", json=late)).status_code == 403
        assert (await http.post("/v1/events", json=late, headers={"hookkeeper-cell": "a"})).status_code == 403
        back = ("cells", "move", tenant, "--to", "a", "--settle", "2")
        done = await processes.hookkeeper(*back, cwd=tmp_path, settings=settings, seconds=2 * WAIT_TIMEOUT)
        assert done.code == 0, done
        assert (await http.post("/v1/events", json={"id": "back", "type": "order.paid", "data": 1})).status_code == 202
        await until(lambda: "back" in received(ordered, "order.paid") and "back" in received(other, "order.paid"))
        assert (await cells["a"].http.get("/v1/events/back", headers=own)).status_code == 200
        assert (await cells["b"].http.get("/v1/keys/current", headers=own)).status_code == 401


async def test_a_router_needs_the_admin_key_of_its_cells(tmp_path: Path) -> None:
    """It could not read the earlier events of a tenant that has moved."""
    done = await processes.hookkeeper("router", cwd=tmp_path, settings={"HOOKKEEPER_CELL_MAP": "cells.json"})
    assert (done.code, "HOOKKEEPER_ADMIN_KEY is not set" in done.err) == (78, True), done
