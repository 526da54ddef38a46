"""Services that Apprise supports: which are allowed, and whether their URLs are valid.

Apprise is loaded at first use, which takes 0.2 s and 25 MB. The lists of services that cannot be allowed follow Apprise
2.3: a test checks all plugins, so a new version cannot add such a service unnoticed.
"""

import logging
import re
import warnings
from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from hookkeeper.content.errors import ContentError
from hookkeeper.content.text import truncate

MAX_SERVICE = 2048
_SCHEME = re.compile(r"([A-Za-z0-9]+)://\S+", re.ASCII)

_ON_THIS_MACHINE = {
    "blink1",
    "dbus",
    "exec",
    "file",
    "gio",
    "glib",
    "gnome",
    "kde",
    "local",
    "macosx",
    "qt",
    "syslog",
    "windows",
}
"""They run programs, or use desktops, devices, logs and files of the worker's machine."""
_OWN_SOCKETS = {
    "amqp",
    "amqps",
    "aprs",
    "deltachat",
    "deltachats",
    "growl",
    "irc",
    "ircs",
    "mailto",
    "mailtos",
    "mqtt",
    "mqtts",
    "nostr",
    "rsyslog",
    "smpp",
    "smpps",
    "xmpp",
    "xmpps",
}
"""They open connections without `requests`; `mailto` would connect to any SMTP server."""
_ANY_REQUEST = {"apprise", "apprises", "form", "forms", "http", "https", "json", "jsons", "xml", "xmls"}
"""They send any request to any host; `http` is for that."""
_LOCAL_FILES = {"fcm", "vapid"}
"""They read their keys from files that the URL names."""

NEVER = frozenset(_ON_THIS_MACHINE | _OWN_SOCKETS | _ANY_REQUEST | _LOCAL_FILES)

DEFAULT_ALLOWED = (
    *("slack", "discord", "workflows", "gchat", "webex", "tgram", "line", "lark", "feishu", "dingtalk", "wecombot"),
    *("mmosts", "rockets", "zulip", "ntfys", "gotifys", "pover", "pbul"),
    *("pagerduty", "opsgenie", "splunk", "squadcast", "incidentio", "ilert", "signl4", "spike", "pagertree"),
    *("twilio", "vonage", "sns", "whatsapp"),
)
"""Allowed by default: chats, push, on-call and text messages, all over HTTPS. A test sends to each of them.

`workflows` is Microsoft Teams, `splunk` Splunk On-Call.
"""

_DROPPED_ARGUMENTS = frozenset({"cto", "format", "optional", "redirect", "retry", "rto", "wait"})
"""Arguments of every service that are dropped: the webhook's policy decides how often and how long to try.

`format` is dropped because Apprise converts other formats than text in a time that grows as the square of the size.
"""
_CLOSER = 0.75
"""Fraction of a too long text that remains after each step."""


class BadService(ContentError):
    """The URL is invalid, or uses forbidden arguments."""


class ServiceNotAllowed(BadService):
    """The operator does not allow the service, or it cannot be allowed."""


class NotificationService(NamedTuple):
    """A service and its target, ready to send."""

    sender: Any
    """An `Apprise` that sends in the thread that calls it, once."""
    plugin: Any
    """The one service in it."""

    def send(self, title: str, body: str) -> bool:
        """Send a notification, truncated to the service's limits. Apprise also returns `True` if it sent nothing."""
        body = self._cut("" if self.plugin.title_maxlen > 0 else title, body)
        return bool(self.sender.notify(body or title, title if body else "", body_format=_text()))

    def _cut(self, above: str, body: str) -> str:
        """Truncate a body to the limit that applies after conversion. Apprise would convert it fifty times for that."""
        limit: int = self.plugin.body_maxlen
        body = truncate(body, limit)
        while len(body) > 1 and len(self._converted(f"{above}\r\n{body}" if above else body)) > limit:
            body = truncate(body, int(len(body) * _CLOSER))
        return body

    def _converted(self, text: str) -> str:
        """Convert a text for the service, with markup characters escaped."""
        own = self.plugin.resolve_format(_text())
        converted: str = self.plugin.dialect_convert(_apprise().conversion.convert_between(_text(), own, text), own)
        return converted


def scheme_of(service: str) -> str:
    """Return the scheme in lower case. Raises ValueError, without any part of the URL, if it is not an Apprise URL."""
    match = _SCHEME.fullmatch(service)
    if not match or not service.isprintable():
        raise ValueError("must be an Apprise URL without spaces, such as slack://…: see https://appriseit.com/services")
    return match[1].lower()


