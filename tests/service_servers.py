"""The services of notifications for tests: a server under their names that answers as each vendor documents.

Nothing of the client is replaced: requests go to the real host's name, certificate and path. A proxy leads every name
to the server.
"""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from hookkeeper.addresses import Networks
from hookkeeper.egress.http import make_client
from proxies import proxying
from rawserver import RawReceiver, make_certificate, server_tls

TOKEN = "xTokenOfTheTestsForServices"
KEY = "a1" * 16
HOOK = "abcdefghijklmnopqrstuvwxyz"
WORKFLOW = "/workflows/0123456789abcdef/triggers/manual/paths/invoke?api-version=2016-06-01&sig=" + TOKEN


@dataclass(frozen=True)
class Post:
    """One request as it arrived."""

    host: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    text: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, code: int, /, **content: Any) -> "Reply":
        return cls(code, json.dumps(content))


@dataclass
class Services:
    """Answers with each of `replies` once, then as the service would."""

    client: httpx.AsyncClient
    posts: list[Post] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)


def slack(post: Post) -> Reply:
    """https://api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks"""
    if not post.path.startswith("/services/T0TEAM/B0HOOK/"):
        return Reply(404, "no_service")
    if not post.path.endswith(TOKEN):
        return Reply(403, "invalid_token")
    return Reply() if 0 < len(post.json.get("text", "")) <= 40_000 else Reply(400, "no_text")


def discord(post: Post) -> Reply:
    if post.path.partition("?")[0] != f"/api/webhooks/4174216298/{TOKEN}":
        return Reply.of(404, message="Unknown Webhook", code=10015)
    message = post.json
    if len(message["content"]) > 2000 or any(len(embed["description"]) > 4096 for embed in message["embeds"]):
        return Reply.of(400, message="Invalid Form Body", code=50035)
    return Reply.of(200, id="1") if "wait=true" in post.path else Reply(204, "")


def teams(post: Post) -> Reply:
    if not post.path.endswith(TOKEN):
        return Reply.of(401, error={"code": "DirectApiAuthorizationRequired"})
    if len(post.body) > 28 * 1024:
        return Reply.of(413, error={"code": "RequestEntityTooLarge"})
    [attachment] = post.json["attachments"]
    known = attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    return Reply(202, "") if known and attachment["content"]["type"] == "AdaptiveCard" else Reply.of(400, error={})


def google_chat(post: Post) -> Reply:
    if not post.path.endswith(TOKEN):
        return Reply.of(401, error={"code": 401, "status": "UNAUTHENTICATED"})
    if len(post.body) > 32_000 or not post.json["text"]:
        return Reply.of(400, error={"code": 400, "status": "INVALID_ARGUMENT"})
    return Reply.of(200, name="spaces/AAAA/messages/1")


def mattermost(post: Post) -> Reply:
    if post.path != f"/chat/hooks/{HOOK}":
        return Reply.of(400, id="web.incoming_webhook.invalid.app_error", status_code=400)
    return Reply() if 0 < len(post.json["text"]) <= 16_383 else Reply.of(400, id="api.context.invalid_body_param")


def telegram(post: Post) -> Reply:
    if post.path != f"/bot123456789:{TOKEN}/sendMessage":
        return Reply.of(401, ok=False, error_code=401, description="Unauthorized")
    if not 0 < len(post.json["text"]) <= 4096:
        return Reply.of(400, ok=False, error_code=400, description="Bad Request: message is too long")
    return Reply.of(200, ok=True, result={"message_id": 1, "text": post.json["text"]})


def pagerduty(post: Post) -> Reply:
    event = post.json
    wrong = [f"Length of '{name}' is incorrect" for name in ("routing_key",) if event[name] != KEY]
    if len(event["payload"]["summary"]) > 1024 or len(event["dedup_key"]) > 255 or len(post.body) > 512 * 1024:
        wrong.append("too long")
    if event["event_action"] != "trigger" or event["payload"]["severity"] not in ("critical", "error"):
        wrong.append("unknown words")
    if wrong or post.path != "/v2/enqueue":
        return Reply.of(400, status="invalid event", message="Event object is invalid", errors=wrong)
    return Reply.of(202, status="success", message="Event processed", dedup_key=event["dedup_key"])


def opsgenie(post: Post) -> Reply:
    if post.headers.get("authorization") != f"GenieKey {KEY}":
        return Reply.of(401, message="Could not authenticate", took=0.001)
    alert = post.json
    if len(alert["message"]) > 130 or len(alert["description"]) > 15_000 or len(alert["alias"]) > 512:
        return Reply.of(422, message="Request body is not processable.", took=0.001)
    return Reply.of(202, result="Request will be processed", took=0.001, requestId="43a29c5c")


def ntfy(post: Post) -> Reply:
    if post.headers.get("authorization", "Bearer tk_secret") not in ("Bearer tk_secret", "Basic YW5uOnBAc3M6dw=="):
        return Reply.of(403, code=40301, http=403, error="forbidden")
    if post.path != "/" or len(post.json["message"].encode()) > 4096:
        return Reply.of(400, code=40001, http=400, error="bad request")
    return Reply.of(200, id="sPs71M8A2T", event="message", topic=post.json["topic"])


VENDORS: dict[str, Callable[[Post], Reply]] = {
    "hooks.slack.com": slack,
    "hooks.slack-gov.com": slack,
    "discord.com": discord,
    "prod-1.westus.logic.azure.com": teams,
    "default12.34.environment.api.powerplatform.com": teams,
    "chat.googleapis.com": google_chat,
    "mm.example": mattermost,
    "api.telegram.org": telegram,
    "events.pagerduty.com": pagerduty,
    "events.eu.pagerduty.com": pagerduty,
    "api.opsgenie.com": opsgenie,
    "api.eu.opsgenie.com": opsgenie,
    "ntfy.sh": ntfy,
    "ntfy.example": ntfy,
}


@asynccontextmanager
async def services(folder: Path) -> AsyncIterator[Services]:
    """Serve all of them until the block ends; the certificate is written into the folder."""
    certificate = make_certificate(folder, *VENDORS)

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        post = Post(request.host.removesuffix(":443"), request.path_qs, headers, await request.read())
        state.posts.append(post)
        assert (request.method, request.content_type) == ("POST", "application/json")
        reply = state.replies.pop(0) if state.replies else VENDORS[post.host](post)
        return web.Response(status=reply.status, text=reply.text, headers=reply.headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls(certificate)).start()
    trust = ssl.create_default_context(cafile=certificate)
    try:
        async with (
            proxying(RawReceiver(port=runner.addresses[0][1])) as proxy,
            make_client(Networks(), tls=trust, proxy=proxy.url) as client,
        ):
            state = Services(client)
            yield state
    finally:
        await runner.cleanup()
