"""Emails to a mail server that accepts some recipients, defers others, and may drop duplicates."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.client import Client

from instances import Instance, running_instance
from mail_servers import SmtpServer, smtp_server

ANN, BO, CY = "ann@acme.example.com", "bo@acme.example.com", "cy@acme.example.com"
LATER, NEVER = "450 4.2.1 come back later", "550 5.1.1 unknown"


@pytest.fixture
async def mail() -> AsyncIterator[SmtpServer]:
    async with smtp_server() as mail:
        yield mail


@pytest.fixture
async def instance(temporal: Client, tmp_path: Path, mail: SmtpServer) -> AsyncIterator[Instance]:
    async with running_instance(temporal, tmp_path, smtp_url=SecretStr(mail.url)) as instance, instance.working():
        yield instance


def got(mail: SmtpServer) -> list[tuple[str, ...]]:
    return [delivered.recipients for delivered in mail.messages]


async def test_greylisted_recipients_get_the_email_later_and_once(instance: Instance, mail: SmtpServer) -> None:
    """Timeline: of three one is accepted, one deferred twice, one unknown. Proves: two emails, and success."""
    mail.refused = {BO: LATER, CY: NEVER}
    await instance.webhook(None, emails=[{"to": [ANN, BO], "cc": [CY]}], retry={"schedule": [0.1, 1, 1]})
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying", attempts=2)
    del mail.refused[BO]
    event = await instance.until_final(event_id)
    attempts = event["deliveries"][0]["attempts"]
    assert [attempt["error"] for attempt in attempts] == ["smtp_450", "smtp_450", None]
    assert (event["status"], got(mail)) == ("succeeded", [(ANN,), (BO,)])
    assert f"refused for {CY}: {NEVER}" in attempts[-1]["response_excerpt"]
    assert len({delivered.email["Message-ID"] for delivered in mail.messages}) == 1
    assert {delivered.email["To"] for delivered in mail.messages} == {f"{ANN}, {BO}"}


@pytest.mark.promise("docs/emails.md")
async def test_a_requested_attempt_skips_recipients_that_have_the_email(instance: Instance, mail: SmtpServer) -> None:
    mail.refused = {BO: LATER}
    await instance.webhook(None, emails=[{"to": [ANN, BO]}], retry={"schedule": [3600]})
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying", attempts=1)
    mail.refused.clear()
    await instance.command(event_id, "retry")
    await instance.until_final(event_id)
    assert got(mail) == [(ANN,), (BO,)]


async def test_each_redelivery_of_an_email_has_a_message_id_of_its_own(instance: Instance, mail: SmtpServer) -> None:
    await instance.webhook(None, emails=[{"to": [ANN]}])
    event_id = (await instance.send())["id"]
    await instance.until_closed(event_id)
    for _ in range(2):
        answer = await instance.command(event_id, "redeliver")
        assert answer.status_code == 202, answer.text
        await instance.until_closed(event_id)
    assert got(mail) == [(ANN,)] * 3
    assert len({delivered.email["Message-ID"] for delivered in mail.messages}) == 3
