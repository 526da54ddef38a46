"""The drill of cells: a tenant moves from one cell to another while it and others post events through a router.

The command that moves it is killed twice, and the router once. Nothing may be lost or doubled, and order is kept.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from cli.ports import LOCALHOST, Ports, free_ports
from drills import cluster, stack
from drills.answers import always
from drills.cluster import Cluster
from drills.drill import Options, Outcome, print_step, unmet
from drills.environment import until
from drills.load_generator import LoadGenerator
from drills.observations import ReceivedRequest
from drills.receiver import Receivers, receiving
from drills.supervisor import Service, Supervisor

MOVED = "moved"
TENANTS = {MOVED: "a", "stays": "a", "other": "b"}
"""Tenants and their cells before the move."""
SECONDS = 20.0
"""For which events are posted before the move, and after it."""
RATE = 4.0
"""Events a second of each tenant."""
SETTLE = 4.0
KILLED_AT = ("are copied", "accepts the tenant's events")
"""What the command has said when it is killed."""
TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of the events of a tenant."""

    tenant: str
    accepted: list[str]
    """In the order of their acceptance."""
    refused: list[str]
    ordered: list[ReceivedRequest]
    unordered: list[ReceivedRequest]

    @property
    def lost(self) -> int:
        return sum(len({*self.accepted} - _ids(requests)) for requests in (self.ordered, self.unordered))

    @property
    def doubled(self) -> int:
        return sum(len(requests) - len(_ids(requests)) for requests in (self.ordered, self.unordered))

    @property
    def in_order(self) -> bool:
        arrived = sorted(self.ordered, key=lambda request: request.arrived)
        return list(dict.fromkeys(request.event_id for request in arrived)) == self.accepted

    @property
    def passed(self) -> bool:
        return bool(self.accepted) and self.in_order and not (self.lost or self.doubled or self.refused)


def _ids(requests: Iterable[ReceivedRequest]) -> set[str]:
    return {request.event_id for request in requests}


async def run(options: Options) -> Outcome:
    """Post events of three tenants, and move one."""
    async with AsyncExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="hookkeeper-cells-")))
        cells = {name: await resources.enter_async_context(cluster.running(folder=folder / name)) for name in "ab"}
        receivers = await resources.enter_async_context(receiving())
        supervisor = await resources.enter_async_context(Supervisor(folder))
        environment = {
            "HOOKKEEPER_CELL_MAP": str(_write_map(folder, cells)),
            "HOOKKEEPER_ADMIN_KEY": cells[TENANTS[MOVED]].stack.admin_key,
            "HOOKKEEPER_SHUTDOWN_DELAY": "0",
        }
        router = _router(environment)
        await supervisor.start(router)
        loads = []
        for tenant, cell in TENANTS.items():
            http = await resources.enter_async_context(await _client(router, cells[cell], tenant))
            await _register(http, tenant, receivers)
            loads.append(LoadGenerator(http, tenant, options.seed))
        posting = asyncio.Event()
        tasks = [asyncio.create_task(_post(load, posting)) for load in loads]
        print_step(f"posting {RATE:g} events a second of each of {len(TENANTS)} tenants")
        await asyncio.sleep(SECONDS)
        began = time.time()
        await _move(folder, environment, supervisor)
        seconds = time.time() - began
        print_step("moved; posting some more events")
        await asyncio.sleep(SECONDS)
        posting.set()
        await asyncio.gather(*tasks)
        print_step("all are posted; waiting for the last ones")
        await _until_delivered(loads, receivers)
        found, in_new_cell = [_delivered(load, receivers) for load in loads], await _count(cells["b"])
    return Outcome(
        columns=("<", *TENANTS),
        rows={
            "accepted": [len(each.accepted) for each in found],
            "requests to the ordered webhook": [len(each.ordered) for each in found],
            "requests to the other one": [len(each.unordered) for each in found],
            "lost": [each.lost for each in found],
            "doubled": [each.doubled for each in found],
            "refused": [len(each.refused) for each in found],
            "in order": ["yes" if each.in_order else "no" for each in found],
        },
        notes=[f"moved in {seconds:.0f} s; the new cell has accepted {in_new_cell} events"],
        failures={
            "tenants": [each.tenant for each in found if not each.passed],
            "new cell": unmet({"it has accepted no event": in_new_cell > 0}),
        },
    )


