"""Whatever is asked, the API answers as its OpenAPI document says: no 5xx, no other status, header, type or shape.

Schemathesis makes the requests up, over real sockets. A short run, the same each time, is part of `make test-all`;
`make fuzz` takes ten minutes (`FUZZ_SECONDS`), half of them on each database, from another seed each time. A seed that
found something (`FUZZ_SEED`) makes the same requests again, but for the ids that the API makes. `schemathesis.toml` has
what is known of this API beside its document.
"""

import asyncio
import os
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from sockets import serving
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conftest import binary, temporal_server
from hookkeeper.times import rfc3339, utc_now
from instances import KEY, Instance, running_instance
from receivers import Answer, receiver
from worker_processes import worker_process

Answers = Counter[tuple[str, int]]
"""How often each operation was answered with each status."""
CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = [str(CONFIG.parent), str(CONFIG.parents[1] / "api")]
"""The folders of `schemathesis_checks`, and of what it imports."""
SECONDS = int(os.environ.get("FUZZ_SECONDS", "0")) // 2
"""On each of the two databases; 0 is the short run."""
SEED = os.environ.get("FUZZ_SEED", "0")
SHORT = {
    "sqlite": ["--phases", "examples,coverage", "--include-path-regex", "^/v1/(events|keys|tenants)"],
    "postgres": ["--phases", "fuzzing,stateful", "--max-examples", "4"],
}
"""What each database gets of the short run. The phase `coverage` of all paths takes a minute of CPU time."""
MANY = 20 + SECONDS
"""Webhooks and events that are there before the first request: some will be removed, and events come to their end."""
LISTS = ("webhooks", "events", "event-types", "keys", "suppressions", "audit")


class Counted:
    """Counts the answers, and has each request come from another address: from one, few may come with a wrong key."""

    def __init__(self, app: ASGIApp, answers: Answers) -> None:
        self._app = app
        self._answers = answers
        self._numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            if message["type"] == "http.response.start" and "route" in scope:
                self._answers[f"{scope['method']} {scope['route'].path_format}", message["status"]] += 1
            await send(message)

        scope["client"] = (f"2001:db8::{next(self._numbers):x}", 1)
        await self._app(scope, receive, note)


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def instance(tmp_path: Path, database_url: str, answers: Answers) -> AsyncIterator[Instance]:
    """An instance whose emails stay in a folder. Its Temporal has no run of others, whose workers would not answer."""
    chosen = {
        "database_url": database_url,
        "email_capture_dir": tmp_path / "emails",
        "public_url": "http://fuzz.test",  # so the app is its own: one that was called before takes no middleware
    }
    # The worker is a process of its own, as in production: its work does not delay the API.
    async with (
        temporal_server() as temporal,
        running_instance(temporal, tmp_path, **chosen) as built,
        worker_process(built),
    ):
        built.app.add_middleware(Counted, answers=answers)
        yield built


async def furnish(instance: Instance, *urls: str) -> dict[str, list[str]]:
    """Have webhooks, events in each state and two of everything else; say what they are called."""
    yesterday, tomorrow = (rfc3339(utc_now() + timedelta(days=days)) for days in (-1, 1))
    patterns = ["order.*" if n < len(urls) else f"only.{n}" for n in range(MANY)]  # else each event went to all
    webhooks = [await instance.webhook(urls[n % len(urls)], events=[pattern]) for n, pattern in enumerate(patterns)]
    events = [f"event-{n}" for n in range(MANY)]
    for number, event_id in enumerate(events):
        type_, deliver_at = (("order.paid", None), ("order.paid", tomorrow), ("only.2", None))[number % 3]
        await instance.send(type_, id=event_id, deliver_at=deliver_at)
    for name in ("known.type", "known.too"):
        await instance.http.post("/v1/event-types", json={"name": name, "schema": {"type": "object"}, "examples": [{}]})
        await instance.http.post("/v1/keys", json={"name": name, "tenant": instance.tenant})
        await instance.http.post(
            "/v1/suppressions", json={"address": f"{name}@acme.example", "tenant": instance.tenant}
        )
    lists = [await instance.http.get(f"/v1/{name}", params={"limit": 1}) for name in LISTS]
    return {
        "cursors": [page.json()["next_cursor"] for page in lists],
        "events": events,
        "future": [tomorrow],
        "past": [yesterday],
        "tenants": [instance.tenant],
        "urls": list(urls),
        "webhooks": [webhook["id"] for webhook in webhooks],
    }


async def schemathesis(folder: Path, port: int, effort: list[str]) -> tuple[int | None, str]:
    """Run it; give its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(binary("schemathesis"), "--no-color", "run", f"http://127.0.0.1:{port}/openapi.json"),
        *("--header", f"Authorization: Bearer {KEY}", "--seed", SEED, *effort),
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONPATH": os.pathsep.join(HOOKS)},
        stdout=PIPE,
        stderr=STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.timeout(SECONDS + 360)
async def test_every_response_is_as_documented(
    instance: Instance,
    tmp_path: Path,
    answers: Answers,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = request.node.callspec.params["database_url"]
    folder = tmp_path / "schemathesis"
    folder.mkdir()
    shutil.copy(CONFIG, folder)
    async with receiver() as good, receiver() as busy, serving(instance.app) as server:
        busy.otherwise = Answer(503)
        for name, values in (await furnish(instance, good.url, busy.url)).items():
            (folder / name).write_text("".join(f'"{value}"\n' for value in values))
        answers.clear()
        effort = ["--max-time", str(SECONDS)] if SECONDS else SHORT[database]
        code, said = await schemathesis(folder, server.port, effort)
    if SECONDS:
        with capsys.disabled():
            print(report(instance, answers), said[said.rfind("Test cases:") :], sep="\n")
    assert code == 0, said
    at_least = 30 if SECONDS or database == "postgres" else 15
    assert len(succeeded(answers)) > at_least, "most operations only ever refused"


def succeeded(answers: Answers) -> set[str]:
    return {operation for operation, status in answers if status < 400}


def report(instance: Instance, answers: Answers) -> str:
    paths = instance.app.openapi()["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    statuses = Counter[int]()
    for (_, status), times in answers.items():
        statuses[status] += times
    return (
        f"\n{answers.total()} requests to {len(operations)} operations (seed {SEED}): {dict(sorted(statuses.items()))}"
        f"\nnever with success: {sorted(operations - succeeded(answers))}"
    )
