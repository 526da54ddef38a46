"""Whatever is asked, the API answers as its OpenAPI document says: no 5xx, no other status, type or shape.

A short run is part of `make test`; `make fuzz` takes ten minutes (`FUZZ_SECONDS`) from another seed each time. A seed
that found something (`FUZZ_SEED`) makes the same requests again, but for the ids that the API makes.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from made_up import NOTHING, Call, MadeUp, Pool, headers_of, url_of, written
from problems import problem
from pydantic import SecretStr
from temporalio.client import Client
from values import NOW
from verdicts import Judge

from api.app import _bare_app
from house import KEY, House, house
from receivers import Answer, Receiver, receiver
from settings import Settings

SECONDS = float(os.environ.get("FUZZ_SECONDS", "20")) / 2
"""On each of the two databases."""
SEED = int(os.environ.get("FUZZ_SEED", "0"))
AT_ONCE = 100
"""Requests of one seed, at most."""
LEARNED = {"/v1/webhooks": "webhook", "/v1/keys": "key", "/v1/events": "event"}


@pytest.fixture
async def home(temporal: Client, tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    """A house whose emails stay in a folder, and that reaches nobody but receivers on this machine."""
    chosen = {"database_url": database_url, "outbox": tmp_path / "outbox", "notification_services": ()}
    async with house(temporal, tmp_path, **chosen) as built, built.working():
        yield built


class Fuzz:
    """Asks, judges, and remembers."""

    def __init__(self, home: House, *receivers: str) -> None:
        self._home = home
        self._pool = Pool()
        for url in receivers:
            self._pool.learn("receiver", url)
        self._pool.learn("tenant", home.tenant)
        self._judge = Judge(home.app.openapi())
        self.calls = MadeUp(home.app.openapi()).calls()
        self.answers = Counter[tuple[str, int]]()
        self.found: dict[str, str] = {}
        self.slowest = 0.0

    async def furnish(self) -> None:
        """Have webhooks, of which one is always busy, and a type in the catalogue."""
        for url, type_ in zip(self._pool.known["receiver"], ("order.*", "user.created"), strict=True):
            self._pool.learn("webhook", (await self._home.webhook(url, events=[type_]))["id"])
        known = {"name": "known.type", "schema": {"type": "object"}, "examples": [{}]}
        await self._home.http.post("/v1/event-types", json=known)

    async def have_events(self) -> None:
        """Have events that are delivered, retried, and scheduled; what was made up may have forbidden their types."""
        later = (NOW + timedelta(days=1)).isoformat()
        for type_, when in (("order.paid", None), ("user.created", None), ("user.created", later)):
            event = {"type": type_, "tenant": self._home.tenant, "deliver_at": when}
            answer = await self._home.http.post("/v1/events", json=event)
            self._pool.learn("event", answer.json().get("id"))

    async def ask(self, call: Call) -> None:
        """Make the request and judge the answer."""
        sent = None if call.body is NOTHING else call.body
        if sent is not None and not isinstance(sent, bytes):
            sent = self._pool.filled(written(sent).decode()).encode()
        url, headers = url_of(call, self._pool), list(headers_of(call, self._pool, KEY))
        began = time.perf_counter()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self._home.app, raise_app_exceptions=False), base_url="http://x", timeout=30
        ) as http:
            answer = await http.request(call.method, url, content=sent, headers=headers)
        self.slowest = max(self.slowest, time.perf_counter() - began)
        name = f"{call.method} {call.path}"
        self.answers[name, answer.status_code] += 1
        for verdict in self._judge.verdicts(call, sent, answer):
            shown = f"{call.method} {url}\n{headers}\n{sent!r:.2000}\n-> {answer.status_code} {answer.text[:1000]}"
            self.found.setdefault(f"{name}: {verdict}", shown)
        self._learn(call, answer)

    def _learn(self, call: Call, answer: httpx.Response) -> None:
        if not answer.is_success or answer.headers.get("content-type") != "application/json":
            return
        given = answer.json()
        if isinstance(given, dict):
            self._pool.learn("cursor", given.get("next_cursor"))
            self._pool.learn("text", given.get("key"))
            self._pool.learn("address", given.get("address"))
            if call.method == "POST" and (kind := LEARNED.get(call.path)):
                self._pool.learn(kind, given.get("id"))


@pytest.mark.timeout(SECONDS + 120)
async def test_every_answer_is_as_documented(home: House, inbox: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    async with receiver() as busy:
        busy.otherwise = Answer(503)
        fuzz = Fuzz(home, inbox.url, busy.url)
        await fuzz.furnish()
        number = await run(fuzz)
    if "FUZZ_SECONDS" in os.environ:
        with capsys.disabled():
            print(report(fuzz, number))
    assert not fuzz.found, "\n\n".join(f"{title}\n{shown}" for title, shown in fuzz.found.items())


async def run(fuzz: Fuzz) -> int:
    """Ask until the time is over; give the seed that would be next."""
    loop = asyncio.get_running_loop()
    until = time.monotonic() + SECONDS

    def make_up(number: int) -> None:
        """Make requests up in a thread of its own: Hypothesis knows no coroutines."""
        asked = set[str]()

        @seed(number)
        @settings(
            max_examples=AT_ONCE,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(fuzz.calls)
        def ask(call: Call) -> None:
            """Hypothesis varies what it has made, and often makes the same again."""
            if time.monotonic() < until and (shown := repr(call)) not in asked:
                asked.add(shown)
                asyncio.run_coroutine_threadsafe(fuzz.ask(call), loop).result()

        ask()

    number = SEED
    while time.monotonic() < until:
        await fuzz.have_events()
        await asyncio.to_thread(make_up, number)
        number += 1
    return number


ANSWERS: list[tuple[str, httpx.Response, str]] = [
    ("GET /healthz", httpx.Response(200, json={"status": "ok"}), ""),
    ("GET /healthz", httpx.Response(200, json={"status": 1}), "200 is not as documented: status"),
    ("GET /healthz", httpx.Response(200, text="ok"), "content type 'text/plain' of 200 is not documented"),
    ("GET /healthz", httpx.Response(200), "200 without a body"),
    ("GET /healthz", httpx.Response(201, json={}), "201 is not documented"),
    ("GET /healthz", httpx.Response(500, json={}), "500"),
    ("GET /v1/keys", httpx.Response(401, json={}), "content type 'application/json' of 401 is not documented"),
    ("GET /v1/keys", httpx.Response(200, json={"items": []}), "let in without a key"),
    ("POST /v1/events", httpx.Response(202, json={}), "taken, though not as documented: type"),
]


@pytest.mark.parametrize(("asked", "answer", "verdict"), ANSWERS)
def test_the_judge_sees_what_is_wrong(asked: str, answer: httpx.Response, verdict: str) -> None:
    document = _bare_app(Settings(admin_key=SecretStr(KEY))).openapi()
    method, path = asked.split(" ")
    call = Call(method, path, document["paths"][path][method.lower()], {}, {}, "application/json", "")
    verdicts = list(Judge(document).verdicts(call, b'{"type": 1}', answer))
    assert any(each.startswith(verdict) for each in verdicts) if verdict else not verdicts, verdicts


async def test_a_method_that_a_path_does_not_know_is_told_which_it_does() -> None:
    app = _bare_app(Settings(admin_key=SecretStr(KEY)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        for path, methods in app.openapi()["paths"].items():
            answer = await http.request("TRACE", path.replace("{", "").replace("}", ""))
            problem(answer, 405)
            assert {method.upper() for method in methods} <= set(answer.headers["allow"].split(", ")), path


def report(fuzz: Fuzz, number: int) -> str:
    total = sum(fuzz.answers.values())
    statuses, asked, succeeded = Counter[int](), set[str](), set[str]()
    for (name, status), count in fuzz.answers.items():
        statuses[status] += count
        asked.add(name)
        if status < 400:
            succeeded.add(name)
    return (
        f"\n{total} requests (seeds {SEED} to {number - 1}) to {len(asked)} operations, {len(succeeded)} with success:"
        f" {len(fuzz.found)} faults; slowest answer {fuzz.slowest:.1f} s\n{dict(sorted(statuses.items()))}"
        f"\nnever with success: {sorted(asked - succeeded)}"
    )
