"""The services that notifications can go to, as data: the addresses that users give, and the request for a text.

Each follows its vendor's documentation, which is named beside it. All are ordinary HTTP requests of
`hookkeeper.egress.http`. Any other service is called with `http` (`hookkeeper.content.notifications`).

Texts are shown as they are written. Tenants and receivers write into them: an error that contains `@everyone` must not
call the operator's team, and a link must show where it leads. Where a service has a switch or an escape for that, it is
used; elsewhere a zero-width space, which shows nothing, breaks each beginning of a mention or link.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote

from hookkeeper.content.headers import MASK, check_value
from hookkeeper.content.text import truncate
from hookkeeper.content.urls import check_url

MAX_ADDRESS = 2048
ZERO_WIDTH = "\u200b"
_MENTION = re.compile(
    r"@(?=everyone|here|channel|all\b)"  # Discord looks for them in words, too
    r"|(?<![^\W_])@(?=[\w*&!])",  # not in `ann@acme.example`
    re.IGNORECASE,
)
_MARKUP = re.compile(r"<(?=\S)|\](?=[(\[:])")
_CLOSER = 0.75
"""Fraction of a too long text that remains after each step."""


class Note(NamedTuple):
    title: str
    body: str
    key: str = ""
    """The same for each attempt, and for all alerts of a webhook's incident, so that they open no second incident."""
    resolves: bool = False
    """The incident with this key is over."""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST request with JSON."""

    url: str
    content: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    forms: tuple[str, ...]
    """For people: how its addresses look."""
    address: re.Pattern[str]
    """Its named groups are secrets."""
    request: Callable[[re.Match[str], Note], Request]
    accepted: re.Pattern[bytes] = field(default=re.compile(b""))
    """How a 2xx response begins unless there is an error in it."""


def name_of(address: str) -> str:
    """Return the name of the service, as `slack`. Raises ValueError, without any part of the address."""
    return _find(address)[0].name


def masked(address: str) -> str:
    """Return the address for display: `slack://********`."""
    return f"{name_of(address)}://{MASK}"


def check(address: str) -> str:
    """Return the address, which may be masked, or raise ValueError without any part of it."""
    service, at = _find(address)
    if at:
        request = service.request(at, Note("", ""))
        check_url(request.url)
        for name, value in request.headers.items():
            check_value(name, value)
    return address


def url_of(address: str) -> str:
    """Return the URL of the requests. Raises ValueError."""
    return request_of(address, Note("", "")).url


def request_of(address: str, note: Note) -> Request:
    """Return the request that sends a text, shortened to what the service takes. Raises ValueError."""
    service, at = _find(address)
    if at is None:
        raise ValueError("is a mask")
    return service.request(at, note)


def secrets_of(address: str) -> dict[str, str]:
    """Return the parts of an address that must not appear anywhere, by their names."""
    at = _find(address)[1]
    return {name: unquote(value) for name, value in at.groupdict().items() if value} if at else {}


def is_accepted(address: str, body: bytes) -> bool:
    """Return whether the body of a 2xx response says no error."""
    return _find(address)[0].accepted.match(body) is not None


def is_address(url: str) -> bool:
    """Return whether a URL is that of a service."""
    return any(service.address.fullmatch(url) for service in SERVICES)


def _find(address: str) -> tuple[Service, re.Match[str] | None]:
    """Return the service, and how its pattern matches; None for a masked address."""
    for service in SERVICES:
        if at := service.address.fullmatch(address):
            return service, at
        if address == f"{service.name}://{MASK}":
            return service, None
    scheme = address.partition("://")[0]
    own = [service for service in SERVICES if any(form.startswith(f"{scheme}://") for form in service.forms)]
    meant = own if scheme != "https" and own else SERVICES
    forms = "; ".join(f"{service.name}: {' or '.join(service.forms)}" for service in meant)
    raise ValueError(f"must be the address of a service ({forms}); use http for any other")


def inert(text: str, *, markup: bool = True) -> str:
    """Return a text without working mentions. `markup`: the service also reads links in it, which then hide nothing."""
    text = _MENTION.sub(_broken, text)
    return _MARKUP.sub(_broken, text) if markup else text


def _broken(beginning: re.Match[str]) -> str:
    return beginning[0] + ZERO_WIDTH


def _fit(text: str, limit: int, write: Callable[[str], str] = str, size: Callable[[str], int] = len) -> str:
    """Write a text so that its size is at most `limit`, shortened if it must be."""
    text = truncate(text, limit)
    while size(written := write(text)) > limit:
        text = truncate(text, int(len(text) * _CLOSER))
    return written


def _bytes(text: str) -> int:
    """Return the bytes of a text in JSON."""
    return len(json.dumps(text, ensure_ascii=False).encode())


def _together(note: Note) -> str:
    return "\n".join(filter(None, (note.title, note.body)))


def _slack(at: re.Match[str], note: Note) -> Request:
    """https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks, and "Formatting message text": `&`,
    `<` and `>` are written as entities; a text has at most 40,000 characters."""
    text = _fit(_together(note), 40_000, _slack_text)
    host = at["host"] or "hooks.slack.com"
    content = {"text": text, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
    return Request(f"https://{host}/services/{at['path']}", content)


def _slack_text(text: str) -> str:
    text = inert(text, markup=False)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _discord(at: re.Match[str], note: Note) -> Request:
    """https://discord.com/developers/docs/resources/webhook#execute-webhook: 2,000 characters, and 4,096 of an embed.

    Without `wait`, a message that is not saved is no error.
    """
    thread = f"&thread_id={at['thread']}" if at["thread"] else ""
    content = {
        "content": _fit(note.title, 2000, inert),
        "embeds": [{"description": _fit(note.body, 4096, inert)}],
        "allowed_mentions": {"parse": []},
    }
    return Request(f"https://discord.com/api/webhooks/{at['path']}?wait=true{thread}", content)


def _teams(at: re.Match[str], note: Note) -> Request:
    """https://learn.microsoft.com/connectors/teams: "When a Teams webhook request is received", with an Adaptive Card.

    A `TextRun` reads no Markdown, and mentions would need `msteams.entities`. A message has at most 28 KB.
    """
    blocks = [
        {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, "weight": weight}]}
        for text, weight in ((note.title, "Bolder"), (_fit(note.body, 20_000, size=_bytes), "Default"))
        if text
    ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return Request(at["url"], {"type": "message", "attachments": [attachment]})


def _google_chat(at: re.Match[str], note: Note) -> Request:
    """https://developers.google.com/workspace/chat/quickstart/webhooks: at most 32,000 bytes, with all fields."""
    return Request(at["url"], {"text": _fit(_together(note), 30_000, inert, _bytes)})


