"""Suppressed recipients are left out, and no recipient gets an email twice. A real list, a real mail server."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import httpx
import pytest
from email_samples import SENDER, TAGS, mailboxes, rendered_email
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.addresses import parse_networks
from hookkeeper.egress import http
from hookkeeper.mail.sendgrid import SendGrid
from hookkeeper.mail.smtp import Smtp
from hookkeeper.registry.models import Suppression
from hookkeeper.registry.storage.database import Database
from hookkeeper.registry.suppressions import Suppressions
from hookkeeper.targets.email.suppressing import SuppressingProvider
from mail_servers import KEY, SmtpServer, sendgrid_server, smtp_server

ANN, BO, CY = "ann@acme.example", "bo@acme.example", "cy@acme.example"
LATER, NEVER = "450 4.2.1 later", "550 5.1.1 unknown"
HAVE_IT = "not sent: all other recipients already have the email"


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    async with smtp_server() as server:
        yield server


async def suppressing(engine: AsyncEngine, *addresses: str) -> Suppressions:
    suppressions = Suppressions(Database(engine))
    for address in addresses:
        await suppressions.add(Suppression(tenant=TAGS.tenant, address=address, reason="manual"))
    return suppressions


@pytest.mark.parametrize(
    ("suppressed", "refused", "taken", "verdict", "got", "excluded", "now_taken", "text"),
    [
        ([], {}, [], "succeeded", (ANN, BO, CY), [], [], "2.0.0 queued as 1"),
        ([BO], {}, [], "succeeded", (ANN, CY), [BO], [], f"2.0.0 queued as 1\nnot sent to {BO}: {{listed}}"),
        ([ANN], {}, [], "rejected", None, [ANN], [], "not sent: every address in `to` is {listed}"),
        ([ANN, BO, CY], {}, [], "rejected", None, [ANN, BO, CY], [], "not sent: every address in `to` is {listed}"),
        # What the mail server refuses is not forgotten over what the list does.
        ([BO], {CY: NEVER}, [], "succeeded", (ANN,), [BO, CY], [], None),
        ([BO], {CY: LATER}, [], "failed", (ANN,), [BO], [ANN], None),
        # Those who have it count for the headers only.
        ([], {}, [ANN], "succeeded", (BO, CY), [], [], "2.0.0 queued as 1"),
        ([ANN], {}, [ANN], "succeeded", (BO, CY), [], [], "2.0.0 queued as 1"),
        ([BO], {}, [ANN], "succeeded", (CY,), [BO], [], None),
        ([BO, CY], {}, [ANN], "succeeded", None, [BO, CY], [], f"{HAVE_IT}\nnot sent to {BO}, {CY}: {{listed}}"),
        ([], {}, [ANN, BO, CY], "succeeded", None, [], [], HAVE_IT),
    ],
)
async def test_suppressed_recipients_get_no_email(
    engine: AsyncEngine,
    server: SmtpServer,
    suppressed: Sequence[str],
    refused: dict[str, str],
    taken: Sequence[str],
    verdict: str,
    got: tuple[str, ...] | None,
    excluded: Sequence[str],
    now_taken: Sequence[str],
    text: str | None,
) -> None:
    server.refused = refused
    provider = SuppressingProvider(Smtp(server.url, sender=SENDER), await suppressing(engine, *suppressed))
    given = rendered_email(to=mailboxes(ANN), cc=mailboxes(BO), bcc=mailboxes(CY))
    answer = await provider.send(given, replace(TAGS, accepted=frozenset(taken)))
    assert answer.verdict == verdict
    assert [delivered.recipients for delivered in server.messages] == ([got] if got else [])
    assert (answer.excluded, answer.accepted) == (frozenset(excluded), frozenset(now_taken))
    assert answer.error == {"rejected": "suppressed", "failed": "smtp_450"}.get(verdict)
    if text is not None:
        assert answer.text == text.format(listed="on the suppression list")


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http.make_client(parse_networks(["127.0.0.0/8"])) as client:
        yield client


async def test_a_recipient_that_has_the_email_gets_no_other_from_sendgrid(client: httpx.AsyncClient) -> None:
    """Setup: a mail server took it for some, and SendGrid is set meanwhile, which cannot tell headers from envelope."""
    given = rendered_email(to=mailboxes(ANN, BO), bcc=mailboxes(CY))
    async with sendgrid_server() as server:
        provider = SendGrid(client, api_key=KEY, host=server.host, sender=SENDER)
        answer = await provider.send(given, replace(TAGS, accepted=frozenset({ANN})))
        assert answer.verdict == "succeeded"
        [envelope] = server.messages[0]["personalizations"]
        assert (envelope["to"], envelope["bcc"]) == ([{"email": BO}], [{"email": CY}])
        answer = await provider.send(given, replace(TAGS, accepted=frozenset({ANN, BO})))
        assert (answer.verdict, answer.error, len(server.messages)) == ("rejected", "no_recipients", 1)
