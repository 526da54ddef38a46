"""SMTP with real servers: emails arrive complete, secrets are not sent back, and replies get the right verdict."""

import asyncio
import logging
import re
import socket
import ssl
import time
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import httpx
import pytest
from email_samples import SENDER, TAGS, lines, mailboxes, read_mailboxes, read_text, rendered_email, rendered_emails
from hypothesis import given, settings

from event_loops import monitor
from hookkeeper.content.emails import RenderedEmail
from hookkeeper.mail.provider import MailAnswer, Tags
from hookkeeper.mail.smtp import Smtp, parse_server
from mail_servers import SmtpServer, smtp_server
from rawserver import Peer, Script, make_certificate, no_descriptors_left, receiving
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

USER, PASSWORD = "me@acme.example", "pa/ss:w@rd%"
ENCODED = "me%40acme.example:pa%2Fss%3Aw%40rd%25@"
HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Hookkeeper-Event", "X-Hookkeeper-Delivery"),
    *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    async with smtp_server() as server:
        yield server


@cache
def usual_tls() -> ssl.SSLContext:
    """Return what `Smtp` uses where nothing is given, made once: to read all authorities takes 20 ms."""
    return httpx.create_ssl_context()


async def send(
    url: str,
    given_: RenderedEmail | None = None,
    tags: Tags = TAGS,
    *,
    tls: ssl.SSLContext | None = None,
    timeout: float = WAIT_TIMEOUT,
) -> MailAnswer:
    smtp = Smtp(url, sender=SENDER, tls=tls or usual_tls(), timeout=timeout)
    return await smtp.send(given_ or rendered_email(), tags)


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


def speaks(greeting: bytes = b"220 mail.example ready\r\n", **replies: bytes) -> Script:
    """Script a server: what it says first, and then to each command, which is `250 ok` where nothing is given.

    The reply to `END` follows the message; an empty reply is silence, and `b"close"` the end of the connection.
    """
    replies = {"DATA": b"354 go on\r\n", "QUIT": b"221 bye\r\n"} | replies

    async def script(peer: Peer) -> None:
        await peer.say(greeting)
        while line := await peer.reader.readline():
            commands = [line[:4].decode().strip()]
            for command in commands:
                reply = replies.get(command, b"250 ok\r\n")
                if reply == b"close":
                    return
                await peer.say(reply)
                if command == "DATA" and reply.startswith(b"354"):
                    await peer.reader.readuntil(b"\r\n.\r\n")
                    commands.append("END")

    return script


# What arrives


async def test_an_email_arrives_with_all_recipients_in_the_envelope_and_no_bcc_in_its_headers(
    server: SmtpServer,
) -> None:
    to = mailboxes("ann@acme.example Ann, the first", "bo@acme.example")
    more = {"cc": mailboxes("cy@acme.example Cy"), "bcc": mailboxes("di@acme.example Di")}
    reply_to = mailboxes("help@acme.example Zoë")[0]
    full = rendered_email(
        to=to, **more, reply_to=reply_to, subject="Größe", text="Dear all\n.\n", html="<p>Dear all</p>\n"
    )
    answer = await send(server.url, full)
    assert (answer.verdict, answer.status_code, answer.error, answer.trackable) == ("succeeded", 250, None, False)
    assert (answer.text, answer.excluded) == ("2.0.0 queued as 1", frozenset())
    [delivered] = server.messages
    assert delivered.sender == "hooks@acme.example"
    assert delivered.recipients == ("ann@acme.example", "bo@acme.example", "cy@acme.example", "di@acme.example")
    assert b"di@" not in delivered.content.lower() and b"bcc" not in delivered.content.lower()
    message = delivered.email
    assert set(message.keys()) == (HEADERS | {"Cc", "Reply-To"}) - {"Content-Transfer-Encoding"}
    assert (message["From"], message["Subject"]) == (SENDER, "Größe")
    assert message["Auto-Submitted"] == "auto-generated"
    assert (message["X-Hookkeeper-Event"], message["X-Hookkeeper-Delivery"]) == ("evt_1", "wh_1.email.0")
    assert abs(message["Date"].datetime.timestamp() - time.time()) < WAIT_TIMEOUT
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert (read_text(message, "plain"), read_text(message, "html")) == ("Dear all\n.", "<p>Dear all</p>")