async def _move(folder: Path, environment: Mapping[str, str], supervisor: Supervisor) -> None:
    """Run the command until it ends, and kill it on the way."""
    argv = [sys.executable, "-m", "hookkeeper", "cells", "move", MOVED, "--to", "b", "--settle", f"{SETTLE:g}"]
    for n, text in enumerate((*KILLED_AT, None)):
        written = folder / f"move-{n}.log"
        with written.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *argv, env={**os.environ, **environment}, stdout=file, stderr=asyncio.subprocess.STDOUT
            )
        async with asyncio.timeout(TIMEOUT):
            while process.returncode is None and (text is None or text not in written.read_text()):
                await asyncio.sleep(0.05)
        if text is None or process.returncode is not None:
            print_step(written.read_text().strip())
            assert process.returncode == 0, written.read_text()
            return
        print_step(f"the command has said `… {text}`: killing it" + (" and the router" if n else ""))
        process.kill()
        await process.wait()
        if n and (pid := supervisor.pid("router")):
            os.kill(pid, signal.SIGKILL)


def _write_map(folder: Path, cells: Mapping[str, Cluster]) -> Path:
    known = {}
    for name, cell in cells.items():
        settings = cell.stack.services["api"].env
        env_file = folder / f"{name}.env"
        env_file.write_text("".join(f"{setting}='{value}'\n" for setting, value in settings.items()))
        known[name] = {"url": cell.stack.url, "env_file": str(env_file)}
    path = folder / "cells.json"
    places = {tenant: {"cell": cell} for tenant, cell in TENANTS.items() if cell != "a"}
    path.write_text(json.dumps({"cells": known, "default": "a", "tenants": places}))
    return path


def _router(environment: Mapping[str, str]) -> Service:
    url = f"http://{LOCALHOST}:{(port := free_ports(Ports()).api)}"
    own = {**environment, "HOOKKEEPER_PORT": str(port)}
    return Service("router", [sys.executable, "-m", "hookkeeper", "router"], stack.answers(f"{url}/readyz"), own)


async def _client(router: Service, cell: Cluster, tenant: str) -> httpx.AsyncClient:
    """Return a client of the router with a key of the tenant."""
    made = await cell.http.post("/v1/keys", json={"name": "drill", "tenant": tenant})
    url = f"http://{LOCALHOST}:{router.env['HOOKKEEPER_PORT']}"
    return stack.client(url, made.raise_for_status().json()["key"])


async def _register(http: httpx.AsyncClient, tenant: str, receivers: Receivers) -> None:
    for kind in ("ordered", "unordered"):
        ordered = kind == "ordered"
        await receivers.register(http, f"{tenant}-{kind}", always(200, 0.05), tenant=tenant, ordered=ordered)


async def _post(load: LoadGenerator, is_over: asyncio.Event) -> None:
    """Post events one after another: each after the answer to the one before."""
    n = 0
    while not is_over.is_set():
        await load.send(n, TIMEOUT)
        n += 1
        await asyncio.sleep(1 / RATE)


async def _until_delivered(loads: list[LoadGenerator], receivers: Receivers) -> None:
    await until(lambda: not any(_delivered(load, receivers).lost for load in loads), TIMEOUT)
    await asyncio.sleep(SETTLE)  # for what is delivered twice


def _delivered(load: LoadGenerator, receivers: Receivers) -> Delivered:
    ordered, unordered = (
        [request for request in receivers.requests if request.webhook == f"{load.tenant}-{kind}" and request.digest]
        for kind in ("ordered", "unordered")
    )
    accepted = [event.event_id for event in load.accepted]
    return Delivered(load.tenant, accepted, [*load.refused, *load.unaccepted], ordered, unordered)


async def _count(cell: Cluster) -> int:
    """Return how many events of the tenant a cell has accepted."""
    answer = await cell.http.get("/v1/stats", params={"tenant": MOVED})
    answer.raise_for_status()
    return sum(group["events"] for group in answer.json()["items"])
