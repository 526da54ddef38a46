"""SendGrid, against a server with its API: requests are valid, and each answer gets the right verdict."""

import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from email_samples import SENDER, TAGS, mailboxes, rendered_email, rendered_emails
from hypothesis import given, settings

from hookkeeper.addresses import parse_networks
from hookkeeper.content.emails import RenderedEmail
from hookkeeper.egress import http
from hookkeeper.mail.provider import MailAnswer
from hookkeeper.mail.sendgrid import SendGrid
from hookkeeper.version import VERSION
from mail_servers import KEY, SendGridServer, sendgrid_server
from rawserver import receiving, says
from receivers import Answer
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

LOOPBACK = parse_networks(["127.0.0.0/8"])
IN_FULL = rendered_email(
    to=mailboxes("ann@acme.example Ann, the first", "bo@acme.example"),
    cc=mailboxes("cy@acme.example Cy"),
    bcc=mailboxes("di@acme.example"),
    reply_to=mailboxes("help@acme.example Zoë")[0],
    subject="Größe",
    text="Thanks.\n",
    html="<p>Thanks.</p>",
    categories=("orders", "paid"),
)


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.make_client(LOOPBACK) as client:
        yield client


@pytest.fixture
async def server() -> AsyncIterator[SendGridServer]:
    async with sendgrid_server() as server:
        yield server


def provider(client: httpx.AsyncClient, host: str, **given: Any) -> SendGrid:
    return SendGrid(client, **{"api_key": KEY, "host": host, "sender": SENDER} | given)


# What is sent


async def test_an_email_is_one_message_to_all_recipients(client: httpx.AsyncClient, server: SendGridServer) -> None:
    answer = await provider(client, f"{server.host}/").send(IN_FULL, TAGS)
    assert (answer.verdict, answer.status_code, answer.error, answer.retry_after) == ("succeeded", 202, None, None)
    [message] = server.messages
    assert {*message.pop("categories")} == {"orders", "paid"}
    assert message == {
        "from": {"email": "hooks@acme.example", "name": "Acme"},
        "personalizations": [
            {
                "to": [{"email": "ann@acme.example", "name": "Ann, the first"}, {"email": "bo@acme.example"}],
                "cc": [{"email": "cy@acme.example", "name": "Cy"}],
                "bcc": [{"email": "di@acme.example"}],
                "custom_args": {
                    "hookkeeper_tenant": "acme",
                    "hookkeeper_event_id": "evt_1",
                    "hookkeeper_delivery": "wh_1.email.0",
                    "hookkeeper_attempt": "1",
                },
            }
        ],
        "reply_to": {"email": "help@acme.example", "name": "Zoë"},
        "subject": "Größe",
        "content": [{"type": "text/plain", "value": "Thanks.\n"}, {"type": "text/html", "value": "<p>Thanks.</p>"}],
    }
    [request] = server.requests
    del request.headers["host"], request.headers["content-length"]
    assert request.headers == {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "accept": "application/json",
        "user-agent": f"Hookkeeper/{VERSION}",
    }


async def test_the_shortest_email_is_accepted(client: httpx.AsyncClient, server: SendGridServer) -> None:
    answer = await provider(client, server.host, sender="hooks@acme.example").send(rendered_email(), TAGS)
    assert answer.verdict == "succeeded"
    assert {*server.messages[0]} == {"from", "personalizations", "subject", "content"}
    assert server.messages[0]["from"] == {"email": "hooks@acme.example"}


async def test_an_email_can_use_a_template_of_sendgrid(client: httpx.AsyncClient, server: SendGridServer) -> None:
    data = {"event": {"data": {"größe": [1, None]}}, "shop": "Acme"}
    templated = rendered_email(text=None, template_id="d-1", template_data=data)
    assert (await provider(client, server.host).send(templated, TAGS)).verdict == "succeeded"
    [message] = server.messages
    assert message["template_id"] == "d-1"
    assert message["personalizations"][0]["dynamic_template_data"] == data
    assert "content" not in message


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(given_=rendered_emails())
async def test_sendgrid_accepts_any_email(client: httpx.AsyncClient, given_: RenderedEmail) -> None:
    async with sendgrid_server() as server:
        answer = await provider(client, server.host).send(given_, TAGS)
    assert (answer.verdict, answer.text.partition(" as ")[0]) == ("succeeded", "accepted")
    [message] = server.messages
    [envelope] = message["personalizations"]
    for kind in ("to", "cc", "bcc"):
        sent = [(recipient["email"], recipient.get("name", "")) for recipient in envelope.get(kind, [])]
        assert sent == [(mailbox.address, mailbox.name) for mailbox in getattr(given_, kind)]
    assert message["subject"] == given_.subject
    assert [part["value"] for part in message["content"]] == [text for text in (given_.text, given_.html) if text]