def _mattermost(at: re.Match[str], note: Note) -> Request:
    """https://developers.mattermost.com/integrate/webhooks/incoming: a post has at most 16,383 characters."""
    return Request(at["url"], {"text": _fit(_together(note), 16_383, inert)})


def _telegram(at: re.Match[str], note: Note) -> Request:
    """https://core.telegram.org/bots/api#sendmessage: without `parse_mode`, a text has no markup; 4,096 characters."""
    text = _fit(_together(note), 4096, lambda text: inert(text, markup=False))
    content: dict[str, Any] = {"chat_id": at["chat"], "text": text, "link_preview_options": {"is_disabled": True}}
    if at["topic"]:
        content["message_thread_id"] = int(at["topic"])
    return Request(f"https://api.telegram.org/bot{at['bot']}:{at['token']}/sendMessage", content)


def _pagerduty(at: re.Match[str], note: Note) -> Request:
    """https://developer.pagerduty.com/docs/events-api-v2: a summary of 1,024 characters, 512 KB in total."""
    content = {
        "routing_key": at["key"],
        "event_action": "resolve" if note.resolves else "trigger",
        "dedup_key": note.key,
        "payload": {
            "summary": _fit(note.title or note.body, 1024),
            "source": "Hookkeeper",
            "severity": "error",
            "custom_details": {"text": _fit(note.body, 60_000)},
        },
    }
    return Request(f"https://events.{'eu.' if at['eu'] else ''}pagerduty.com/v2/enqueue", content)