async def test_only_a_second_attempt_has_the_same_message_id(server: SmtpServer) -> None:
    for event, delivery, attempt in (("evt_1", "wh_1.email.0", 1), ("evt_1", "wh_1.email.0", 2)):
        await send(server.url, tags=Tags("acme", event, "order.paid", delivery, attempt))
    for event, delivery in (("evt_2", "wh_1.email.0"), ("evt_1", "wh_1.email.1"), ("evt_1", "wh_2.email.0")):
        await send(server.url, tags=Tags("acme", event, "order.paid", delivery, 1))
    first, second, *others = [str(delivered.email["Message-ID"]) for delivered in server.messages]
    assert first == second == "<evt_1.wh_1.email.0@acme.example>"
    assert len({first, *others}) == 4


async def test_each_sending_of_a_delivery_has_a_message_id_of_its_own(server: SmtpServer) -> None:
    """Mail systems drop what comes twice: an alert is no copy of another, nor is what a person sends again."""
    for copy in ("", "2", "run/wh_1.email.0/2/failed", "run/wh_1.email.0/3/recovered"):
        for attempt in (2, 3):
            await send(server.url, tags=replace(TAGS, attempt=attempt, copy=copy))
    ids = [str(delivered.email["Message-ID"]) for delivered in server.messages]
    assert ids[::2] == ids[1::2]
    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"<evt_1\.wh_1\.email\.0(\.[0-9a-f]{12})?@acme\.example>", id_) for id_ in ids)


async def test_a_server_that_knows_no_extension_gets_plain_ascii(server: SmtpServer) -> None:
    async with receiving(speaks(EHLO=b"502 what?\r\n"), read=False) as old:
        assert (await send(f"smtp://127.0.0.1:{old.port}", rendered_email(text="Zoë"))).verdict == "succeeded"
    assert (await send(server.url, rendered_email(text="Zoë", html="ë" * 1000))).verdict == "succeeded"
    [delivered] = server.messages
    assert delivered.content.isascii()
    assert [option.partition("=")[0] for option in delivered.options] == ["SIZE"]
    assert server.commands == ["EHLO acme.example", "QUIT"]


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(given_=rendered_emails())
async def test_any_email_arrives_unchanged(given_: RenderedEmail) -> None:
    async with smtp_server() as server:
        answer = await send(server.url, given_)
    assert answer.verdict == "succeeded"
    [delivered] = server.messages
    content, message = delivered.content, delivered.email
    everybody = [mailbox.address for mailbox in (*given_.to, *given_.cc, *given_.bcc)]
    assert list(delivered.recipients) == everybody
    assert set(message.keys()) - {"Cc", "Reply-To", "Content-Transfer-Encoding"} == HEADERS - {
        "Content-Transfer-Encoding"
    }
    assert not message.defects
    assert message["Subject"] == given_.subject
    assert read_mailboxes(content, "To") == given_.to
    assert read_mailboxes(content, "Cc") == given_.cc
    assert read_mailboxes(content, "Reply-To") == ((given_.reply_to,) if given_.reply_to else ())
    for subtype, text in (("plain", given_.text), ("html", given_.html)):
        assert read_text(message, subtype) == (None if text is None else lines(text))
    assert content.isascii()
    head = content.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert max(len(line) for line in head if b"=?" in line or line is head[0]) <= 76
    assert max(map(len, content.split(b"\r\n"))) <= 998


async def test_a_template_of_sendgrid_is_rejected_without_a_connection() -> None:
    async with receiving(speaks(), read=False) as server:
        url = f"smtp://127.0.0.1:{server.port}"
        answer = await send(url, rendered_email(text=None, template_id="d-1"))
    assert (answer.verdict, answer.error, server.peers) == ("rejected", "needs_sendgrid", [])
    assert "needs SendGrid" in answer.text


# What servers answer


@pytest.mark.parametrize(
    ("command", "reply", "verdict", "code", "error"),
    [
        ("MAIL", "451 4.7.1 later", "failed", 451, "smtp_451"),
        ("MAIL", "553 5.7.1 not you", "rejected", 553, "smtp_553"),
        ("DATA", "452 4.3.1 full", "failed", 452, "smtp_452"),
        ("DATA", "421 4.3.2 going down", "failed", 421, "smtp_421"),
        ("DATA", "554 5.7.1 spam", "rejected", 554, "smtp_554"),
        ("DATA", "299 odd", "failed", None, "protocol"),
    ],
)
async def test_each_reply_has_its_verdict(
    server: SmtpServer, command: str, reply: str, verdict: str, code: int | None, error: str
) -> None:
    server.replies[command] = [reply]
    answer = await send(server.url)
    assert (answer.verdict, answer.status_code, answer.error, answer.text) == (verdict, code, error, reply[4:])
    assert (await send(server.url)).verdict == "succeeded"


