"""Emails without a provider: they are written to files, and the log says that they were not sent."""

import asyncio
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from email_samples import (
    SENDER,
    TAGS,
    lines,
    mailboxes,
    parsed,
    read_mailboxes,
    read_text,
    rendered_email,
    rendered_emails,
)
from hypothesis import given, settings

from hookkeeper.content.emails import RenderedEmail
from hookkeeper.mail.capture import EmailCapture
from hookkeeper.mail.provider import NoProvider, Tags, parse_sender, provider_text

HEADERS = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "X-Hookkeeper-Event",
    "X-Hookkeeper-Delivery",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "emails"


@pytest.fixture
def capture(folder: Path) -> EmailCapture:
    return EmailCapture(folder, sender=SENDER)


async def test_an_email_is_saved_and_reported_as_not_sent(capture: EmailCapture, folder: Path) -> None:
    answer = await capture.send(rendered_email(), TAGS)
    assert (answer.verdict, answer.error, answer.status_code, answer.trackable) == ("succeeded", None, None, False)
    assert answer.text == "not sent: no email provider is set; saved as emails/evt_1.wh_1.email.0.1.eml"
    assert [path.name for path in folder.iterdir()] == ["evt_1.wh_1.email.0.1.eml"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    message = parsed((folder / "evt_1.wh_1.email.0.1.eml").read_bytes())
    assert message.keys() == [*HEADERS, "Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    assert message["From"] == SENDER
    assert message["Message-ID"] == "<evt_1.wh_1.email.0@acme.example>"
    assert (message["X-Hookkeeper-Event"], message["X-Hookkeeper-Delivery"]) == ("evt_1", "wh_1.email.0")


async def test_a_saved_email_is_readable_and_has_its_blind_copies(capture: EmailCapture, folder: Path) -> None:
    to = mailboxes("zoe@acme.example Zoë", "bo@acme.example Smith, Bo")
    text = f"Größe: {'x' * 200}\n.\n"
    await capture.send(rendered_email(to=to, bcc=mailboxes("cy@acme.example Cy"), subject="Für Zoë", text=text), TAGS)
    content = (folder / "evt_1.wh_1.email.0.1.eml").read_text(encoding="utf-8")
    assert 'To: Zoë <zoe@acme.example>,\n "Smith, Bo" <bo@acme.example>\n' in content
    assert "\nX-Bcc: Cy <cy@acme.example>\n" in content
    assert "\nSubject: Für Zoë\n" in content
    assert f"\n\n{text}" in content


async def test_a_saved_email_has_the_data_of_its_sendgrid_template(capture: EmailCapture, folder: Path) -> None:
    answer = await capture.send(
        rendered_email(text=None, template_id="d-1", template_data={"event": {"größe": 7}}), TAGS
    )
    assert answer.verdict == "succeeded"
    content = (folder / "evt_1.wh_1.email.0.1.eml").read_text(encoding="utf-8")
    assert "template d-1" in content
    assert '{\n  "event": {\n    "größe": 7\n  }\n}' in content


async def test_each_attempt_is_saved_once(capture: EmailCapture, folder: Path) -> None:
    for attempt, text in ((1, "one"), (2, "two"), (2, "again")):
        await capture.send(rendered_email(text=text), Tags("acme", "evt_1", "order.paid", "wh_1.email.0", attempt))
    kept = {path.name: parsed(path.read_bytes()).get_content().strip() for path in folder.iterdir()}
    assert kept == {"evt_1.wh_1.email.0.1.eml": "one", "evt_1.wh_1.email.0.2.eml": "again"}


async def test_each_redelivery_is_saved(capture: EmailCapture, folder: Path) -> None:
    for copy in ("", "2", "a/b", "x" * 500):
        await capture.send(rendered_email(), replace(TAGS, copy=copy))
    files = [path.name for path in folder.iterdir()]
    assert len(files) == 4
    assert {re.sub(r"\.[0-9a-f]{12}\.", ".", name) for name in files} == {"evt_1.wh_1.email.0.1.eml"}


@pytest.mark.parametrize("event_id", ["../../evil", "/etc/evil", "..", ".hidden", "a\0b", "a\r\nBcc: x@y.de", "é"])
async def test_no_id_leads_out_of_the_folder_or_into_the_headers(
    capture: EmailCapture, folder: Path, event_id: str
) -> None:
    await capture.send(rendered_email(), Tags("acme", event_id, "order.paid", "../wh_1", 1))
    [path] = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert path.parent == folder
    message = parsed(path.read_bytes())
    assert set(message.keys()) == {*HEADERS, "Content-Type", "Content-Transfer-Encoding", "MIME-Version"}
    assert not message.defects


async def test_a_link_to_a_file_is_not_followed(capture: EmailCapture, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("keep me")
    folder.mkdir(parents=True)
    link = folder / "evt_1.wh_1.email.0.1.eml"
    link.symlink_to(target)
    await capture.send(rendered_email(), TAGS)
    assert target.read_text() == "keep me"
    assert not link.is_symlink() and b"Thanks." in link.read_bytes()


async def test_a_link_to_a_folder_is_not_followed(capture: EmailCapture, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.parent.mkdir()
    folder.symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic link"):
        await capture.send(rendered_email(), TAGS)
    assert list(elsewhere.iterdir()) == []


async def test_an_email_that_cannot_be_written_is_an_internal_error_and_leaves_nothing(
    capture: EmailCapture, folder: Path
) -> None:
    (folder / "evt_1.wh_1.email.0.1.eml").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        await capture.send(rendered_email(), TAGS)
    assert [path.name for path in folder.iterdir()] == ["evt_1.wh_1.email.0.1.eml"]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(given_=rendered_emails())
def test_any_email_can_be_read_back(tmp_path_factory: pytest.TempPathFactory, given_: RenderedEmail) -> None:
    folder = tmp_path_factory.mktemp("emails")
    asyncio.run(EmailCapture(folder, sender=SENDER).send(given_, TAGS))
    [path] = folder.iterdir()
    content = path.read_bytes()
    message = parsed(content)
    assert message["Subject"] == given_.subject
    assert read_mailboxes(content, "To") == given_.to
    assert read_mailboxes(content, "Cc") == given_.cc
    assert read_mailboxes(content, "X-Bcc") == given_.bcc
    assert read_mailboxes(content, "Reply-To") == ((given_.reply_to,) if given_.reply_to else ())
    for subtype, text in (("plain", given_.text), ("html", given_.html)):
        assert read_text(message, subtype) == (None if text is None else lines(text))
    assert "Bcc" not in message


async def test_without_a_provider_an_email_fails_and_names_the_settings() -> None:
    answer = await NoProvider().send(rendered_email(), TAGS)
    assert (answer.verdict, answer.error) == ("failed", "no_email_provider")
    assert all(f"HOOKKEEPER_{name}" in answer.text for name in ("SENDGRID_API_KEY", "SMTP_URL", "EMAIL_CAPTURE_DIR"))


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("hooks@acme.example", "hooks@acme.example", ""),
        ("hookkeeper@localhost", "hookkeeper@localhost", ""),
        (" Acme <hooks@acme.example> ", "hooks@acme.example", "Acme"),
        ('"Acme, Inc." <hooks@acme.example>', "hooks@acme.example", "Acme, Inc."),
        ("Acme, Inc. <hooks@acme.example>", "hooks@acme.example", "Acme, Inc."),
        ("Zoë<a+b@acme.example>", "a+b@acme.example", "Zoë"),
    ],
)
def test_a_sender_has_an_address_and_maybe_a_name(text: str, address: str, name: str) -> None:
    sender = parse_sender(text)
    assert (sender.address, sender.name) == (address, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme",
        "Acme <>",
        "a@b@c.de",
        "a@b.de, c@d.de",
        "<a@b.de",
        "a@b.de>",
        "A <a@b.de> b",
        "A\nB <a@b.de>",
        "a@é.de",
    ],
)
def test_an_invalid_sender_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sender such as|one line without control"):
        parse_sender(text)


def test_a_providers_words_are_clean_and_short_and_hold_no_secret() -> None:
    said = provider_text("no\x00 \x1b[31mhunter2\udcff" + "é" * 600, "hunter2")
    assert said.startswith("no\ufffd \ufffd[31m********?é")
    assert "hunter2" not in said
    assert 495 < len(said.encode()) <= 500
