"""The upgrade drill: from an earlier release to this code, back and forward again, while events are posted.

Before the first roll, everything that a release can find open is open: retries, timers, a queue in order, a queue for a
rate, held events, a recovery, a bulk action, incidents, a schedule.
"""

import asyncio
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client

from drills import answers, index
from drills.answers import PlannedAnswer
from drills.environment import TENANT, Environment, Report, environment
from drills.event_log import EventLog
from drills.load_generator import ACCEPT_TIMEOUT
from drills.observations import Accepted, Observations
from drills.receiver import digest_of
from drills.schedule import WORKERS
from drills.supervisor import ServiceFailed
from drills.verdict import Verdict, judge
from hookkeeper.cli.console import Failed

SECONDS, RATE = 15.0, 4.0
"""How long each release works after its roll, and events a second meanwhile."""
SAME_CODE = ("requirements.lock", "requirements-server.lock")
"""If these files are equal, both releases use the same installed packages."""
ROOT = Path(__file__).parents[1]
VERSION = "HOOKKEEPER_DEPLOYMENT_VERSION"
ONLY_INSTALLED = {"PYTHONSAFEPATH": "1"}
"""Otherwise Python would import from the current folder, which has the code of this release."""
READS = ("/v1/events", "/v1/stats", "/v1/webhooks", "/v1/recoveries", "/v1/schedules", "/v1/audit", "/readyz")
"""Read once a second: each release reads what the other has written."""
INTERVAL = 10
"""Seconds between two events of the schedule, the shortest that is allowed."""
EVENTS = 40
"""Events of each webhook that are open before the first roll."""
SLOW_RATE = 0.5
"""Events a second of recovery and bulk action, so that they last for some rolls."""
PROMOTE_ATTEMPTS = 4
PATIENT: dict[str, Any] = {"schedule": [5.0] * 49}
NEVER: dict[str, Any] = {"schedule": []}
NONDETERMINISM = re.compile(r"nondeterminis|TMPRL1100", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Release:
    """A version of workers, and the interpreter that has its code."""

    version: str
    python: str


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The result of the drill."""

    verdicts: Mapping[str, Verdict]
    """Of the events of each webhook, and of the load, which two webhooks get."""
    rolls: int
    failures: Mapping[str, tuple[str, ...]]
    """What is wrong besides, by kind."""

    @property
    def all_failures(self) -> dict[str, tuple[str, ...]]:
        of_events = {
            f"{name}: {kind}": found
            for name, verdict in self.verdicts.items()
            for kind, found in verdict.failures.items()
        }
        return of_events | {kind: found for kind, found in self.failures.items() if found}


@dataclass
class _Reader:
    """Reads from the API while the releases change."""

    http: httpx.AsyncClient
    wrong: list[str] = field(default_factory=list)
    """Answers that a client must not get."""

    async def read(self) -> None:
        while True:
            for path in READS:
                with suppress(httpx.TransportError):  # an API that stops, or is not there yet
                    response = await self.http.get(path)
                    if response.status_code not in (200, 503):
                        self.wrong.append(f"GET {path}: {response.status_code} {response.text[:200]}")
            await asyncio.sleep(1)


async def run(seed: int, revision: str, seconds: float, rate: float, report: Report) -> Upgraded:
    """Upgrade from the revision of the repository to this code, go back, and upgrade again."""
    with installed(revision) as python:
        old, new = Release("old", python), Release("new", sys.executable)
        variables = {VERSION: old.version, **ONLY_INSTALLED}
        async with environment(seed, python=python, variables=variables) as env:
            return await _upgrade(env, old, new, seed, (seconds, rate), report)


async def _upgrade(
    env: Environment, old: Release, new: Release, seed: int, load: tuple[float, float], report: Report
) -> Upgraded:
    since, (seconds, rate) = datetime.now(UTC), load
    opened = asyncio.Event()
    webhooks = await _register(env, seed, opened)
    report("opening retries, timers, queues, a release, a recovery, a bulk action, incidents and a schedule")
    posted = await _open(env, webhooks, seconds)
    reader = _Reader(env.http)

    async def roll_and_work() -> None:
        for release in (new, old, new):
            await asyncio.sleep(seconds)
            if release is old:
                opened.set()  # what has waited for a retry since the start is delivered by the older code
            await _roll(env, release, report)
        await asyncio.sleep(seconds)

    async with _reading(reader):
        await _post_until_done(env, rate, asyncio.create_task(roll_and_work()))
    report("waiting until all events are final, and all runs closed")
    (await env.http.delete("/v1/schedules/ticks", params={"tenant": TENANT})).raise_for_status()
    posted["load"] = env.load.accepted
    found = await index.until_final(env, {event.event_id for events in posted.values() for event in events}, set())
    open_runs = await index.until_closed(await Client.connect(env.cluster.stack.temporal_address))
    posted["scheduled"] = await _scheduled(env)
    found += await index.until_final(env, {event.event_id for event in posted["scheduled"]}, set())
    await _hookkeeper(env, new, "recount")
    log = EventLog(env.http, TENANT, webhooks)
    for event in found:
        log.record(event)
    failures = {
        "differences of lists and statistics": (
            *await index.differences(env, found, since),
            *await _differences_of_totals(env, since),
        ),
        "runs that did not close": tuple([f"{open_runs} runs"] * bool(open_runs)),
        "webhooks that are not healthy": await _unhealthy(env),
        "wrong answers": tuple(reader.wrong),
        "times without an event": missing_times([event.event_id for event in posted["scheduled"]]),
        "nondeterminism": nondeterminism(env.cluster.stack.data_dir / "logs"),
    }
    return Upgraded(_verdicts(env, webhooks, posted, log), 3, failures)


# What is open


async def _register(env: Environment, seed: int, opened: asyncio.Event) -> dict[str, str]:
    """Register the webhooks, each for events of its name, and return their names by id."""

    def refuses(_: str, __: int) -> PlannedAnswer:
        return PlannedAnswer(200 if opened.is_set() else 503, 0.02)

    def fails_once(_: str, number: int) -> PlannedAnswer:
        return PlannedAnswer(503 if number == 1 else 200, 0.02)

    def accepts(_: str, __: int) -> PlannedAnswer:
        return PlannedAnswer(200, 0.02)

    def in_order(event_id: str, number: int) -> PlannedAnswer:
        return PlannedAnswer(503 if number == 1 and event_id.endswith("5") else 200, 1.0)

    plans: dict[str, tuple[Any, dict[str, Any]]] = {
        "retried": (refuses, {"retry": PATIENT}),
        "timed": (accepts, {}),
        "limited": (accepts, {"rate_limit": 0.5}),
        "ordered": (in_order, {"ordered": True}),
        "held": (accepts, {}),
        "recovered": (fails_once, {"retry": NEVER}),
        "repeated": (fails_once, {"retry": NEVER}),
        "scheduled": (accepts, {}),
    }
    registered = {
        await env.register(name, partial(answer, seed)): name
        for name, answer in (("steady", answers.steady), ("flaky", answers.flaky))
    }
    for name, (answer, fields) in plans.items():
        registered[await env.register(name, answer, events=[f"{name}.ran"], **fields)] = name
    return registered


async def _open(env: Environment, webhooks: Mapping[str, str], seconds: float) -> dict[str, list[Accepted]]:
    """Post events that stay open, start what works on them, and return the events by webhook."""
    ids = {name: webhook_id for webhook_id, name in webhooks.items()}
    (await env.http.post(f"/v1/webhooks/{ids['held']}/pause")).raise_for_status()
    due = datetime.now(UTC) + timedelta(seconds=seconds)
    posted = {
        name: await _post(env, name) for name in ("retried", "limited", "ordered", "held", "recovered", "repeated")
    }
    posted["timed"] = await _post(env, "timed", lambda n: (due + timedelta(seconds=n * seconds / 5)).isoformat())
    await env.until(f"/v1/webhooks/{ids['held']}/held", lambda answer: answer["held"] == EVENTS)
    for name in ("recovered", "repeated"):
        await _until_failed(env, ids[name])
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    body = {"since": since, "rate": SLOW_RATE}
    (await env.http.post(f"/v1/webhooks/{ids['recovered']}/recover", json=body)).raise_for_status()
    query = {"tenant": TENANT, "webhook": ids["repeated"]}
    retry = {"action": "retry", "rate": SLOW_RATE}
    (await env.http.post("/v1/bulk", params=query, json=retry)).raise_for_status()
    schedule = {
        "id": "ticks",
        "tenant": TENANT,
        "every": INTERVAL,
        "overlap": "allow_all",
        "event": {"type": "scheduled.ran", "data": {}},
    }
    (await env.http.post("/v1/schedules", json=schedule)).raise_for_status()
    (await env.http.post(f"/v1/webhooks/{ids['held']}/resume")).raise_for_status()
    return posted


async def _post(env: Environment, name: str, due: Any = None) -> list[Accepted]:
    """Post the events of a webhook, as one batch."""
    events = [
        {"id": f"{name}-{n}", "type": f"{name}.ran", "tenant": TENANT, "data": {"n": n}}
        | ({"deliver_at": due(n)} if due else {})
        for n in range(EVENTS)
    ]
    response = await env.http.post("/v1/events/batch", json={"events": events})
    if refused := [item for item in response.raise_for_status().json()["items"] if item["status"] >= 300]:
        raise Failed(f"events were refused: {refused[:3]}")
    return [Accepted(str(event["id"]), time.time(), digest_of(event["data"])) for event in events]


async def _until_failed(env: Environment, webhook_id: str) -> None:
    path = f"/v1/webhooks/{webhook_id}/deliveries?status=failed&limit={EVENTS}"
    await env.until(path, lambda page: len(page["items"]) == EVENTS)


@asynccontextmanager
async def _reading(reader: _Reader) -> AsyncIterator[None]:
    reading = asyncio.create_task(reader.read())
    try:
        yield
    finally:
        reading.cancel()


async def _post_until_done(env: Environment, rate: float, work: asyncio.Task[None]) -> None:
    """Post events until the work is done, which raises its error here."""
    n = 0
    async with asyncio.TaskGroup() as senders:
        while not work.done():
            senders.create_task(env.load.send(n, ACCEPT_TIMEOUT))
            n += 1
            await asyncio.sleep(1 / rate)
    await work


# Releases


@contextmanager
def installed(revision: str) -> Iterator[str]:
    """Yield an interpreter that has the code of a revision of the repository. Raises `Failed`."""
    with tempfile.TemporaryDirectory(prefix="hookkeeper-release-") as temporary:
        code, environment_ = Path(temporary) / "code", Path(temporary) / "venv"
        archive = _git("archive", "--format=tar", revision)
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(code, filter="data")
        same = all((code / name).read_bytes() == (ROOT / name).read_bytes() for name in SAME_CODE)
        venv.create(environment_, symlinks=True, with_pip=not same)
        python = str(environment_ / "bin/python")
        if not same:
            locks = [part for name in SAME_CODE for part in ("-r", str(code / name))]
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--require-hashes", *locks], check=True)
        # A path in a .pth file comes after the environment's own packages, and the .pth files there are not read.
        (packages,) = environment_.glob("lib/python*/site-packages")
        paths = [str(code), *[path for path in sys.path if path.endswith("site-packages")] * same]
        (packages / "release.pth").write_text("\n".join(paths))
        yield python


def latest_tag() -> str:
    """Return the tag of the latest release. Raises `Failed` if there is none."""
    return _git("describe", "--tags", "--abbrev=0", "HEAD").decode().strip()


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True)
    if done.returncode:
        raise Failed(f"git {arguments[0]}: {done.stderr.decode().strip()}; name an earlier release with --from")
    return done.stdout


async def _roll(env: Environment, release: Release, report: Report) -> None:
    """Let this release replace the other one: migrate, a worker, promote, the other worker, the API."""
    began = time.time()
    await _hookkeeper(env, release, "migrate", "--registry-only")
    first, *others = WORKERS
    await _replace(env, first, release)
    await _promote(env, release)
    for name in (*others, "api"):
        await _replace(env, name, release)
    report(f"the {release.version} release runs after {time.time() - began:.0f} s")


async def _promote(env: Environment, release: Release) -> None:
    """Promote, and try again as a job of Kubernetes does: a busy server takes more than a minute."""
    for _ in range(PROMOTE_ATTEMPTS):
        with suppress(ServiceFailed):
            await _hookkeeper(env, release, "promote")
            return
    raise Failed(f"workers of the {release.version} release were not promoted: see promote.log")


async def _replace(env: Environment, name: str, release: Release) -> None:
    service = env.cluster.stack.services[name]
    argv, variables = [release.python, *service.argv[1:]], {**service.env, VERSION: release.version}
    await env.cluster.stack.supervisor.replace(replace(service, argv=argv, env=variables))


async def _hookkeeper(env: Environment, release: Release, *command: str) -> None:
    variables = {**env.cluster.stack.services["api"].env, VERSION: release.version}
    argv = [release.python, "-m", "hookkeeper", *command]
    await env.cluster.stack.supervisor.run(command[0], argv, variables)


# What came of it


async def _scheduled(env: Environment) -> list[Accepted]:
    """Return the events of the schedule."""
    page = await env.until(f"/v1/events?tenant={TENANT}&type=scheduled.ran&limit=100", lambda page: True)
    return [
        Accepted(event["id"], datetime.fromisoformat(event["accepted_at"]).timestamp(), digest_of({}))
        for event in page["items"]
    ]


def missing_times(event_ids: list[str]) -> tuple[str, ...]:
    """Return the times between the first and the last event of the schedule that have no event."""
    if not event_ids:
        return ("no event",)
    times = {datetime.strptime(f"{event_id}+0000", "ticks-%Y%m%dT%H%M%SZ%z") for event_id in event_ids}
    first, last = min(times), max(times)
    wanted = (first + n * timedelta(seconds=INTERVAL) for n in range((last - first) // timedelta(seconds=INTERVAL)))
    return tuple(str(time) for time in wanted if time not in times)


def nondeterminism(logs: Path) -> tuple[str, ...]:
    """Return the lines of logs that say that code does not replay a run."""
    found = []
    for log in sorted(logs.glob("worker*")):
        lines = log.read_text(errors="replace").splitlines()
        found += [f"{log.name}: {line[:300]}" for line in lines if NONDETERMINISM.search(line)]
    return tuple(found)


async def _differences_of_totals(env: Environment, since: datetime) -> tuple[str, ...]:
    """Return what the totals over all tenants say that their sum does not."""
    totals, tenants = [
        (await env.http.get("/v1/stats", params={"by": by, "since": since.isoformat()})).raise_for_status().json()
        for by in ("total", "tenant")
    ]
    (total,) = totals["items"]
    wanted = {name: value for name, value in total.items() if isinstance(value, int)}
    sums = {name: sum(item[name] for item in tenants["items"]) for name in wanted}
    return tuple(
        f"{name}: {wanted[name]} over all tenants, {sums[name]} of all tenants"
        for name in wanted
        if wanted[name] != sums[name]
    )


async def _unhealthy(env: Environment) -> tuple[str, ...]:
    page = (await env.http.get("/v1/webhooks", params={"tenant": TENANT, "limit": 100})).raise_for_status().json()
    return tuple(
        f"{webhook['name']}: {webhook['health']['status']}"
        for webhook in page["items"]
        if webhook["health"]["status"] not in ("healthy", "new")
    )


def _verdicts(
    env: Environment, webhooks: Mapping[str, str], posted: Mapping[str, list[Accepted]], log: EventLog
) -> dict[str, Verdict]:
    found = {}
    for group, events in posted.items():
        names = ("steady", "flaky") if group == "load" else (group,)
        is_load = group == "load"
        found[group] = judge(
            Observations(
                webhooks=names,
                accepted=tuple(events),
                requests=tuple(request for request in env.receivers.requests if request.webhook in names),
                logged=tuple(attempt for attempt in log.attempts if attempt.webhook in names),
                statuses=log.statuses,
                windows=(),
                unaccepted=tuple(env.load.unaccepted) if is_load else (),
                refused=tuple(env.load.refused) if is_load else (),
            )
        )
    return found