async def test_a_text_that_looks_like_a_key_is_sent(client: httpx.AsyncClient, server: SendGridServer) -> None:
    answer = await provider(client, server.host).send(rendered_email(text="SG.abc.def is no key"), TAGS)
    assert (answer.verdict, answer.error, server.requests) == ("rejected", "key_in_text", [])


# What comes back


@pytest.mark.parametrize(
    ("status", "verdict", "error"),
    [
        (200, "succeeded", None),
        (202, "succeeded", None),
        (302, "failed", "http_302"),
        (400, "rejected", "http_400"),
        (401, "rejected", "http_401"),
        (403, "rejected", "http_403"),
        (404, "rejected", "http_404"),
        (408, "failed", "http_408"),
        (413, "rejected", "http_413"),
        (425, "failed", "http_425"),
        (429, "failed", "http_429"),
        (500, "failed", "http_500"),
        (503, "failed", "http_503"),
    ],
)
async def test_each_status_has_its_verdict(
    client: httpx.AsyncClient, server: SendGridServer, status: int, verdict: str, error: str | None
) -> None:
    server.fails(status)
    answer = await provider(client, server.host).send(rendered_email(), TAGS)
    assert (answer.verdict, answer.status_code, answer.error) == (verdict, status, error)
    assert (answer.text == f"answer {status}") == (verdict != "succeeded")
    assert answer.duration_ms > 0


async def test_a_wrong_key_is_rejected_in_sendgrids_words(client: httpx.AsyncClient, server: SendGridServer) -> None:
    answer = await provider(client, server.host, api_key="SG.another").send(rendered_email(), TAGS)
    assert (answer.verdict, answer.error) == ("rejected", "http_401")
    assert answer.text == "The provided authorization grant is invalid, expired, or revoked"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            '{"errors":[{"message":"Is no address.","field":"from.email","help":null},{"message":"And bad."}]}',
            "from.email: Is no address.; And bad.",
        ),
        ('{"errors":[]}', ""),
        ('{"errors":"gone"}', '{"errors":"gone"}'),
        ("<h1>Bad gateway</h1>\r\n\0", "<h1>Bad gateway</h1>\n\ufffd"),
        ("", ""),
        ("é" * 600, "é" * 250),
    ],
)
async def test_the_reason_of_a_failure_is_returned(
    client: httpx.AsyncClient, server: SendGridServer, body: str, text: str
) -> None:
    server.answers.append(Answer(400, body))
    assert (await provider(client, server.host).send(rendered_email(), TAGS)).text == text


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7),
        (503, {"Retry-After": "7"}, 7),
        (429, {"X-RateLimit-Reset": "30"}, 30),
        (429, {"X-RateLimit-Reset": "-30"}, 0),
        (429, {"X-RateLimit-Reset": "200000"}, 86400),
        (429, {"X-RateLimit-Reset": "30", "Retry-After": "7"}, 7),
        (429, {"X-RateLimit-Reset": "30", "Retry-After": "soon"}, 30),
        (503, {"X-RateLimit-Reset": "30"}, None),
        (429, {"X-RateLimit-Reset": "soon"}, None),
        (429, {}, None),
    ],
)
async def test_the_wait_that_sendgrid_requests_is_returned(
    client: httpx.AsyncClient, server: SendGridServer, status: int, headers: dict[str, str], seconds: float | None
) -> None:
    reset = headers.get("X-RateLimit-Reset", "")
    if reset.lstrip("-").isdigit():
        headers = headers | {"X-RateLimit-Reset": str(int(time.time()) + int(reset))}
    server.answers.append(Answer(status, "{}", headers))
    answer = await provider(client, server.host).send(rendered_email(), TAGS)
    assert answer.retry_after == (None if seconds is None else pytest.approx(seconds, abs=2))


async def test_after_the_limit_and_an_outage_the_email_is_accepted(
    client: httpx.AsyncClient, server: SendGridServer
) -> None:
    server.limits(30)
    server.fails(503, 503, 503)
    answers = [await provider(client, server.host).send(rendered_email(), TAGS) for _ in range(5)]
    assert [answer.verdict for answer in answers] == [*["failed"] * 4, "succeeded"]
    assert len(server.messages) == 1


@pytest.mark.parametrize(
    ("given_", "status", "trackable"), [(True, 202, True), (False, 202, False), (True, 503, False)]
)
async def test_only_an_accepted_email_can_be_tracked(
    client: httpx.AsyncClient, server: SendGridServer, given_: bool, status: int, trackable: bool
) -> None:
    server.fails(status)
    answer = await provider(client, server.host, trackable=given_).send(rendered_email(), TAGS)
    assert answer.trackable is trackable


