"""The glance drill: eight webhooks break, each in its own way. Pages, API, CLI, metrics and alerts name each cause.

Until then they were healthy, next to two that stay so. When all are mended, all have to be shown as healthy again.
"""

import asyncio
import json
import math
import os
import re
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from typing import Any, NamedTuple

import httpx

from cli.console import Failed
from drills import breakable
from drills.breakable import LOST_MAILBOX, SLACK, Receivers
from drills.drill import Options, Outcome, print_step, unmet
from drills.environment import TENANT, Environment, environment, meanwhile, until
from drills.open_pages import session

RATE, SECONDS = 5.0, 60.0
"""Events a second, and how long the webhooks are broken. Each event goes to all of them."""
NAMED_LIMIT = GREEN_LIMIT = 60.0
"""Seconds until each cause is named everywhere, and until each webhook is shown as healthy when all are mended."""
LATE_LIMIT = 5.0
"""Seconds after its first failed attempt in which a webhook may still be shown as healthy: an attempt counts when those
that were made together with it have ended."""
WELL_LIMIT = 300.0
"""Seconds until the overview says that all is well, after everything was delivered again."""
PATIENCE = 120.0
"""Further seconds, for a table that says how late something was."""
MAX_CAUSE = 24
"""Characters of a cause in the table."""
PAUSE = 0.5
"""Seconds between two looks."""
CAUSES = {
    "fails": r"\b500\b",
    "hangs": r"timeout|timed out|in time",
    "leaves": r"\b410\b|\bgone\b",
    "certificate": r"\btls\b|authority",
    "nameless": r"\bdns\b|no such host",
    "render": r"template",
    "mailbox": r"\b550\b",
    "slack": r"\b404\b",
}
"""What has to be shown of each webhook that breaks, by its name."""
GOOD = ("good-1", "good-2")
WEBHOOKS = (*CAUSES, *GOOD)
ALL = "all of them"
"""What says in one word how all webhooks are: the sentence of the overview, and the metrics."""
TEMPLATE, WRONG_TEMPLATE = '{"n": {{ event.data.n }}}', '{"n": {{ event.data.order.number }}}'
VIEWS = ("overview", "list", "API", "CLI", "metrics", "alert")
SHOWN_BY = [(view, name) for view in VIEWS if view != "metrics" for name in CAUSES]
"""Which webhooks each view has to show."""
ALL_SHOWN_BY = [*SHOWN_BY, ("overview", ALL), ("metrics", ALL)]
"""Overview and metrics also tell of all."""


class Shown(NamedTuple):
    """What a view says of a webhook."""

    status: str
    text: str


View = Callable[[], Awaitable[Mapping[str, Shown]]]
"""Returns what is shown now, by webhook. A webhook that is not there is not shown."""


@dataclass
class Watched:
    """What the views have shown, by view and webhook. Times are those of `time.time`."""

    named: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the cause was first shown."""
    healthy: dict[tuple[str, str], float] = field(default_factory=dict)
    """Since when it is shown as healthy."""
    last_healthy: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the latest look began that showed it as healthy while it was broken."""
    misreported: set[str] = field(default_factory=set)
    """Webhooks that always work, and were shown as something else."""

    def note(self, view: str, began: float, shown: Mapping[str, Shown], *, are_broken: bool) -> None:
        """Note what a look has shown that began at this time."""
        for name, (status, text) in shown.items():
            key = view, name
            if status == "healthy":
                self.healthy.setdefault(key, time.time())
                if are_broken and name not in GOOD:
                    self.last_healthy[key] = began
                continue
            self.healthy.pop(key, None)
            if name in GOOD:
                if status != "new":
                    self.misreported.add(f"{name} was {status} in the {view}")
            elif are_broken and re.search(CAUSES.get(name, ""), text, re.IGNORECASE):
                self.named.setdefault(key, time.time())


@dataclass(frozen=True, slots=True)
class Row:
    """What was seen of a webhook, or of all. Times are seconds since the break, since the mending if it works again."""

    cause: str
    named: dict[str, float]
    """When each view has named its cause; infinite for one that has not."""
    late: float
    """How long after its first failed attempt a view has still shown it as healthy."""
    healthy: dict[str, float]
    """From when on each view shows it as healthy again."""


