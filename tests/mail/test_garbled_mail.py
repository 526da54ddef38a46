"""Whatever a mail provider answers, an attempt ends in time with a verdict: only internal errors are raised.

The answers are made up by hypothesis, from what such servers say and from noise.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from email_samples import SENDER, TAGS, mailboxes, rendered_email
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookkeeper.addresses import parse_networks
from hookkeeper.egress import http
from hookkeeper.mail.provider import MAX_TEXT, MailAnswer
from hookkeeper.mail.sendgrid import SendGrid
from hookkeeper.mail.smtp import Smtp
from mail_servers import KEY
from rawserver import Peer, Script, make_certificate, receiving, says, server_tls
from timeouts import CALL_TIMEOUT

EMAIL = rendered_email(
    to=mailboxes("ann@acme.example"), cc=mailboxes("bo@acme.example"), bcc=mailboxes("cy@acme.example")
)
ALL_RECIPIENTS = frozenset(EMAIL.recipients)
USER, PASSWORD = "me", "hunter2-and-more"
TIMEOUT = 0.5
"""Seconds that an attempt may take here."""

fuzzed = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def is_whole(answer: MailAnswer) -> None:
    """Check what all other code takes for granted."""
    assert answer.verdict in ("succeeded", "failed", "rejected")
    assert (answer.error is None) == (answer.verdict == "succeeded")
    assert answer.retry_after is None or 0 <= answer.retry_after <= 86400
    assert len(answer.text.encode()) <= MAX_TEXT
    assert not any(secret in answer.text for secret in (KEY, PASSWORD))
    assert not answer.accepted & answer.excluded and answer.accepted | answer.excluded <= ALL_RECIPIENTS
    assert answer.duration_ms < 1000 * CALL_TIMEOUT


# SendGrid

_noise = st.binary(max_size=300) | st.sampled_from(
    [b"", b"\xff\xfe\0", b"\xed\xa0\x80", b"[" * 100_000, b"x" * 200_000]
)
_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20) | st.sampled_from([10**400, KEY]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_error = st.dictionaries(st.sampled_from(["message", "field", "help"]), st.text(max_size=40) | _json) | _json
_errors = st.fixed_dictionaries({"errors": st.lists(_error, max_size=4) | _json})
_bodies = _noise | (_errors | _json).map(lambda body: json.dumps(body).encode())
_header = st.sampled_from(["Retry-After", "X-RateLimit-Reset", "X-Message-Id", "Content-Type", "Content-Encoding", "X"])
_value = st.binary(max_size=30) | st.sampled_from(
    [b"1", b"-1", b"1e9", b"nan", b"9" * 400, b"Sun, 99 Foo 2026 00:00:00 GMT", b"Sun, 06 Nov 1994 08:49:37", b"gzip"]
)
_status = st.sampled_from([200, 202, 204, 302, 400, 401, 404, 413, 429, 500, 503]) | st.integers(0, 1200)


@st.composite
def http_answers(draw: st.DrawFn) -> bytes:
    body = draw(_bodies)
    lines = [b"HTTP/1.1 %d X" % draw(_status)]
    lines += [name.encode() + b": " + value for name, value in draw(st.lists(st.tuples(_header, _value), max_size=3))]
    framing = draw(st.sampled_from(["length", "length", "length", "short", "long", "odd", "chunked", "none"]))
    lengths = {"length": len(body), "short": len(body) // 2, "long": len(body) + 9, "odd": -1}
    if framing in lengths:
        lines.append(b"Content-Length: %d" % lengths[framing])
    if framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
    return b"\r\n".join([*lines, b"", body])


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.make_client(parse_networks(["127.0.0.0/8"])) as client:
        yield client


@settings(fuzzed, max_examples=200)
@given(said=http_answers() | http_answers() | _noise)
async def test_any_answer_in_place_of_sendgrid_has_a_verdict(client: httpx.AsyncClient, said: bytes) -> None:
    async with receiving(says(said, close=True)) as server:
        provider = SendGrid(client, api_key=KEY, host=server.url(""), sender=SENDER, timeout=TIMEOUT)
        is_whole(await provider.send(EMAIL, TAGS))


# SMTP

_code = st.sampled_from([220, 221, 235, 250, 251, 252, 334, 354, 421, 450, 451, 452, 535, 550, 552, 554])
_text = st.binary(max_size=60) | st.sampled_from(
    [b"ok", b"SIZE", b"SIZE x", b"AUTH PLAIN LOGIN", b"AUTH CRAM-MD5", b"AUTH", b"STARTTLS", b"SMTPUTF8", b"PDEyMz4="]
)


@st.composite
def smtp_replies(draw: st.DrawFn) -> bytes:
    """Make a reply of one or more lines, most of them well-formed."""
    code = b"%d" % draw(_code | _code | st.integers(-99, 1500))
    texts = draw(st.lists(_text, min_size=1, max_size=3))
    lines = [code + b"-" + text for text in texts[:-1]] + [code + b" " + texts[-1]]
    return draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"])).join([*lines, b""])


_plain = st.sampled_from([b"250 ok\r\n", b"450 later\r\n", b"550 unknown\r\n", b"252 maybe\r\n", b"354 go\r\n"])
_reply = _plain | _plain | smtp_replies() | _noise
_usual = {
    "EHLO": b"250-x\r\n250-SIZE\r\n250 AUTH CRAM-MD5 PLAIN LOGIN\r\n",
    "AUTH": b"235 ok\r\n",
    "DATA": b"354 go\r\n",
}
_STARTTLS = [("EHLO", b"250-x\r\n250 STARTTLS\r\n"), ("STAR", b"220 go\r\n")]
_steps = ["EHLO", "HELO", "STAR", "AUTH", "MAIL", "RCPT", "RCPT", "RCPT", "DATA", "END", "RSET", "QUIT"]


def converses(greeting: bytes, replies: Sequence[tuple[str, bytes]]) -> Script:
    """Script a server that gives these replies to these commands, each once, and the usual ones to all others.

    A client that sends nothing for long waits for more of a reply: there is none, and the connection ends.
    """

    async def script(peer: Peer) -> None:
        left = [*replies]
        await peer.say(greeting)
        while line := await asyncio.wait_for(peer.reader.readline(), TIMEOUT / 10):
            commands = [line[:4].decode("latin-1").strip().upper()]
            for command in commands:
                own = next((reply for reply in left if reply[0] == command), None)
                if own:
                    left.remove(own)
                reply = own[1] if own else _usual.get(command, b"250 ok\r\n")
                await peer.say(reply)
                if command == "DATA" and reply.startswith(b"354"):
                    await peer.reader.readuntil(b"\r\n.\r\n")
                    commands.append("END")

    async def until_silent(peer: Peer) -> None:
        try:
            await script(peer)
        except (TimeoutError, ValueError, asyncio.IncompleteReadError):
            return

    return until_silent


_some = st.lists(st.tuples(st.sampled_from(_steps), _reply), min_size=1, max_size=4)
_replies = _some | _some | _some | _some.map(lambda replies: [*_STARTTLS, *replies])
_greetings = st.just(b"220 mail.example\r\n") | st.just(b"220 mail.example\r\n") | _reply


@pytest.fixture(scope="module")
def usual_tls() -> ssl.SSLContext:
    """What `Smtp` uses where nothing is given, made once: to read all authorities takes 20 ms."""
    return httpx.create_ssl_context()


@fuzzed
@given(greeting=_greetings, replies=_replies)
async def test_any_reply_of_a_mail_server_has_a_verdict(
    usual_tls: ssl.SSLContext, greeting: bytes, replies: list[tuple[str, bytes]]
) -> None:
    async with receiving(converses(greeting, replies), read=False) as server:
        provider = Smtp(f"smtp://127.0.0.1:{server.port}", sender=SENDER, tls=usual_tls, timeout=TIMEOUT)
        is_whole(await provider.send(EMAIL, TAGS))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@fuzzed
@given(greeting=_greetings, replies=_replies)
async def test_any_reply_to_a_login_has_a_verdict(
    certificate: Path, greeting: bytes, replies: list[tuple[str, bytes]]
) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    async with receiving(converses(greeting, replies), tls=server_tls(certificate), read=False) as server:
        url = f"smtps://{USER}:{PASSWORD}@127.0.0.1:{server.port}"
        is_whole(await Smtp(url, sender=SENDER, tls=trusting, timeout=TIMEOUT).send(EMAIL, TAGS))