# Network errors


async def test_a_refused_connection_has_its_error(client: httpx.AsyncClient) -> None:
    async with sendgrid_server() as server:
        pass
    answer = await provider(client, server.host).send(rendered_email(), TAGS)
    assert (answer.verdict, answer.status_code, answer.error) == ("failed", None, "connection_refused")


async def test_a_missing_answer_is_a_timeout(client: httpx.AsyncClient, server: SendGridServer) -> None:
    server.answers.append(Answer(202, delay=WAIT_TIMEOUT))
    answer = await provider(client, server.host, timeout=0.2).send(rendered_email(), TAGS)
    assert (answer.verdict, answer.status_code, answer.error) == ("failed", None, "timeout")
    assert 200 <= answer.duration_ms < 1000 * CALL_TIMEOUT


async def test_a_forbidden_address_is_not_reached(server: SendGridServer) -> None:
    async with http.make_client(parse_networks([])) as strict:
        answer = await provider(strict, server.host).send(rendered_email(), TAGS)
    assert (answer.verdict, answer.error, server.requests) == ("failed", "forbidden_address", [])


@pytest.mark.parametrize(
    ("status", "verdict", "error"),
    [(202, "succeeded", None), (400, "rejected", "connection_reset"), (500, "failed", "connection_reset")],
)
async def test_a_status_counts_although_its_body_breaks_off(
    client: httpx.AsyncClient, status: int, verdict: str, error: str | None
) -> None:
    said = b"HTTP/1.1 %d X\r\nContent-Length: 100\r\n\r\nhalf" % status
    async with receiving(says(said, close=True)) as receiver:
        answer = await provider(client, receiver.url("")).send(rendered_email(), TAGS)
    assert (answer.verdict, answer.status_code, answer.error) == (verdict, status, error)


# The key


async def test_the_key_is_in_no_log_and_no_answer(
    client: httpx.AsyncClient, server: SendGridServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sender = provider(client, server.host)
    server.answers += [Answer(400, f"no such key: {KEY}"), Answer(400, json.dumps({"errors": [{"message": KEY}]}))]
    answers: list[MailAnswer] = [await sender.send(rendered_email(), TAGS) for _ in range(3)]
    assert [answer.text for answer in answers[:2]] == ["no such key: ********", "********"]
    assert KEY not in f"{sender!r}{answers!r}{caplog.text}"


@pytest.mark.parametrize("key", ["", "SG.two words", "SG.line\n", "SG.Zoë"])
def test_a_key_that_no_header_can_have_is_refused(client: httpx.AsyncClient, key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        provider(client, "https://api.sendgrid.example", api_key=key)
    assert not key or key not in str(caught.value)


async def test_a_closed_client_is_an_internal_error_and_shows_no_key(server: SendGridServer) -> None:
    async with http.make_client(LOOPBACK) as closed:
        sender = provider(closed, server.host)
    with pytest.raises(RuntimeError, match="closed") as caught:
        await sender.send(rendered_email(), TAGS)
    assert KEY not in str(caught.value)


# The server of these tests


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"from": {"name": "Acme"}}, "from"),
        ({"from": {"email": "nobody"}}, "from.email"),
        ({"subject": ""}, "subject"),
        ({"subject": None}, "subject"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}]}, "content"),
        ({"categories": ["a"] * 2}, "categories"),
        ({"categories": [str(n) for n in range(11)]}, "categories"),
        ({"personalizations": [{"to": []}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "a@b.de"}], "cc": [{"email": "A@b.de"}]}]}, "personalizations.0"),
        (
            {"personalizations": [{"to": [{"email": "a@b.de"}], "custom_args": {"n": 1}}]},
            "personalizations.0.custom_args.n",
        ),
        ({"surprise": 1}, None),
    ],
)
async def test_the_test_server_refuses_what_sendgrid_refuses(
    client: httpx.AsyncClient, server: SendGridServer, change: dict[str, Any], field: str | None
) -> None:
    await provider(client, server.host).send(IN_FULL, TAGS)
    body = {name: value for name, value in (server.messages[0] | change).items() if value is not None}
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    url = f"{server.host}/v3/mail/send"
    answer = await http.send(client, "POST", url, body=json.dumps(body).encode(), headers=headers, timeout=WAIT_TIMEOUT)
    assert (answer.status_code, len(server.messages)) == (400, 1)
    assert [error["field"] for error in json.loads(answer.body)["errors"]] == [field]