def judge(rows: Mapping[str, Row], misreported: Collection[str], refused: int, well: float, factor: float) -> Outcome:
    """Judge what was seen of each webhook, how many events were refused, and when the overview said that all is well.

    The factor multiplies the limits, for a machine that is busy with other work.
    """
    wrong = [*misreported]
    for name, row in rows.items():
        wrong += [f"{name}: not in the {view}" for view, at in row.named.items() if at > NAMED_LIMIT * factor]
        wrong += [f"{name}: not healthy in the {view}" for view, at in row.healthy.items() if at > GREEN_LIMIT * factor]
        if row.late > LATE_LIMIT * factor:
            wrong.append(f"{name}: healthy {row.late:.0f} s after its first failed attempt")
    wrong += unmet(
        {
            f"{refused} events were refused": not refused,
            "the overview did not say that all is well": well <= WELL_LIMIT * factor,
        }
    )
    shown = {
        name: (
            row.cause,
            *(_after(row.named[view]) if view in row.named else "" for view in VIEWS),
            f"{row.late:.1f}",
            _after(max(row.healthy.values(), default=0.0)),
        )
        for name, row in rows.items()
    }
    notes = (
        "Seconds until each names the cause; from the first failure to the last green; until all is green.",
        f"all is well {_after(well)} s after everything was delivered again",
    )
    return Outcome(shown, {"wrong": wrong}, ("<", "cause", *VIEWS, "late", "mended"), notes)