def _opsgenie(at: re.Match[str], note: Note) -> Request:
    """https://docs.opsgenie.com/docs/alert-api#create-alert: a message of 130, a description of 15,000 characters.

    "Close Alert" names an alert by its alias, and takes a note of 25,000 characters.
    """
    url = f"https://api.{'eu.' if at['eu'] else ''}opsgenie.com/v2/alerts"
    headers = {"authorization": f"GenieKey {at['key']}"}
    if note.resolves:
        content: dict[str, Any] = {"source": "Hookkeeper", "note": _fit(_together(note), 15_000)}
        return Request(f"{url}/{note.key}/close?identifierType=alias", content, headers)
    content = {
        "message": _fit(note.title or note.body, 130),
        "description": _fit(note.body, 15_000),
        "alias": note.key,
        "source": "Hookkeeper",
    }
    return Request(url, content, headers)


def _ntfy(at: re.Match[str], note: Note) -> Request:
    """https://docs.ntfy.sh/publish/#publish-as-json: a message of 4,096 bytes; a longer one becomes a file."""
    content = {"topic": at["topic"], "title": note.title, "message": _fit(note.body, 4096, size=_bytes)}
    headers = {}
    if at["user"]:
        user = unquote(at["user"])
        basic = f"Basic {b64encode(user.encode()).decode()}"
        headers["authorization"] = basic if ":" in user else f"Bearer {user}"
    scheme = "http" if at[0].startswith("ntfy://") else "https"
    return Request(f"{scheme}://{at['host']}/", content, headers)


def _address(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


SERVICES = (
    Service(
        "slack",
        ("https://hooks.slack.com/services/T…/B…/…", "slack://T…/B…/…"),
        _address(r"(?:https://(?P<host>hooks\.slack(?:-gov)?\.com)/services/|slack://)(?P<path>\w+/\w+/\w+)/?"),
        _slack,
        re.compile(rb"\s*ok"),
    ),
    Service(
        "discord",
        ("https://discord.com/api/webhooks/ID/TOKEN", "discord://ID/TOKEN"),
        _address(
            r"(?:https://(?:(?:ptb|canary)\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/|discord://)"
            r"(?P<path>\d+/[\w-]+)/?(?:\?thread_id=(?P<thread>\d+))?"
        ),
        _discord,
    ),
    Service(
        "teams",
        ("https://….logic.azure.com/workflows/…", "https://….api.powerplatform.com/…/workflows/…"),
        _address(
            r"(?P<url>https://[\w.-]+\.(?:logic\.azure|api\.powerplatform)\.(?:com|us|cn)(?::443)?"
            r"/(?:[\w-]+/)*workflows/[^\s#]+)"
        ),
        _teams,
    ),
    Service(
        "googlechat",
        ("https://chat.googleapis.com/v1/spaces/…/messages?key=…&token=…",),
        _address(r"(?P<url>https://chat\.googleapis\.com/v1/spaces/[\w-]+/messages\?[^\s#]+)"),
        _google_chat,
    ),
    Service(
        "mattermost",
        ("https://HOST/hooks/KEY",),
        _address(r"(?P<url>https?://[^/?#\s@]+(?:/[\w.-]+)*/hooks/[a-z0-9]{26})/?"),
        _mattermost,
    ),
    Service(
        "telegram",
        ("telegram://BOT_TOKEN/CHAT_ID",),
        _address(r"(?:telegram|tgram)://(?P<bot>\d+):(?P<token>[\w-]+)/(?P<chat>-?\d+|@\w+)(?::(?P<topic>\d+))?/?"),
        _telegram,
        re.compile(rb'\s*\{\s*"ok"\s*:\s*true'),
    ),
    Service(
        "pagerduty",
        ("pagerduty://ROUTING_KEY", "pagerduty://ROUTING_KEY?region=eu"),
        _address(r"pagerduty://(?P<key>\w{32})/?(?P<eu>\?region=eu)?"),
        _pagerduty,
    ),
    Service(
        "opsgenie",
        ("opsgenie://API_KEY", "opsgenie://API_KEY?region=eu"),
        _address(r"opsgenie://(?P<key>[\w-]{16,64})/?(?P<eu>\?region=eu)?"),
        _opsgenie,
    ),
    Service(
        "ntfy",
        ("https://ntfy.sh/TOPIC", "ntfys://HOST/TOPIC", "ntfys://TOKEN@HOST/TOPIC", "ntfys://USER:PASSWORD@HOST/TOPIC"),
        _address(
            r"(?:https://(?=ntfy\.sh/)|ntfys?://(?:(?P<user>[^/?#\s@]+)@)?)(?P<host>[^/?#\s@]+)/(?P<topic>[\w-]{1,64})/?"
        ),
        _ntfy,
    ),
)
