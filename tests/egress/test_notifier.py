"""HTTP calls of notifications: which parts of the response are kept, and which never are."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from hookkeeper.addresses import parse_networks
from hookkeeper.content.notifications import RenderedHttpCall
from hookkeeper.egress.http import make_client
from hookkeeper.egress.notifier import Notifier, ServiceAnswer
from receivers import Answer, Receiver

LOOPBACK = parse_networks(["127.0.0.0/8"])
SECRET = "TOPSECRETPATH"
TOKEN = "s3cr3t-t0ken-of-the-tests"


@pytest.fixture
async def notifier() -> AsyncIterator[Notifier]:
    async with make_client(LOOPBACK) as client:
        yield Notifier(client)


async def call(notifier: Notifier, inbox: Receiver, said: str, keep: int = 4096) -> ServiceAnswer:
    inbox.answers = [Answer(404, said)]
    url = f"http://{urlsplit(inbox.url).netloc}/hooks/{SECRET}?key={TOKEN}"
    headers = {"authorization": f"Bearer {TOKEN}/2", "content-type": "application/json"}
    answer = await notifier.send(RenderedHttpCall(method="POST", url=url, headers=headers, body=b"{}"), 5, keep)
    assert (answer.verdict, answer.error) == ("failed", "http_404")
    return answer


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"Cannot POST /hooks/{SECRET}", "Cannot POST ********"),
        (f"Cannot POST /hooks/{SECRET}?key={TOKEN}", "Cannot POST ********?key=********"),
        (f'{{"path": "{SECRET.lower()}", "json": true}}', '{"path": "********", "json": true}'),
        (f"no key {TOKEN}", "no key ********"),
        (f"no such token: Bearer {TOKEN}/2", "no such token: ********"),
        ("out of order", "out of order"),
    ],
)
async def test_a_secret_that_a_receiver_repeats_is_masked(
    notifier: Notifier, inbox: Receiver, said: str, kept: str
) -> None:
    assert (await call(notifier, inbox, said)).text == kept


@pytest.mark.parametrize("before", range(90, 129, 3))
async def test_a_secret_that_is_cut_by_the_limit_is_masked(notifier: Notifier, inbox: Receiver, before: int) -> None:
    answer = await call(notifier, inbox, "x" * before + SECRET + "y" * 5000, keep=128)
    assert len(answer.text) <= 128
    assert "TOPS" not in answer.text
    assert answer.text.startswith("x" * before)