@pytest.mark.parametrize(
    ("greeting", "verdict", "error"),
    [
        (b"421 4.3.2 busy\r\n", "failed", "smtp_421"),
        (b"554 5.7.1 not from you\r\n", "rejected", "smtp_554"),
        (b"hello\r\n", "failed", "protocol"),
        (b"SSH-2.0-OpenSSH\r\n", "failed", "protocol"),
        (b"220-" + b"x" * 100_000, "failed", "protocol"),
    ],
)
async def test_each_greeting_has_its_verdict(greeting: bytes, verdict: str, error: str) -> None:
    async with receiving(speaks(greeting), read=False) as server:
        answer = await send(f"smtp://127.0.0.1:{server.port}")
    assert (answer.verdict, answer.error) == (verdict, error)


TAKEN, LATER, NEVER, ODD = None, "450 4.2.1 later", "550 5.1.1 unknown", "252 maybe"
ANN, BO, CY = "Ann@acme.example", "bo@acme.example", "cy@acme.example"


@pytest.mark.parametrize(
    ("ann", "bo", "verdict", "code", "text"),
    [
        (NEVER, NEVER, "rejected", 550, f"refused for {ANN}: {NEVER}; {BO}: {NEVER}"),
        (LATER, LATER, "failed", 450, f"not accepted yet for {ANN}: {LATER}; {BO}: {LATER}"),
        (NEVER, LATER, "failed", 450, f"refused for {ANN}: {NEVER}\nnot accepted yet for {BO}: {LATER}"),
        (TAKEN, NEVER, "succeeded", 250, f"refused for {BO}: {NEVER}\n2.0.0 queued as 1"),
        (LATER, TAKEN, "failed", 450, f"not accepted yet for {ANN}: {LATER}\n2.0.0 queued as 1"),
        (TAKEN, ODD, "succeeded", 250, f"refused for {BO}: {ODD}\n2.0.0 queued as 1"),  # it may have it
        (ODD, NEVER, "failed", None, f"refused for {ANN}: {ODD}; {BO}: {NEVER}"),
    ],
)
async def test_refused_recipients_decide_the_verdict(
    server: SmtpServer, ann: str | None, bo: str | None, verdict: str, code: int | None, text: str
) -> None:
    replies = {ANN: ann, BO: bo}
    server.refused = {address: reply for address, reply in replies.items() if reply}
    answer = await send(server.url, rendered_email(to=mailboxes(ANN), bcc=mailboxes(BO)))
    assert (answer.verdict, answer.status_code, answer.text) == (verdict, code, text)
    assert answer.error == (None if verdict == "succeeded" else f"smtp_{code}" if code else "protocol")
    assert answer.excluded == {address.lower() for address, reply in replies.items() if reply in (NEVER, ODD)}
    taken = {address.lower() for address, reply in replies.items() if reply is TAKEN}
    assert answer.accepted == (taken if verdict == "failed" else frozenset())


async def test_only_deferred_recipients_are_tried_again(server: SmtpServer) -> None:
    """Timeline: of three one is taken, one put off, one unknown; then the second is put off again, then taken.

    Proves: each recipient gets the email once, with the same `To`, `Cc` and `Message-ID`.
    """
    given_ = rendered_email(to=mailboxes(ANN), cc=mailboxes(BO), bcc=mailboxes(CY))
    nothing, unknown = frozenset[str](), frozenset({CY})
    server.refused = {BO: LATER, CY: NEVER}
    first = await send(server.url, given_)
    assert (first.verdict, first.error, first.excluded) == ("failed", "smtp_450", unknown)
    assert first.accepted == {ANN.lower()}
    again = await send(server.url, given_, replace(TAGS, attempt=2, accepted=first.accepted))
    assert (again.verdict, again.error, again.excluded) == ("failed", "smtp_450", unknown)
    assert again.accepted == nothing
    server.refused = {CY: NEVER}
    last = await send(server.url, given_, replace(TAGS, attempt=3, accepted=first.accepted))
    assert (last.verdict, last.accepted, last.excluded) == ("succeeded", nothing, unknown)
    assert last.text == f"refused for {CY}: {NEVER}\n2.0.0 queued as 2"
    assert [delivered.recipients for delivered in server.messages] == [(ANN,), (BO,)]
    one, two = (delivered.email for delivered in server.messages)
    assert [(message["To"], message["Cc"], message["Message-ID"]) for message in (one, two)] == [
        (ANN, BO, "<evt_1.wh_1.email.0@acme.example>")
    ] * 2


