"""The parts of a drill with side effects: load generator, receivers, disk. Each records what happened."""

import asyncio
import errno
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from drills.answers import PlannedAnswer
from drills.clocks import clocks_in
from drills.disk import small_disk
from drills.load_generator import LoadGenerator
from drills.receiver import Receivers, digest_of, receiving
from hookkeeper.crypto import signing_keys
from hookkeeper.times import utc_now
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

SECRET = signing_keys.new_secret("v1")
DATA = {"n": 1, "text": "é"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with receiving() as receivers:
        receivers.secrets["hook"] = SECRET
        yield receivers


async def send(client: httpx.AsyncClient, receivers: Receivers, secret: str = SECRET) -> httpx.Response:
    body, now = json.dumps({"data": DATA}), utc_now()
    headers = {
        "webhook-id": "evt-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt-1", now, body),
    }
    return await client.post(f"{receivers.url}/hook", content=body, headers=headers)


async def test_a_receiver_answers_as_it_is_told_and_writes_it_down(
    client: httpx.AsyncClient, receivers: Receivers
) -> None:
    answers = [
        PlannedAnswer(503, 0.0),
        PlannedAnswer(None, 0.0, "reset"),
        PlannedAnswer(None, 0.0),
        PlannedAnswer(200, 0.05),
    ]
    receivers.answers["hook"] = lambda _, number: answers[number - 1]
    assert (await send(client, receivers)).status_code == 503
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            await send(client, receivers)
    assert (await send(client, receivers)).status_code == 200
    seen = receivers.requests
    assert [(delivery.event_id, delivery.webhook, delivery.status) for delivery in seen] == [
        ("evt-1", "hook", status) for status in (503, None, None, 200)
    ]
    assert {delivery.digest for delivery in seen} == {digest_of(DATA)}
    assert seen[-1].ended - seen[-1].arrived >= 0.05


async def test_a_wrong_signature_has_no_digest(client: httpx.AsyncClient, receivers: Receivers) -> None:
    receivers.answers["hook"] = lambda _, number: PlannedAnswer(200, 0.0)
    await send(client, receivers, secret=signing_keys.new_secret("v1"))
    assert receivers.requests[0].digest == ""


def poster_to(inbox: Receiver) -> LoadGenerator:
    base = inbox.url.removesuffix("/hook")
    return LoadGenerator(httpx.AsyncClient(base_url=base, trust_env=False), "drill", seed=7)


async def test_the_poster_asks_again_with_the_same_id(inbox: Receiver) -> None:
    inbox.fails(503, 429)
    inbox.otherwise = Answer(202)
    poster = poster_to(inbox)
    async with poster.http:
        await poster.send(0, timeout=10)
    bodies = [json.loads(request.body) for request in inbox.requests]
    assert [body["id"] for body in bodies] == ["drill-7-0"] * 3
    assert [(event.event_id, event.digest) for event in poster.accepted] == [
        ("drill-7-0", digest_of(bodies[0]["data"]))
    ]
    assert not poster.unaccepted
    assert not poster.refused


async def test_the_poster_takes_no_other_refusal(inbox: Receiver) -> None:
    inbox.fails(500)
    poster = poster_to(inbox)
    async with poster.http:
        await poster.send(0, timeout=10)
    assert len(inbox.requests) == 1
    assert poster.refused == ["drill-7-0: 500 answer 500"]


async def test_the_poster_gives_up_in_the_end(inbox: Receiver) -> None:
    inbox.otherwise = Answer(503)
    poster = poster_to(inbox)
    async with poster.http:
        await poster.send(0, timeout=0.3)
    assert poster.unaccepted == ["drill-7-0"]


async def test_the_poster_keeps_its_rate_without_waiting_for_answers(inbox: Receiver) -> None:
    inbox.otherwise = Answer(202, delay=0.5)
    poster, began = poster_to(inbox), asyncio.get_running_loop().time()
    async with poster.http, asyncio.timeout(WAIT_TIMEOUT):
        await poster.post(seconds=0.5, rate=20)
    times = [request.at for request in inbox.requests]
    assert len(times) == len(poster.accepted) == 10
    assert times[-1] - began >= 9 / 20


def test_a_full_disk_is_full_until_it_is_freed() -> None:
    with small_disk(wanted=True) as disk:
        if disk is None:
            pytest.skip("this process may mount nothing")
        disk.fill()
        file = Path(disk.folder) / "more"
        with pytest.raises(OSError, match="No space left") as raised:
            file.write_bytes(b"x" * 10_000)
        assert raised.value.errno == errno.ENOSPC
        disk.free()
        file.write_bytes(b"x" * 10_000)
    assert not disk.folder.exists()


def test_no_disk_is_made_where_none_is_wanted() -> None:
    with small_disk(wanted=False) as disk:
        assert disk is None


def test_a_clock_can_be_set_and_what_lasts_goes_on(tmp_path: Path) -> None:
    clocks = clocks_in(tmp_path)
    if clocks is None:
        pytest.skip("there is no libfaketime here, or none that works")
    ask = [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"]

    def now(name: str | None = None) -> tuple[float, float]:
        environment = clocks.environment("one") if name else None
        if name == "set":
            clocks.set("one", -60)
        wall, lasting = subprocess.run(ask, env=environment, capture_output=True, text=True, check=True).stdout.split()
        return float(wall), float(lasting)

    right, unset, back = now(), now("unset"), now("set")
    assert 0 <= unset[0] - right[0] < 20
    assert -60 <= back[0] - right[0] < -40
    assert right[1] < unset[1] < back[1] < right[1] + 40
