"""Schemes of Apprise URLs, and the services that cannot be allowed.

The lists follow Apprise 2.3. A test checks all plugins, so a new version cannot add such a service unnoticed.
"""

import re

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


def scheme_of(service: str) -> str:
    """Return the scheme in lower case. Raises ValueError, without any part of the URL, if it is not an Apprise URL."""
    match = _SCHEME.fullmatch(service)
    if not match or not service.isprintable():
        raise ValueError("must be an Apprise URL without spaces, such as slack://…: see https://appriseit.com/services")
    return match[1].lower()
