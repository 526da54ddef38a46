"""Notifications to services, sent by Apprise's own plugins to servers that answer as the services do."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hookkeeper.content.notifications import RenderedNotification
from hookkeeper.egress.addresses import parse_networks
from hookkeeper.egress.apprise_sender import AppriseSender, ServiceAnswer
from rawserver import Script, receiving, says
from service_servers import Reply, Slack, any_service, slack
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

LOOPBACK = parse_networks(["127.0.0.0/8"])
NOTE = ("Order <7> & co", "paid, a_b *c*\nat last")


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Slack]:
    async with slack(tmp_path) as server:
        yield server


@pytest.fixture
async def services(workspace: Slack) -> AsyncIterator[AppriseSender]:
    """Those that reach Slack."""
    services = AppriseSender(("slack",), LOOPBACK, transport=workspace.transport)
    yield services
    await services.close()


@pytest.fixture
async def local() -> AsyncIterator[AppriseSender]:
    """Those that reach servers on loopback."""
    services = AppriseSender(("ntfy", "ntfys", "mqtt", "json", "nosuch"), LOOPBACK)
    yield services
    await services.close()


async def send(services: AppriseSender, url: str, *note: str, timeout: float = WAIT_TIMEOUT) -> ServiceAnswer:
    title, body = note or NOTE
    return await services.notify(RenderedNotification(service=url, title=title, body=body), timeout)


def says_json(status: int, body: object) -> Script:
    content = json.dumps(body).encode()
    return says(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content), close=True)


# What is sent


async def test_a_note_reaches_slack_as_it_was_written(services: AppriseSender, workspace: Slack) -> None:
    answer = await send(services, workspace.url)
    assert (answer.verdict, answer.status_code, answer.error, answer.text) == ("succeeded", 200, None, "ok")
    assert 0 < answer.duration_ms < 1000 * CALL_TIMEOUT
    [message] = workspace.messages
    [attachment] = message["attachments"]
    # Slack wants these three escaped, and then shows them as they were.
    assert attachment["title"] == "Order &lt;7&gt; &amp; co"
    assert attachment["text"] == "paid, a_b *c*\nat last"
    assert attachment["footer"] == "Hookkeeper"
    assert not message["mrkdwn"]
    assert "apprise" not in workspace.posts[0].body.lower()


@pytest.mark.parametrize("arguments", ["", "?format=markdown", "?FORMAT=html", "?format=text"])
async def test_a_body_is_text_whatever_the_url_says(services: AppriseSender, workspace: Slack, arguments: str) -> None:
    assert (await send(services, workspace.url + arguments, "", "**paid** <b>&")).verdict == "succeeded"
    [message] = workspace.messages
    assert (message["mrkdwn"], message["attachments"][0]["text"]) == (False, "**paid** &lt;b&gt;&amp;")


async def test_a_title_alone_is_the_body(services: AppriseSender, workspace: Slack) -> None:
    assert (await send(services, workspace.url, "paid", " ")).verdict == "succeeded"
    assert workspace.messages[0]["attachments"][0]["text"] == "paid"


async def test_an_empty_notification_is_not_sent(services: AppriseSender, workspace: Slack) -> None:
    answer = await send(services, workspace.url, " ", "\n")
    assert (answer.verdict, answer.error) == ("rejected", "empty")
    assert workspace.posts == []


async def test_a_long_body_is_cut(services: AppriseSender, workspace: Slack) -> None:
    assert (await send(services, workspace.url, "", "x" * 60_000)).verdict == "succeeded"
    [message] = workspace.messages
    assert len(message["attachments"][0]["text"]) == 35_000  # what Slack shows of it
    assert message["attachments"][0]["text"].endswith("x…")


async def test_a_body_that_is_longer_as_it_is_sent_is_cut_to_fit(services: AppriseSender, workspace: Slack) -> None:
    assert (await send(services, workspace.url, "", "&" * 60_000)).verdict == "succeeded"
    [message] = workspace.messages
    assert 20_000 < len(message["attachments"][0]["text"]) <= 35_000
    assert message["attachments"][0]["text"].endswith("&amp;…")


# What the service says


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(400, "invalid_payload"), "invalid_payload"),
        (Reply(403, "invalid_token"), "invalid_token"),
        (Reply(404, "no_service"), "no_service"),
        (Reply(410, "channel_is_archived"), "channel_is_archived"),
        (Reply(429, "rate_limited"), "rate_limited"),
        (Reply(500, "rollup_error"), "rollup_error"),
    ],
)
async def test_an_answer_in_which_slack_refuses_is_a_failure(
    services: AppriseSender, workspace: Slack, reply: Reply, words: str
) -> None:
    workspace.replies = [reply]
    answer = await send(services, workspace.url)
    assert (answer.verdict, answer.status_code, answer.error) == ("failed", reply.status, f"http_{reply.status}")
    assert answer.text.startswith("Failed to send to Slack")
    assert answer.text.endswith(words)
    assert len(workspace.posts) == 1


async def test_a_wrong_token_is_reported_by_slack(services: AppriseSender, workspace: Slack) -> None:
    answer = await send(services, workspace.url.replace("xToken", "yToken"))
    assert (answer.verdict, answer.error) == ("failed", "http_403")
    assert workspace.messages == []


async def test_retry_after_of_a_service_is_returned(services: AppriseSender, workspace: Slack) -> None:
    workspace.replies = [Reply(429, "rate_limited", {"Retry-After": "30"})]
    assert (await send(services, workspace.url)).retry_after == 30


async def test_an_answer_200_that_is_not_of_the_service_is_a_failure(services: AppriseSender, workspace: Slack) -> None:
    workspace.replies = [Reply(200, "<html>maintenance</html>")]
    answer = await send(services, workspace.url)
    assert (answer.verdict, answer.status_code, answer.error) == ("failed", 200, "not_accepted")


async def test_a_notification_for_which_apprise_sends_nothing_is_a_failure(tmp_path: Path) -> None:
    """Apprise says `True` here: unless its URL says `action=new`, a note that is no alarm is nothing to Opsgenie."""
    async with any_service(tmp_path, ["api.opsgenie.com"]) as server:
        services = AppriseSender(("opsgenie",), LOOPBACK, transport=server.transport)
        answer = await send(services, "opsgenie://106b637f-78da-4d68-bcf3-aaaaaaaaaaaa")
        await services.close()
    assert (answer.verdict, answer.error) == ("rejected", "not_sent")
    assert server.posts == []


async def test_arguments_of_the_url_change_nothing_about_retries(services: AppriseSender, workspace: Slack) -> None:
    workspace.replies = [Reply(500), Reply(500)]
    answer = await send(services, workspace.url + "?retry=3&wait=0&optional=yes&rto=600&overflow=split")
    assert (answer.verdict, answer.error) == ("failed", "http_500")
    assert len(workspace.posts) == 1


async def test_a_rate_limit_of_discord_is_not_waited_for(tmp_path: Path) -> None:
    """Its plugin would sleep until the limit is over, and then try again; there is a schedule for that."""
    limited = Reply(429, "{}", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4000000000"})
    async with any_service(tmp_path, ["discord.com"]) as server:
        server.replies = [limited, limited]
        services = AppriseSender(("discord",), LOOPBACK, transport=server.transport)
        answer = await send(services, "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", timeout=3)
        await services.close()
    assert (answer.verdict, answer.error) == ("failed", "http_429")


async def test_each_of_many_notes_gets_its_own_answer(local: AppriseSender) -> None:
    async def one(status: int) -> tuple[int, ServiceAnswer]:
        async with receiving(says_json(status, {"code": status, "error": f"reason {status}"})) as receiver:
            return status, await send(local, f"ntfy://127.0.0.1:{receiver.port}/topic")

    for status, answer in await asyncio.gather(*(one(400 + number) for number in range(24))):
        assert (answer.status_code, answer.error) == (status, f"http_{status}")
        assert answer.text.count("reason") == 2  # in Apprise's words and in the service's
        assert answer.text.count(f"reason {status}") == 2


# Which services


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("slack://T0TEAMTEST/B0HOOKTEST/xTokenOfTheTestsForSlack", "service_not_allowed"),
        ("mqtt://127.0.0.1:{port}/topic", "service_not_allowed"),  # never, though the operator lists it
        ("json://127.0.0.1:{port}/path", "service_not_allowed"),
        ("http://127.0.0.1:{port}/path", "service_not_allowed"),
        ("nosuch://127.0.0.1:{port}/path", "bad_service"),
        ("ntfy://127.0.0.1:{port}/one/two", "bad_service"),
        ("ntfys://127.0.0.1:{port}/topic?verify=no", "bad_service"),
        ("ntfy://127.0.0.1:{port}/topic?mode=quiet", "bad_service"),
        ("127.0.0.1:{port}/topic", "bad_service"),
    ],
)
async def test_a_service_that_is_not_allowed_opens_no_connection(local: AppriseSender, url: str, error: str) -> None:
    async with receiving(says_json(200, {})) as receiver:
        answer = await send(local, url.format(port=receiver.port))
        assert (answer.verdict, answer.status_code, answer.error) == ("rejected", None, error)
        assert answer.text
        await asyncio.sleep(0.05)
        assert receiver.peers == []


# Secrets


async def test_no_error_contains_the_secrets_of_a_service_url(services: AppriseSender, workspace: Slack) -> None:
    workspace.replies = [
        Reply(403, f"no /services/T0TEAMTEST/B0HOOKTEST/{workspace.token} for {workspace.token.upper()}")
    ]
    answer = await send(services, workspace.url)
    assert "no /services/********/********/******** for ********" in answer.text


class Kept(logging.Handler):
    """Keeps what reaches the root logger, and so our logs. (pytest's own would listen to silenced loggers, too.)"""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


async def test_nothing_of_a_note_is_logged(
    services: AppriseSender, workspace: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    kept, root = Kept(), logging.getLogger()
    caplog.set_level(logging.DEBUG)
    root.addHandler(kept)
    assert (await send(services, workspace.url)).verdict == "succeeded"
    for url in (workspace.url + "?template=file", "slack://bad_TOKEN/B0HOOKTEST/" + workspace.token):
        assert (await send(services, url)).error == "bad_service"
    workspace.replies = [Reply(500)]
    assert (await send(services, workspace.url)).verdict == "failed"
    root.warning("this reaches it")
    root.removeHandler(kept)
    assert "root: this reaches it" in kept.lines
    assert not [line for line in kept.lines if line.startswith(("apprise", "requests", "urllib3"))]
    assert workspace.token not in "\n".join(kept.lines)