@pytest.mark.parametrize(
    ("bo", "verdict", "code", "text"),
    [
        # As if all had been said at once.
        (NEVER, "succeeded", None, f"refused for {BO}: {NEVER}"),
        (LATER, "failed", 450, f"not accepted yet for {BO}: {LATER}"),
    ],
)
async def test_a_recipient_that_was_deferred_can_be_refused_later(
    server: SmtpServer, bo: str, verdict: str, code: int | None, text: str
) -> None:
    server.refused = {BO: bo}
    answer = await send(
        server.url, rendered_email(to=mailboxes(ANN, BO)), replace(TAGS, accepted=frozenset({ANN.lower()}))
    )
    assert (answer.verdict, answer.status_code, answer.text) == (verdict, code, text)
    assert (answer.excluded, server.messages) == ({BO} if verdict == "succeeded" else frozenset(), [])


async def test_a_refused_message_was_accepted_for_no_recipient(server: SmtpServer) -> None:
    server.refused, server.replies["DATA"] = {BO: LATER}, ["452 4.3.1 full"]
    answer = await send(server.url, rendered_email(to=mailboxes(ANN, BO)))
    assert (answer.verdict, answer.error, answer.accepted) == ("failed", "smtp_452", frozenset())


# TLS and passwords


@pytest.mark.parametrize(
    ("offered", "scheme", "user", "verdict", "error"),
    [
        ("none", "smtp", False, "succeeded", None),
        ("starttls", "smtp", False, "succeeded", None),
        ("starttls", "smtp", True, "succeeded", None),
        ("implicit", "smtps", False, "succeeded", None),
        ("implicit", "smtps", True, "succeeded", None),
        ("none", "smtp", True, "failed", "tls"),
        ("none", "smtps", False, "failed", "tls"),
        ("implicit", "smtp", False, "failed", "timeout"),  # each side waits for the other
    ],
)
async def test_tls_is_used_when_the_server_or_the_url_has_it(
    certificate: Path, offered: str, scheme: str, user: bool, verdict: str, error: str | None
) -> None:
    secure = None if offered == "none" else certificate
    credentials = (USER, PASSWORD) if user and secure else None
    async with smtp_server(certificate=secure, implicit_tls=offered == "implicit", credentials=credentials) as server:
        url = f"{scheme}://{ENCODED if user else ''}127.0.0.1:{server.port}"
        answer = await send(url, tls=trusting(certificate), timeout=0.5 if error == "timeout" else WAIT_TIMEOUT)
    assert (answer.verdict, answer.error) == (verdict, error)
    arrived = [(delivered.tls, delivered.user) for delivered in server.messages]
    assert arrived == ([(secure is not None, USER if user else None)] if verdict == "succeeded" else [])


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("names", "days", "trusted"),
    [(("127.0.0.1",), 1, False), (("other.example",), 1, True), (("127.0.0.1",), -1, True)],
)
async def test_no_email_is_sent_to_a_server_without_a_valid_certificate(
    tmp_path: Path, names: tuple[str, ...], days: int, trusted: bool, implicit: bool
) -> None:
    bad = make_certificate(tmp_path, *names, days=days)
    async with smtp_server(certificate=bad, implicit_tls=implicit) as server:
        provider = Smtp(server.url, sender=SENDER, tls=trusting(bad) if trusted else None)
        answer = await provider.send(rendered_email(), TAGS)
    assert (answer.verdict, answer.error, server.messages) == ("failed", "tls", [])
    assert "CERTIFICATE_VERIFY_FAILED" in answer.text


