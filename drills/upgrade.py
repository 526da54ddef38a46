"""The upgrade drill: from an earlier release to HEAD, back and forward again, while events are posted.

Before the first roll, everything that a release can find open is open: retries, timers, a queue in order, a queue for a
rate, held events, a recovery, a bulk action, incidents, a schedule.
"""

import asyncio
import itertools
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from cli.console import Failed
from cli.local.child_process import ProcessFailed
from drills import answers, index
from drills.answers import PlannedAnswer
from drills.drill import Numbers, Options, Outcome, print_step
from drills.environment import TENANT, Environment, environment
from drills.event_log import EventLog, list_events
from drills.load_generator import ACCEPT_TIMEOUT
from drills.observations import Accepted, Observations, ReceivedRequest
from drills.postgres import NotInstalled
from drills.receiver import digest_of
from drills.shape import WORKERS
from drills.verdict import Verdict, judge
from hookkeeper.asyncio_tasks import in_background

SECONDS, RATE = 15.0, 4.0
"""How long each release works after its roll, and events a second meanwhile."""
LOCK_FILES = ("requirements.lock", "requirements-server.lock")
"""A release whose lock files are those of this code uses the packages that are installed here."""
ROOT = Path(__file__).parents[1]
VERSION = "HOOKKEEPER_DEPLOYMENT_VERSION"
ONLY_INSTALLED = {"PYTHONSAFEPATH": "1"}
"""Otherwise Python would import from the current folder."""
READS = ("/v1/events", "/v1/stats", "/v1/webhooks", "/v1/recoveries", "/v1/schedules", "/v1/audit", "/readyz")
"""Read once a second: each release reads what the other has written."""
INTERVAL = 10
"""Seconds between two events of the schedule, the shortest that is allowed."""
EVENTS = 40
"""Events of each webhook that are open before the first roll."""
SLOW_RATE = 0.5
"""Events a second of recovery and bulk action, so that they last for some rolls."""
PROMOTE_ATTEMPTS = 4
DONE_BEFORE = (404, 409)
PATIENT: dict[str, Any] = {"schedule": [10.0] * 49}
NEVER: dict[str, Any] = {"schedule": []}
NONDETERMINISM = re.compile(r"nondeterminis|TMPRL1100", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Release:
    """A version of workers, and the interpreter that has its code."""

    version: str
    python: str


async def run(options: Options) -> Outcome:
    """Upgrade from a revision of the repository to HEAD, go back, and upgrade again."""
    revision = options.release or latest_tag()
    with installed(revision) as earlier, installed("HEAD") as current:
        old, new = Release("old", earlier), Release("new", current)
        variables = {VERSION: old.version, **ONLY_INSTALLED}
        async with environment(options.seed, options.shape, python=old.python, variables=variables) as env:
            seconds, rate = options.seconds or SECONDS, options.rate or RATE
            verdicts, failures = await _upgrade(env, old, new, options.seed, seconds, rate)
    return judge_all(verdicts, failures, f"from {revision}")


def judge_all(verdicts: Mapping[str, Verdict], failures: Mapping[str, tuple[str, ...]], figure: str) -> Outcome:
    """Judge by the verdict of each webhook, and by what is wrong besides."""
    kinds = {f"{name}: {kind}": wrong for name, each in verdicts.items() for kind, wrong in each.failures.items()}
    latest = max((each.longest for each in verdicts.values()), default=0.0)
    columns = ("<", "events", "delivered", "lost", "stuck", "twice", "longest")
    names = ("events accepted", "deliveries made", "lost", "stuck", "duplicates")

    def total(count: str) -> int:
        return sum(each.counts[count] for each in verdicts.values())

    figure = f"{figure}; latest {latest:.0f} s"
    return Outcome(
        {name: (*(each.counts[count] for count in names), f"{each.longest:.0f} s") for name, each in verdicts.items()},
        {**kinds, **failures},
        columns,
        numbers=Numbers(total("events accepted"), total("lost"), total("stuck"), total("duplicates"), figure),
    )


async def _upgrade(
    env: Environment, old: Release, new: Release, seed: int, seconds: float, rate: float
) -> tuple[dict[str, Verdict], dict[str, tuple[str, ...]]]:
    since, opened = datetime.now(UTC), asyncio.Event()
    webhooks = await _register(env, seed, opened)
    print_step("opening retries, timers, queues, a release, a recovery, a bulk action, incidents and a schedule")
    posted = await _open(env, webhooks, seconds)
    wrong_answers: list[str] = []

    async def roll_and_work() -> None:
        for release in (new, old, new):
            await asyncio.sleep(seconds)
            if release is old:
                opened.set()  # what has waited for a retry since the start is delivered by the older code
            await _roll(env, release)
        await asyncio.sleep(seconds)

    async with in_background(_read(env, wrong_answers), "read"):
        await _post_until_done(env, rate, asyncio.create_task(roll_and_work()))
    print_step("waiting until all events are final, and all runs closed")
    await _send(env, "DELETE", f"/v1/schedules/ticks?tenant={TENANT}")
    # Until then, events that have failed are final.
    await env.until(f"/v1/recoveries?tenant={TENANT}", _are_over)
    posted["load"] = env.load.accepted
    found = await index.until_final(env, {event.event_id for events in posted.values() for event in events}, set())
    open_runs = await index.until_closed(await _temporal(env))
    posted["scheduled"] = await _scheduled(env)
    found += await index.until_final(env, {event.event_id for event in posted["scheduled"]}, set())
    await _hookkeeper(env, new, _api_variables(env), "recount")
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
        "wrong answers": tuple(wrong_answers),
        "out of order": out_of_order(env.receivers.requests),
        "times without an event": missing_times([event.event_id for event in posted["scheduled"]]),
        "nondeterminism": nondeterminism(env.cluster.stack.data_dir / "logs"),
    }
    return _verdicts(env, webhooks, posted, log), failures


