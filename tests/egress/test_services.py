"""Notifications to services, sent to servers that answer as the vendors document."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hookkeeper.content.headers import MASK
from hookkeeper.content.notifications import RenderedNotification
from hookkeeper.content.services import SERVICES, ZERO_WIDTH
from hookkeeper.egress.notifier import Notifier, ServiceAnswer
from service_servers import HOOK, KEY, TOKEN, WORKFLOW, Reply, Services, services
from timeouts import WAIT_TIMEOUT

ADDRESSES = {
    "slack": f"https://hooks.slack.com/services/T0TEAM/B0HOOK/{TOKEN}",
    "discord": f"https://discord.com/api/webhooks/4174216298/{TOKEN}",
    "teams": f"https://prod-1.westus.logic.azure.com:443{WORKFLOW}",
    "googlechat": f"https://chat.googleapis.com/v1/spaces/AAAA/messages?key=abcd&token={TOKEN}",
    "mattermost": f"https://mm.example/chat/hooks/{HOOK}",
    "telegram": f"telegram://123456789:{TOKEN}/-1001234567890",
    "pagerduty": f"pagerduty://{KEY}",
    "opsgenie": f"opsgenie://{KEY}",
    "ntfy": "https://ntfy.sh/orders-topic",
}
ALSO = [
    (f"slack://T0TEAM/B0HOOK/{TOKEN}", "hooks.slack.com", f"/services/T0TEAM/B0HOOK/{TOKEN}"),
    (
        f"https://hooks.slack-gov.com/services/T0TEAM/B0HOOK/{TOKEN}",
        "hooks.slack-gov.com",
        f"/services/T0TEAM/B0HOOK/{TOKEN}",
    ),
    (f"discord://4174216298/{TOKEN}", "discord.com", f"/api/webhooks/4174216298/{TOKEN}?wait=true"),
    (
        f"https://ptb.discord.com/api/v10/webhooks/4174216298/{TOKEN}?thread_id=77",
        "discord.com",
        f"/api/webhooks/4174216298/{TOKEN}?wait=true&thread_id=77",
    ),
    (
        f"https://default12.34.environment.api.powerplatform.com:443/powerautomate/automations/direct{WORKFLOW}",
        "default12.34.environment.api.powerplatform.com",
        f"/powerautomate/automations/direct{WORKFLOW}",
    ),
    (f"pagerduty://{KEY}?region=eu", "events.eu.pagerduty.com", "/v2/enqueue"),
    (f"opsgenie://{KEY}?region=eu", "api.eu.opsgenie.com", "/v2/alerts"),
    (f"tgram://123456789:{TOKEN}/@orders", "api.telegram.org", f"/bot123456789:{TOKEN}/sendMessage"),
    ("ntfys://ntfy.example/orders-topic", "ntfy.example", "/"),
    ("ntfys://tk_secret@ntfy.example/orders-topic", "ntfy.example", "/"),
    ("ntfys://ann:p%40ss%3Aw@ntfy.example/orders-topic", "ntfy.example", "/"),
]
NOTE = ("Order <7> & co", "paid, a_b *c*\nat last")


@pytest.fixture
async def vendors(tmp_path: Path) -> AsyncIterator[Services]:
    async with services(tmp_path) as running:
        yield running


async def send(vendors: Services, address: str, title: str = NOTE[0], body: str = NOTE[1]) -> ServiceAnswer:
    note = RenderedNotification(service=address, title=title, body=body, key="k" * 32)
    return await Notifier(vendors.client).send(note, WAIT_TIMEOUT, 1024)


def texts(content: Any) -> list[str]:
    """Return all texts in JSON."""
    if isinstance(content, dict | list):
        return [text for value in (content.values() if isinstance(content, dict) else content) for text in texts(value)]
    return [content] if isinstance(content, str) else []


# What is sent


def test_each_service_is_tested() -> None:
    assert [service.name for service in SERVICES] == list(ADDRESSES)


@pytest.mark.parametrize("name", ADDRESSES)
async def test_a_note_reaches_the_service(vendors: Services, name: str) -> None:
    answer = await send(vendors, ADDRESSES[name])
    assert (answer.verdict, answer.error) == ("succeeded", None)
    [post] = vendors.posts
    said = "\n".join(texts(post.json)).replace(ZERO_WIDTH, "")
    title = "Order &lt;7&gt; &amp; co" if name == "slack" else NOTE[0]
    assert title in said
    assert NOTE[1] in said


@pytest.mark.parametrize(("address", "host", "path"), ALSO)
async def test_other_addresses_of_a_service_lead_to_it(vendors: Services, address: str, host: str, path: str) -> None:
    answer = await send(vendors, address)
    assert (answer.verdict, answer.error) == ("succeeded", None)
    [post] = vendors.posts
    assert (post.host, post.path) == (host, path)


async def test_texts_are_plain_where_a_service_can_be_told(vendors: Services) -> None:
    for name in ("slack", "discord", "teams", "telegram"):
        assert (await send(vendors, ADDRESSES[name], "T", "b")).verdict == "succeeded"
    slack, discord, teams, telegram = (post.json for post in vendors.posts)
    assert slack == {"text": "T\nb", "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
    assert discord == {"content": "T", "embeds": [{"description": "b"}], "allowed_mentions": {"parse": []}}
    [card] = teams["attachments"]
    assert {inline["type"] for block in card["content"]["body"] for inline in block["inlines"]} == {"TextRun"}
    assert telegram == {"chat_id": "-1001234567890", "text": "T\nb", "link_preview_options": {"is_disabled": True}}


async def test_a_topic_of_telegram_gets_the_note(vendors: Services) -> None:
    assert (await send(vendors, ADDRESSES["telegram"] + ":42")).verdict == "succeeded"
    assert (vendors.posts[0].json["chat_id"], vendors.posts[0].json["message_thread_id"]) == ("-1001234567890", 42)


async def test_a_second_attempt_opens_no_second_incident(vendors: Services) -> None:
    for name in ("pagerduty", "opsgenie") * 2:
        assert (await send(vendors, ADDRESSES[name])).verdict == "succeeded"
    keys = [post.json.get("dedup_key") or post.json.get("alias") for post in vendors.posts]
    assert keys == ["k" * 32] * 4


@pytest.mark.parametrize("unit", ["x", "&", "<a ", "é", "\N{GRINNING FACE}", "@here", "[](", '"\\\n'])
@pytest.mark.parametrize("name", ADDRESSES)
async def test_a_long_text_is_cut_to_what_the_service_takes(vendors: Services, name: str, unit: str) -> None:
    answer = await send(vendors, ADDRESSES[name], (unit * 255)[:255], (unit * 65536)[:65536])
    assert (answer.verdict, answer.error) == ("succeeded", None)
    [post] = vendors.posts
    assert max(texts(post.json), key=len).endswith("…")


@pytest.mark.parametrize("name", ADDRESSES)
async def test_a_note_without_a_title_is_sent(vendors: Services, name: str) -> None:
    assert (await send(vendors, ADDRESSES[name], "", "paid")).verdict == "succeeded"
    assert "paid" in texts(vendors.posts[0].json)


# What the service answers

REFUSED = [
    ("slack", Reply(400, "invalid_payload"), "failed", "http_400"),
    ("slack", Reply(403, "action_prohibited"), "failed", "http_403"),
    ("slack", Reply(404, "no_service"), "failed", "http_404"),
    ("slack", Reply(410, "channel_is_archived"), "rejected", "http_410"),
    ("slack", Reply(500, "rollup_error"), "failed", "http_500"),
    ("slack", Reply(200, "no_service"), "failed", "not_accepted"),
    ("slack", Reply(200, "<html>maintenance</html>"), "failed", "not_accepted"),
    ("discord", Reply.of(404, message="Unknown Webhook", code=10015), "failed", "http_404"),
    ("teams", Reply.of(400, error={"code": "TriggerInputSchemaMismatch"}), "failed", "http_400"),
    ("googlechat", Reply.of(403, error={"status": "PERMISSION_DENIED"}), "failed", "http_403"),
    ("mattermost", Reply.of(400, id="web.incoming_webhook.invalid.app_error"), "failed", "http_400"),
    ("telegram", Reply.of(200, ok=False, error_code=400, description="chat not found"), "failed", "not_accepted"),
    ("telegram", Reply.of(403, ok=False, description="bot was kicked"), "failed", "http_403"),
    ("pagerduty", Reply.of(400, status="invalid event", errors=["too short"]), "failed", "http_400"),
    ("opsgenie", Reply.of(422, message="Key format is not valid!"), "failed", "http_422"),
    ("ntfy", Reply.of(507, code=50701, http=507, error="topic is full"), "failed", "http_507"),
    ("ntfy", Reply(302, "", {"location": "https://mm.example/"}), "failed", "http_302"),
]


@pytest.mark.parametrize(("name", "reply", "verdict", "error"), REFUSED)
async def test_an_answer_in_which_a_service_refuses_is_a_failure(
    vendors: Services, name: str, reply: Reply, verdict: str, error: str
) -> None:
    vendors.replies = [reply]
    answer = await send(vendors, ADDRESSES[name])
    assert (answer.verdict, answer.status_code, answer.error) == (verdict, reply.status, error)
    assert answer.text == (reply.text or reply.headers["location"])
    assert len(vendors.posts) == 1


@pytest.mark.parametrize(
    ("name", "reply", "seconds"),
    [
        ("slack", Reply(429, "rate_limited", {"retry-after": "30"}), 30),
        ("discord", Reply(429, '{"retry_after": 64.57, "global": false}', {"retry-after": "65"}), 65),
        ("discord", Reply.of(429, retry_after=1.5), 1.5),
        ("telegram", Reply.of(429, ok=False, parameters={"retry_after": 35}), 35),
        ("telegram", Reply.of(429, ok=False, parameters={"retry_after": "soon"}), None),
        ("opsgenie", Reply.of(429, message="You are making too many requests!"), None),
    ],
)
async def test_a_service_says_when_to_try_again(
    vendors: Services, name: str, reply: Reply, seconds: float | None
) -> None:
    vendors.replies = [reply]
    answer = await send(vendors, ADDRESSES[name])
    assert (answer.verdict, answer.error, answer.retry_after) == ("failed", "http_429", seconds)


@pytest.mark.parametrize(
    ("name", "wrong", "error"),
    [
        ("slack", f"slack://T0TEAM/B0HOOK/{TOKEN[:-1]}", "http_403"),
        ("discord", f"discord://1/{TOKEN}", "http_404"),
        ("teams", ADDRESSES["teams"] + "x", "http_401"),
        ("googlechat", ADDRESSES["googlechat"] + "x", "http_401"),
        ("mattermost", f"https://mm.example/hooks/{HOOK}", "http_400"),
        ("telegram", f"telegram://1:{TOKEN}/1", "http_401"),
        ("pagerduty", f"pagerduty://{'b' * 32}", "http_400"),
        ("opsgenie", f"opsgenie://{'b' * 32}", "http_401"),
        ("ntfy", "ntfys://tk_other@ntfy.example/t", "http_403"),
    ],
)
async def test_a_wrong_key_is_told(vendors: Services, name: str, wrong: str, error: str) -> None:
    answer = await send(vendors, wrong)
    assert (answer.verdict, answer.error) == ("failed", error)
    assert answer.text


# Secrets


@pytest.mark.parametrize("address", [*ADDRESSES.values(), *(address for address, _, _ in ALSO)])
async def test_a_service_that_repeats_its_secrets_is_masked(vendors: Services, address: str) -> None:
    known = [TOKEN, KEY, HOOK, "tk_secret", "p@ss:w", "orders-topic"]
    held = [secret for secret in known if secret in address or secret == "p@ss:w"]
    vendors.replies = [Reply(403, f"no {' and '.join(held)} in {address}", {"x-key": held[0], "x-said": held[0]})]
    answer = await send(vendors, address)
    shown = f"{answer.text} {answer.headers}".lower()
    assert MASK in answer.text
    mine = [secret for secret in held if secret != "p@ss:w" or "p%40ss" in address]
    assert mine
    assert not [secret for secret in mine if secret.lower() in shown]


async def test_nothing_of_a_note_is_logged(vendors: Services, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ADDRESSES:
        vendors.replies = [Reply(500, "oops")]
        assert (await send(vendors, ADDRESSES[name])).verdict == "failed"
    logging.getLogger().warning("this reaches it")
    assert "this reaches it" in caplog.text
    assert not [secret for secret in (TOKEN, KEY, HOOK, "orders-topic") if secret in caplog.text]