async def test_without_tls_no_password_leaves_this_machine() -> None:
    heard = bytearray()

    async def script(peer: Peer) -> None:
        await peer.say(b"220 mail.example\r\n")
        while line := await peer.reader.readline():
            heard.extend(line)
            await peer.say(b"250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n" if line[:4] == b"EHLO" else b"221 bye\r\n")

    async with receiving(script, read=False) as server:
        answer = await send(f"smtp://{ENCODED}127.0.0.1:{server.port}")
    assert (answer.verdict, answer.error) == ("failed", "tls")
    assert "no STARTTLS" in answer.text
    assert bytes(heard) == b"EHLO acme.example\r\nQUIT\r\n"


async def test_a_wrong_password_is_rejected(certificate: Path) -> None:
    async with smtp_server(certificate=certificate, credentials=(USER, PASSWORD)) as server:
        url = f"smtp://me%40acme.example:wrong@127.0.0.1:{server.port}"
        answer = await send(url, tls=trusting(certificate))
        assert (answer.verdict, answer.status_code, answer.error) == ("rejected", 535, "smtp_535")
        answer = await send(f"smtp://127.0.0.1:{server.port}", tls=trusting(certificate))
        assert (answer.verdict, answer.error, server.messages) == ("rejected", "smtp_530", [])