# Events that are open before the first roll


async def _register(env: Environment, seed: int, opened: asyncio.Event) -> dict[str, str]:
    """Register the webhooks, each for events of its name, and return their names by id."""

    def refuses(_: str, __: int) -> PlannedAnswer:
        return PlannedAnswer(200 if opened.is_set() else 503, 0.02)

    def in_order(event_id: str, number: int) -> PlannedAnswer:
        return PlannedAnswer(503 if number == 1 and event_id.endswith("5") else 200, 1.0)

    accepts, fails_once = answers.always(200, 0.02), answers.after_one_failure(0.02)
    plans: dict[str, tuple[Any, dict[str, Any]]] = {
        "retried": (refuses, {"retry": PATIENT}),
        "timed": (accepts, {}),
        "limited": (accepts, {"rate_limit": 0.5}),
        "ordered": (in_order, {"ordered": True}),
        "held": (accepts, {"rate_limit": 1}),
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
    await _send(env, "POST", f"/v1/webhooks/{ids['held']}/pause")
    due = datetime.now(UTC) + timedelta(seconds=seconds)
    posted = {
        name: await _post(env, name) for name in ("retried", "limited", "ordered", "held", "recovered", "repeated")
    }
    posted["timed"] = await _post(env, "timed", lambda n: (due + timedelta(seconds=n * seconds / 5)).isoformat())
    await env.until(f"/v1/webhooks/{ids['held']}/held", lambda answer: answer["held"] == EVENTS)
    for name in ("recovered", "repeated"):
        failed = f"/v1/webhooks/{ids[name]}/deliveries?status=failed&limit={EVENTS}"
        await env.until(failed, lambda page: len(page["items"]) == EVENTS)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    body = {"since": since, "rate": SLOW_RATE}
    await _send(env, "POST", f"/v1/webhooks/{ids['recovered']}/recover", body)
    query = f"tenant={TENANT}&webhook={ids['repeated']}"
    await _send(env, "POST", f"/v1/bulk?{query}", {"action": "retry", "rate": SLOW_RATE})
    schedule = {
        "id": "ticks",
        "tenant": TENANT,
        "every": INTERVAL,
        "overlap": "allow_all",
        "event": {"type": "scheduled.ran", "data": {}},
    }
    await _send(env, "POST", "/v1/schedules", schedule)
    await _send(env, "POST", f"/v1/webhooks/{ids['held']}/resume")
    return posted


async def _send(env: Environment, method: str, path: str, body: dict[str, Any] | None = None) -> None:
    """Make a request. 404 and 409: one that was repeated has had an effect."""
    response = await env.request(method, path, body)
    if response.status_code not in DONE_BEFORE:
        response.raise_for_status()


async def _post(env: Environment, name: str, due: Callable[[int], str] | None = None) -> list[Accepted]:
    """Post the events of a webhook, as one batch; those in order one after another."""
    events: list[dict[str, Any]] = [
        {"id": f"{name}-{n}", "type": f"{name}.ran", "tenant": TENANT, "data": {"n": n}}
        | ({"deliver_at": due(n)} if due else {})
        for n in range(EVENTS)
    ]
    for batch in [[event] for event in events] if name == "ordered" else [events]:
        while not await _is_accepted(env, batch):
            await asyncio.sleep(1)
    return [Accepted(str(event["id"]), time.time(), digest_of(event["data"])) for event in events]


async def _is_accepted(env: Environment, batch: list[dict[str, Any]]) -> bool:
    """Post a batch, and return whether all of it is accepted: a busy server may refuse some, and they are repeated."""
    with suppress(httpx.TransportError):
        response = await env.http.post("/v1/events/batch", json={"events": batch})
        return response.status_code == 207 and all(item["status"] < 300 for item in response.json()["items"])
    return False


async def _read(env: Environment, wrong: list[str]) -> None:
    """Read from the API while the releases change, and add the answers that a client must not get."""
    while True:
        for path in READS:
            with suppress(httpx.TransportError):  # an API that stops, or is not there yet
                response = await env.http.get(path)
                if response.status_code not in (200, 503):
                    wrong.append(f"GET {path}: {response.status_code} {response.text[:200]}")
        await asyncio.sleep(1)


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
        _write_entry_points(code)
        same = all((code / name).read_bytes() == (ROOT / name).read_bytes() for name in LOCK_FILES)
        venv.create(environment_, symlinks=True, with_pip=not same)
        python = str(environment_ / "bin/python")
        if not same:
            locks = [part for name in LOCK_FILES for part in ("-r", str(code / name))]
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--require-hashes", *locks], check=True)
        # A path in a .pth file comes after the environment's own packages, and the .pth files there are not read.
        (packages,) = environment_.glob("lib/python*/site-packages")
        paths = [str(code), *[path for path in sys.path if path.endswith("site-packages")] * same]
        (packages / "release.pth").write_text("\n".join(paths))
        yield python


def _write_entry_points(code: Path) -> None:
    """Name the entry points of a release beside its code: before those of the code that is installed here."""
    groups = tomllib.loads((code / "pyproject.toml").read_text())["project"].get("entry-points", {})
    metadata = code / "hookkeeper.egg-info"
    metadata.mkdir()
    (metadata / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: hookkeeper\nVersion: 0\n")
    lines = [line for name, entries in groups.items() for line in (f"[{name}]", *map(" = ".join, entries.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


def latest_tag() -> str:
    """Return the tag of the latest release. Raises `NotInstalled` if there is none."""
    try:
        return _git("describe", "--tags", "--abbrev=0", "HEAD").decode().strip()
    except Failed as error:
        raise NotInstalled("no release has a tag: name a revision with --from") from error


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True)
    if done.returncode:
        raise Failed(f"git {arguments[0]}: {done.stderr.decode().strip()}; name a revision of git")
    return done.stdout


async def _roll(env: Environment, release: Release) -> None:
    """Let this release replace the other one: migrate, a worker, promote, the other worker, the APIs."""
    began, shape = time.time(), env.cluster.shape
    option = "--wait=60" if shape.is_production else "--registry-only"
    await _hookkeeper(env, release, env.cluster.stack.commands["migrate"], "migrate", option)
    first, *others = WORKERS
    await _replace(env, first, release)
    await _promote(env, release)
    for name in (*others, *shape.apis):
        await _replace(env, name, release)
    print_step(f"the {release.version} release runs after {time.time() - began:.0f} s")


async def _promote(env: Environment, release: Release) -> None:
    """Promote, and try again as a job of Kubernetes does: a busy server takes more than a minute."""
    for _ in range(PROMOTE_ATTEMPTS):
        with suppress(ProcessFailed):
            await _hookkeeper(env, release, env.cluster.stack.commands["promote"], "promote")
            return
    raise Failed(f"workers of the {release.version} release were not promoted: see promote.log")


async def _replace(env: Environment, name: str, release: Release) -> None:
    service = env.cluster.stack.services[name]
    argv, variables = [release.python, *service.argv[1:]], {**service.env, VERSION: release.version}
    await env.cluster.stack.supervisor.replace(replace(service, argv=argv, env=variables))


async def _hookkeeper(env: Environment, release: Release, variables: Mapping[str, str], *command: str) -> None:
    argv = [release.python, "-m", "hookkeeper", *command]
    await env.cluster.stack.supervisor.run(command[0], argv, {**variables, VERSION: release.version})


def _api_variables(env: Environment) -> Mapping[str, str]:
    return env.cluster.stack.services[env.cluster.shape.apis[0]].env


async def _temporal(env: Environment) -> Client:
    """Connect to Temporal as an API does."""
    return await Client.connect(**ClientConfig.load_client_connect_config(override_env_vars=_api_variables(env)))


# Results


def _are_over(page: dict[str, Any]) -> bool:
    return all(recovery["status"] == "finished" for recovery in page["items"])


async def _scheduled(env: Environment) -> list[Accepted]:
    """Return the events of the schedule."""
    while True:
        with suppress(httpx.HTTPError):
            ticks = sorted(id_ for id_ in await list_events(env.http, TENANT) if id_.startswith("ticks-"))
            return [Accepted(event_id, _time_of(event_id).timestamp(), digest_of({})) for event_id in ticks]
        await asyncio.sleep(1)


def _time_of(event_id: str) -> datetime:
    return datetime.strptime(f"{event_id}+0000", "ticks-%Y%m%dT%H%M%SZ%z")


def out_of_order(requests: Iterable[ReceivedRequest]) -> tuple[str, ...]:
    """Return the deliveries of the ordered webhook that came before an earlier one."""
    numbers = [
        int(request.event_id.split("-")[1])
        for request in requests
        if request.webhook == "ordered" and request.is_delivery
    ]
    return tuple(f"ordered-{b} before ordered-{a}" for b, a in itertools.pairwise(numbers) if a < b)


def missing_times(event_ids: list[str]) -> tuple[str, ...]:
    """Return the times between the first and the last event of the schedule that have no event."""
    if not event_ids:
        return ("no event",)
    times = {*map(_time_of, event_ids)}
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
    query = f"since={since:%Y-%m-%dT%H:%M:%SZ}"
    totals, tenants = [await env.until(f"/v1/stats?by={by}&{query}", lambda page: True) for by in ("total", "tenant")]
    (total,) = totals["items"]
    wanted = index.numbers(total)
    sums = {name: sum(item[name] for item in tenants["items"]) for name in wanted}
    return tuple(
        f"{name}: {wanted[name]} over all tenants, and {sums[name]} is their sum"
        for name in wanted
        if wanted[name] != sums[name]
    )


async def _unhealthy(env: Environment) -> tuple[str, ...]:
    page = await env.until(f"/v1/webhooks?tenant={TENANT}&limit=100", lambda page: True)
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
        is_load = group == "load"
        names = ("steady", "flaky") if is_load else (group,)
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
