"""The services that are allowed by default: Apprise's plugin of each sends one request, to the expected host.

Any text is cheap to convert: Apprise converts it in a thread, which cannot be stopped.
"""

import gc
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from hookkeeper.content.apprise_services import DEFAULT_ALLOWED
from hookkeeper.content.notifications import RenderedNotification
from hookkeeper.content.service_texts import PLAIN
from hookkeeper.egress.addresses import parse_networks
from hookkeeper.egress.apprise_sender import AppriseSender
from service_servers import Reply, any_service
from timeouts import WAIT_TIMEOUT

SAMPLES = {
    "slack": ("xoxb-1234-1234-abc124/#channel", "slack.com"),
    "discord": ("4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "discord.com"),
    "workflows": ("acme.logic.azure.com:443/workflow1a/signature", "acme.logic.azure.com"),
    "gchat": ("workspace/key/token", "chat.googleapis.com"),
    "webex": ("f" * 80, "api.ciscospark.com"),
    "tgram": ("123456789:abcdefg_hijklmnop/12345678", "api.telegram.org"),
    "line": ("token/user1", "api.line.me"),
    "lark": ("tokenabc-def", "open.larksuite.com"),
    "feishu": ("tokenabcdef", "open.feishu.cn"),
    "dingtalk": ("abcdef0123456789", "oapi.dingtalk.com"),
    "wecombot": ("botkeyabc-123", "qyapi.weixin.qq.com"),
    "mmosts": ("mm.example/token123token", "mm.example"),
    "rockets": ("w" * 50 + "/abc@chat.example/#room", "chat.example"),
    "zulip": ("bot@acme/" + "a" * 32 + "/channel", "acme.zulipchat.com"),
    "ntfys": ("user:pass@ntfy.example/topic?priority=high", "ntfy.example"),
    "gotifys": ("gotify.example/A1234567890abcd", "gotify.example"),
    "pover": ("u" * 30 + "@" + "a" * 30, "api.pushover.net"),
    "pbul": ("a" * 32, "api.pushbullet.com"),
    "pagerduty": ("IntegrationKey12@ApiKey12345/source/component", "events.pagerduty.com"),
    "opsgenie": ("106b637f-78da-4d68-bcf3-aaaaaaaaaaaa?action=new", "api.opsgenie.com"),
    "splunk": ("routekey@apikeyabcdefg/entity", "alert.victorops.com"),
    "squadcast": ("abcdef0123456789", "api.squadcast.com"),
    "incidentio": ("01ABCDEF/token1234", "api.incident.io"),
    "ilert": ("keyabcdef12", "api.ilert.com"),
    "signl4": ("secretabc", "connect.signl4.com"),
    "spike": ("a" * 32, "api.spike.sh"),
    "pagertree": ("int_0123456789", "api.pagertree.com"),
    "twilio": ("AC" + "a" * 32 + ":" + "b" * 32 + "@15551234567/15557654321", "api.twilio.com"),
    "vonage": ("a" * 8 + ":" + "b" * 16 + "@15551234567/15557654321", "rest.nexmo.com"),
    "sns": ("AHIAJGNT76XIMXDBIJYA/bu1dHSdO22pfaaVy/us-east-2/+15551234567", "sns.us-east-2.amazonaws.com"),
    "whatsapp": ("token123456789012345678@12345678901234/15557654321", "graph.facebook.com"),
}


@pytest.mark.parametrize("scheme", DEFAULT_ALLOWED)
async def test_each_service_that_is_allowed_by_default_makes_one_request(tmp_path: Path, scheme: str) -> None:
    rest, host = SAMPLES[scheme]
    async with any_service(tmp_path, [host]) as server:
        server.replies = [Reply(202, '{"requestId": "43a29c5c"}')] if scheme == "opsgenie" else []
        services = AppriseSender(DEFAULT_ALLOWED, parse_networks(["127.0.0.0/8"]), transport=server.transport)
        answer = await services.notify(
            RenderedNotification(service=f"{scheme}://{rest}", title="first @here", body="second @here <!here>"), 5
        )
        await services.close()
    assert (answer.verdict, answer.error) == ("succeeded", None)
    [post] = server.posts
    assert post.host.removesuffix(":443") == host
    assert "first" in post.body and "second" in post.body
    assert ("@here" in unquote(post.body) or "<!here" in unquote(post.body)) is (scheme in PLAIN)


NASTY = {
    "tags": "<a ",
    "comments": "<!--",
    "links": "[](",
    "quotes": "> ",
    "entities": "&",
    "emphasis": "**a_",
    "code": "`a ",
    "fences": "```\n&\n",
    "lists": "- a\n  ",
    "backslashes": "\\",
    "blanks": " \n",
    "emojis": ":smile:",
    "all of it": "<a [](> `_*\n# - 1. &",
}
SIZE = 64 * 1024
MOST, TRIES = 0.2, 3
"""Seconds of CPU, of which the least of some tries counts: caches and a shared core can only add to it."""


@pytest.fixture
def no_collections() -> Iterator[None]:
    """A full collection takes 0.3 s in a process with all the tests, and would count as the text's."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("scheme", DEFAULT_ALLOWED)
async def test_a_nasty_text_costs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Of HTML, 60 kB of tags would take 20 s, and of lists 4 kB half a second."""
    rest, host = SAMPLES[scheme]
    costs: dict[str, float] = {}

    class Timed(AppriseSender):
        def _send(self, *given: Any) -> Any:
            start = time.thread_time()
            try:
                return super()._send(*given)
            finally:
                costs[name] = min(time.thread_time() - start, costs.get(name, math.inf))

    async with any_service(tmp_path, [host]) as server:
        services = Timed(DEFAULT_ALLOWED, parse_networks(["127.0.0.0/8"]), transport=server.transport)
        for format in ("text", "html", "markdown"):
            url = f"{scheme}://{rest}{'&' if '?' in rest else '?'}format={format}&emojis=yes"
            for name in ("warm up", *NASTY):
                body = (NASTY.get(name, "x") * SIZE)[:SIZE]
                for _ in range(TRIES):
                    answer = await services.notify(
                        RenderedNotification(service=url, title="first", body=f"x{body}"), WAIT_TIMEOUT
                    )
                    assert answer.error in (None, "not_accepted"), answer
                    if costs[name] < MOST:
                        break
            del costs["warm up"]  # which may load Apprise
            worst = max(costs, key=lambda each: costs[each])
            print(f"{scheme}, {format}: {costs[worst] * 1000:.0f} ms for {worst}")
            assert costs[worst] < MOST, f"{worst} as {format}"
        await services.close()