async def test_a_server_without_authentication_fails_the_attempt(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with receiving(speaks(), tls=context, read=False) as server:
        answer = await send(f"smtps://{ENCODED}127.0.0.1:{server.port}", tls=trusting(certificate))
    assert (answer.verdict, answer.error) == ("failed", "protocol")
    assert "AUTH extension is not supported" in answer.text


async def test_the_password_is_in_no_log_and_no_answer(certificate: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Setup: a server that repeats what it was sent, in the clear and encoded."""
    sent = b64encode(f"\0{USER}\0{PASSWORD}".encode())
    caplog.set_level(logging.DEBUG)
    greeting = b"220 mail.example\r\n"
    replies = {
        "EHLO": b"250-mail.example\r\n250 AUTH PLAIN\r\n",
        "AUTH": b"535 AUTH PLAIN " + sent + b" is not " + PASSWORD.encode() + b"\r\n",
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with receiving(speaks(greeting, **replies), tls=context, read=False) as server:
        url = f"smtps://{ENCODED}127.0.0.1:{server.port}"
        provider = Smtp(url, sender=SENDER, tls=trusting(certificate))
        answer = await provider.send(rendered_email(), TAGS)
    assert answer.text == "AUTH PLAIN ******** is not ********"
    seen = f"{provider!r}{parse_server(url)!r}{answer!r}{caplog.text}"
    assert not any(secret in seen for secret in (PASSWORD, sent.decode(), ENCODED))


# Network errors


async def test_a_refused_connection_has_its_error() -> None:
    async with smtp_server() as server:
        pass
    for host in ("127.0.0.1", "localhost"):
        answer = await send(f"smtp://{host}:{server.port}")
        assert (answer.verdict, answer.status_code, answer.error) == ("failed", None, "connection_refused")


async def test_an_unknown_name_is_outcome_dns() -> None:
    answer = await send("smtp://mail.nobody.invalid")
    assert (answer.verdict, answer.error) == ("failed", "dns")


@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT", "DATA", "END"])
async def test_a_broken_connection_has_its_error(command: str) -> None:
    async with receiving(speaks(**{command: b"close"}), read=False) as server:
        answer = await send(f"smtp://127.0.0.1:{server.port}")
    assert (answer.verdict, answer.error) == ("failed", "connection_reset")


@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT", "DATA", "END"])
async def test_a_silent_server_is_a_timeout(command: str) -> None:
    async with receiving(speaks(**{command: b""}), read=False) as server:
        async with asyncio.timeout(CALL_TIMEOUT):
            answer = await send(f"smtp://127.0.0.1:{server.port}", timeout=0.3)
        assert (answer.verdict, answer.error) == ("failed", "timeout")


async def test_the_timeout_is_for_all_steps_together() -> None:
    async def slow(peer: Peer) -> None:
        await peer.say(b"220 mail.example\r\n")
        while await peer.reader.readline():
            await asyncio.sleep(0.2)
            await peer.say(b"250 ok\r\n")

    async with receiving(slow, read=False) as server:
        answer = await send(f"smtp://127.0.0.1:{server.port}", timeout=0.5)
    assert (answer.verdict, answer.error) == ("failed", "timeout")
    assert 500 <= answer.duration_ms < 1000 * CALL_TIMEOUT


async def test_a_server_that_stops_reading_gets_nothing_after_the_timeout() -> None:
    """Setup: a server that stops reading until the attempt has timed out. Proves: the rest is not sent then."""
    given_up, ended = asyncio.Event(), asyncio.Event()
    taken = 0

    async def script(peer: Peer) -> None:
        nonlocal taken
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        await peer.say(b"220 mail.example\r\n")
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            await peer.reader.readline()
            await peer.say(reply)
        await given_up.wait()
        try:
            while chunk := await peer.reader.read(65536):
                taken += len(chunk)
        finally:
            ended.set()

    async with receiving(script, read=False) as server:
        with monitor.paused():  # no email of Hookkeeper is this large: its parts would block the loop
            large = rendered_email(text=f"{'x' * 70}\n" * 110_000)
            async with asyncio.timeout(2 * CALL_TIMEOUT):
                answer = await send(f"smtp://127.0.0.1:{server.port}", large, timeout=4.0)
        assert (answer.verdict, answer.error) == ("failed", "timeout")
        given_up.set()
        async with asyncio.timeout(WAIT_TIMEOUT):
            await ended.wait()
    assert 0 < taken < 7_500_000


@pytest.mark.parametrize("farewell", [b"", b"close", b"500 stay\r\n"])
async def test_an_accepted_email_stays_accepted_however_the_connection_ends(farewell: bytes) -> None:
    """A silent server is waited for only one second, regardless of the timeout."""
    async with receiving(speaks(END=b"250 queued\r\n", QUIT=farewell), read=False) as server:
        async with asyncio.timeout(CALL_TIMEOUT):
            answer = await send(f"smtp://127.0.0.1:{server.port}", timeout=WAIT_TIMEOUT)
    assert (answer.verdict, answer.text) == ("succeeded", "queued")


async def test_cancellation_goes_through_and_closes_the_connection() -> None:
    async with receiving(speaks(MAIL=b""), read=False) as server:
        task = asyncio.create_task(send(f"smtp://127.0.0.1:{server.port}"))
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not server.peers:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not server.peers[0].reader.at_eof():
                await asyncio.sleep(0.01)


async def test_running_out_of_file_descriptors_is_an_internal_error(server: SmtpServer) -> None:
    provider = Smtp(server.url, sender=SENDER)
    with no_descriptors_left(), pytest.raises(OSError, match="Too many open files"):
        await provider.send(rendered_email(), TAGS)
    assert (await provider.send(rendered_email(), TAGS)).verdict == "succeeded"


# URLs


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("smtp://mail.acme.example", ("mail.acme.example", 587, False, None, "")),
        ("smtp://mail.acme.example:25/", ("mail.acme.example", 25, False, None, "")),
        ("smtps://mail.acme.example", ("mail.acme.example", 465, True, None, "")),
        (f"smtps://{ENCODED}mail.acme.example:2465", ("mail.acme.example", 2465, True, USER, PASSWORD)),
        ("SMTP://[::1]:2525", ("::1", 2525, False, None, "")),
    ],
)
def test_an_smtp_url_is_read(url: str, read: tuple[str, int, bool, str | None, str]) -> None:
    server = parse_server(url)
    assert (server.host, server.port, server.implicit_tls, server.user, server.password) == read


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "mail.acme.example",
            "http://mail.acme.example",
            "smtp://",
            "smtp://:25",
            "smtp://h:0x19",
            "smtp://h:99999",
        ),
        *("smtp://me:hunter2/@h", "smtp://me:hunter2#@h", "smtp://me:hunter2?@h", "smtp://me@h", "smtp://:hunter2@h"),
        *("smtp://me:hunter2@h/path", "smtp://me:hunter2@h?tls=no", "smtp://me:hunter2@h#", "smtp://me:hunter2@[::1"),
        *("smtp://@h", "smtp://me:hunter2@" + "x" * 64 + ".example", "smtp://me:hunter2@a..b"),
    ],
)
def test_an_invalid_smtp_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="HOOKKEEPER_SMTP_URL must be") as caught:
        parse_server(url)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(ValueError, match="HOOKKEEPER_SMTP_URL must be"):
        Smtp(url, sender=SENDER)


def test_an_invalid_sender_is_refused() -> None:
    with pytest.raises(ValueError, match="not a sender"):
        Smtp("smtp://mail.acme.example", sender="nobody")