def load() -> None:
    """Load Apprise, if it is not loaded yet."""
    _manager()


def check_service(url: str, allowed: Collection[str]) -> None:
    """Raise ValueError, whose message contains no secret, for a service that cannot be used.

    `allowed`: schemes that the operator allows. Blocks for 0.2 s if Apprise is not loaded yet.
    """
    service_of(url, allowed)
    arguments = {name.lower(): value for name, value in parse_qsl(url.partition("?")[2])}
    if arguments.get("format", "text").lower() != "text":
        raise BadService(
            "must not have format=…: notifications are plain text; use http to call a service's API with its own markup"
        )


def service_of(url: str, allowed: Collection[str]) -> NotificationService:
    """Parse the URL of a service, without a connection. Raises BadService."""
    scheme = _scheme(url, allowed)
    if scheme not in _manager():
        raise BadService(f"{scheme}:// is not a service that Apprise supports: see https://appriseit.com/services")
    try:
        return _read(scheme, url)
    except BadService:
        raise
    except Exception:  # noqa: BLE001 (plugins raise anything for URLs that they do not expect: see the tests)
        raise _unreadable(scheme) from None


def _read(scheme: str, url: str) -> NotificationService:
    arguments = _apprise().plugins.url_to_dict(url)
    if not arguments or arguments["schema"] != scheme:
        raise _unreadable(scheme)
    if not arguments.get("verify", True):
        raise BadService("must not have verify=no: certificates are always verified")
    arguments = {name: value for name, value in arguments.items() if name not in _DROPPED_ARGUMENTS}
    arguments["overflow"] = "truncate"
    plugin = _apprise().Apprise.instantiate(arguments, asset=_asset())
    if plugin is None:
        raise _unreadable(scheme)
    if any(isinstance(value, _apprise().AppriseAttachment) and len(value) for value in vars(plugin).values()):
        raise BadService("must not name a file")
    if len(plugin) != 1:
        raise BadService(f"has {len(plugin)} targets: use one notification for each")
    plugin.throttle = _no_throttle
    return NotificationService(_apprise().Apprise(plugin, asset=_asset()), plugin)


def _text() -> Any:
    return _apprise().NotifyFormat.TEXT


def _no_throttle(*_: Any, **__: Any) -> None:
    """Replaces the pause of a plugin before a request: when to send is the webhook's policy."""


_FOR_A_URL = (
    "; for a URL, use `http`; for Slack, write slack://T…/B…/… in place of https://hooks.slack.com/services/T…/B…/…"
)


def _scheme(url: str, allowed: Collection[str]) -> str:
    try:
        scheme = scheme_of(url)
    except ValueError as exc:
        raise BadService(str(exc)) from None
    usable = set(allowed) - NEVER
    if scheme not in usable:
        names = ", ".join(sorted(usable)) or "none"
        hint = _FOR_A_URL if scheme in ("http", "https") else ""
        raise ServiceNotAllowed(f"{scheme}:// is not allowed here; allowed: {names}{hint}")
    return scheme


def _unreadable(scheme: str) -> BadService:
    return BadService(f"is no URL that {scheme}:// understands: see {_manager()[scheme].setup_url}")


@cache
def _apprise() -> Any:
    """Load Apprise and disable its log lines, which contain parts of URLs and therefore secrets."""
    import apprise

    logger = logging.getLogger(apprise.LOGGER_NAME)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    return apprise


@cache
def _manager() -> Any:
    """Load Apprise's plugins and disable those that cannot be allowed."""
    manager = _apprise().NotificationManager()
    warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)  # its plugin for emails asks
    manager.load_modules()
    manager.disable(*NEVER)
    for kind in {kind for plugin in manager.plugins() for kind in plugin.__mro__ if "__del__" in vars(kind)}:
        del kind.__del__  # it would send an unguarded logout request from any thread that collects garbage
    return manager


@cache
def _asset() -> Any:
    """Return Apprise's settings: our name, and no pictures, threads, files or redirects."""
    return _apprise().AppriseAsset(
        app_id="Hookkeeper",
        app_desc="Hookkeeper",
        async_mode=False,
        service_timeout=0,
        image_url_mask="",
        image_url_logo="",
        image_path_mask=False,
        http_redirects=False,
        storage_mode="memory",
        pgp_autogen=False,
        pem_autogen=False,
        allow_templates=False,
    )