def _after(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < math.inf else "never"


async def run(options: Options) -> Outcome:
    """Break the webhooks for a time, and mend them."""
    async with breakable.receiving() as receivers:
        variables = {
            "HOOKKEEPER_DNS_SERVERS": receivers.dns,
            "HOOKKEEPER_SMTP_URL": receivers.smtp,
            "HOOKKEEPER_EMAIL_FROM": "drill@sender.example",
        }
        async with (
            environment(options.seed, folder=options.keep, variables=variables) as env,
            session(str(env.http.base_url), env.cluster.stack.admin_key) as browser,
        ):
            return await _Drill(env, receivers, browser).run(
                options.rate or RATE, options.seconds or SECONDS, options.factor
            )


class _Drill:
    def __init__(self, env: Environment, receivers: Receivers, browser: httpx.AsyncClient) -> None:
        self._env, self._receivers = env, receivers
        self._seen, self._are_broken = Watched(), False
        self._ids: dict[str, str] = {}
        views = (
            lambda: overview(browser),
            lambda: webhooks_page(browser),
            lambda: listed(env.http),
            lambda: command_line(env),
            lambda: metrics(env.cluster.metrics),
            lambda: alerts(receivers),
        )
        self._views: dict[str, View] = dict(zip(VIEWS, views, strict=True))

    async def run(self, rate: float, seconds: float, factor: float) -> Outcome:
        await self._register(timeout=min(max(2.0, seconds / 4), 15.0))
        async with meanwhile(self._env.load.post(math.inf, rate), *map(self._watch, self._views)):
            print_step(f"posting {rate:g} events a second to {len(WEBHOOKS)} webhooks")
            healthy = [(view, name) for view, name in SHOWN_BY if view != "alert"]
            if not await until(lambda: all(key in self._seen.healthy for key in healthy), PATIENCE * factor):
                raise Failed("not all webhooks were healthy before they broke")
            broken_at = await self._break()
            print_step(f"{len(CAUSES)} webhooks are broken")
            await asyncio.sleep(seconds)
            await until(lambda: all(key in self._seen.named for key in ALL_SHOWN_BY), PATIENCE * factor)
            failures = {name: health["failing"] for name, health in (await self._health()).items()}
            mended_at = await self._mend()
            print_step("all are mended")
            await until(lambda: all(key in self._seen.healthy for key in SHOWN_BY), PATIENCE * factor)
            await asyncio.sleep(PAUSE)
            rows = {name: self._row(name, failures, broken_at, mended_at) for name in (*CAUSES, ALL)}
            print_step("everything is delivered again")
            well = await self._deliver_again(WELL_LIMIT * factor)
        refused = len(self._env.load.refused) + len(self._env.load.unaccepted)
        return judge(rows, sorted(self._seen.misreported), refused, well, factor)

    async def _register(self, timeout: float) -> None:
        url = self._receivers.http
        port = url.rpartition(":")[2]
        targets: dict[str, dict[str, Any]] = {
            **{name: {"url": f"{url}/{name}"} for name in ("fails", "leaves", *GOOD)},
            "hangs": {"url": f"{url}/hangs", "timeout": timeout},
            "certificate": {"url": f"{self._receivers.https}/", "tls": {"ca": self._receivers.authority}},
            "nameless": {"url": f"http://{breakable.NAME}:{port}/"},
            "render": {"url": f"{url}/", "payload": {"template": TEMPLATE}},
            "mailbox": {"emails": [{"to": [LOST_MAILBOX]}]},
            "slack": {"notifications": [{"http": {"url": f"{url}{SLACK}"}}]},
        }
        alerts = {"emails": [{"to": ["on-call@sender.example"]}]}
        for name in WEBHOOKS:
            fields = {"tenant": TENANT, "name": name, "events": ["drill.*"], "on_failure": alerts}
            answer = await self._env.http.post("/v1/webhooks", json=fields | targets[name])
            if not answer.is_success:
                raise Failed(f"webhook {name}: {answer.text}")
            self._ids[name] = answer.json()["id"]

    async def _change(self, name: str, **fields: Any) -> None:
        (await self._env.http.patch(f"/v1/webhooks/{self._ids[name]}", json=fields)).raise_for_status()

    async def _break(self) -> float:
        self._receivers.break_()
        self._are_broken, began = True, time.time()
        await self._change("render", payload={"template": WRONG_TEMPLATE})
        return began

    async def _mend(self) -> float:
        self._are_broken = False
        self._receivers.mend()
        await self._change("render", payload={"template": TEMPLATE})
        await self._change("leaves", enabled=True)
        return time.time()

    async def _deliver_again(self, limit: float) -> float:
        """Retry what waits and recover what has failed; return after how many seconds all is well."""
        began = time.time()
        path = f"/v1/bulk?tenant={TENANT}&delivery_status=retrying"
        (await self._env.http.post(path, json={"action": "retry", "rate": 100})).raise_for_status()
        body = {"tenant": TENANT, "since": "2026-01-01T00:00:00Z", "rate": 100}
        (await self._env.http.post("/v1/recoveries", json=body)).raise_for_status()
        is_well = await until(lambda: ("overview", ALL) in self._seen.healthy, limit)
        return time.time() - began if is_well else math.inf

    def _row(self, name: str, failures: Mapping[str, list[dict[str, Any]]], broken_at: float, mended_at: float) -> Row:
        first = {name: _timestamp(failing[0]["since"]) for name, failing in failures.items() if failing}
        # The sentence must not be green when any has failed, and the metrics name the last one when it has.
        last_healthy = {
            view: at
            for (view, shown), at in self._seen.last_healthy.items()
            if shown == name and not (name == ALL and view == "metrics")
        }
        since = min(first.values()) if name == ALL else first.get(name, broken_at)
        views = [view for view, shown in ALL_SHOWN_BY if shown == name]
        healthy = () if name == ALL else views
        return Row(
            _cause(failures[name][0]) if failures.get(name) else "",
            {view: self._seen.named.get((view, name), math.inf) - broken_at for view in views},
            max([0.0, *(at - since for at in last_healthy.values())]),
            {view: max(0.0, self._seen.healthy.get((view, name), math.inf) - mended_at) for view in healthy},
        )

    async def _health(self) -> dict[str, dict[str, Any]]:
        items = (await _json(self._env.http, "/v1/webhooks?limit=100"))["items"]
        return {webhook["name"]: webhook["health"] for webhook in items}

    async def _watch(self, name: str) -> None:
        while True:
            began, are_broken = time.time(), self._are_broken
            try:
                shown = await self._views[name]()
            except (httpx.HTTPError, LookupError) as error:
                print_step(f"the {name} shows nothing: {error!r}")
            else:
                if are_broken == self._are_broken:  # otherwise it is a look at both times
                    self._seen.note(name, began, shown, are_broken=are_broken)
            await asyncio.sleep(PAUSE)


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def _cause(failing: Mapping[str, Any]) -> str:
    text = " ".join(str(failing[name]) for name in ("status_code", "error", "text") if failing[name])
    return text if len(text) <= MAX_CAUSE else f"{text[: MAX_CAUSE - 1]}…"


# The views


async def overview(browser: httpx.AsyncClient) -> dict[str, Shown]:
    """Read the overview. It names the webhooks that are not healthy."""
    page = await _page(browser, "/")
    tone = re.search(r'class="verdict banner (\w+)"', page)
    if tone is None:
        raise LookupError("there is no sentence")
    healthy = dict.fromkeys(WEBHOOKS, Shown("healthy", ""))
    return healthy | _rows(page) | {ALL: Shown("healthy" if tone[1] == "good" else tone[1], "")}


async def webhooks_page(browser: httpx.AsyncClient) -> dict[str, Shown]:
    return _rows(await _page(browser, f"/webhooks?tenant={TENANT}"))


async def listed(http: httpx.AsyncClient) -> dict[str, Shown]:
    items = (await _json(http, f"/v1/webhooks?tenant={TENANT}&limit=100"))["items"]
    return {
        webhook["name"]: Shown(webhook["health"]["status"], json.dumps(webhook["health"]["failing"]))
        for webhook in items
    }


async def command_line(env: Environment) -> dict[str, Shown]:
    """Run `hookkeeper webhooks list`."""
    key = env.cluster.stack.admin_key
    variables = {**os.environ, "HOOKKEEPER_URL": str(env.http.base_url), "HOOKKEEPER_API_KEY": key}
    argv = (sys.executable, "-m", "hookkeeper", "webhooks", "list", "--tenant", TENANT)
    command = await asyncio.create_subprocess_exec(*argv, env=variables, stdout=PIPE, stderr=DEVNULL)
    lines, _ = await command.communicate()
    found = re.findall(rf"^wh_\w+ +(\S+) +{TENANT} +(\w+)(.*)$", lines.decode(), re.MULTILINE)
    return {name: Shown(status, text.replace(name, "")) for name, status, text in found}


async def metrics(url: str) -> dict[str, Shown]:
    """Read how many webhooks are in each state: the metrics name none of them."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        text = (await http.get(url)).raise_for_status().text
    counts = {state: int(float(n)) for state, n in re.findall(r'^hookkeeper_webhooks{state="(\w+)"} (\S+)', text, re.M)}
    if counts.get("healthy") == len(WEBHOOKS):
        return {ALL: Shown("healthy", "")}
    return {ALL: Shown("failing", "")} if counts.get("healthy") == len(GOOD) else {}


async def alerts(receivers: Receivers) -> dict[str, Shown]:
    """Return what the latest alert of each webhook says."""
    found = {}
    for mail in receivers.mails:
        name, _, text = mail.subject.partition(" ")
        status = "healthy" if "works again" in text else "disabled" if "disabled" in text else "failing"
        found[name] = Shown(status, f"{text}\n{mail.text}".replace(name, ""))
    return found


def _rows(page: str) -> dict[str, Shown]:
    """Return what the rows of a page's tables say of each webhook."""
    found = {}
    for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL):
        name = re.search(r"<strong><bdi>(.*?)</bdi></strong>", row)
        status = re.search(r'class="badge (\w+)"', row)
        if name and status:
            found[name[1]] = Shown(status[1], unescape(re.sub(r"<[^>]*>", " ", row)).replace(name[1], ""))
    return found


async def _page(browser: httpx.AsyncClient, path: str) -> str:
    return (await browser.get(path)).raise_for_status().text


async def _json(http: httpx.AsyncClient, path: str) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get(path)).raise_for_status().json()
    return found
