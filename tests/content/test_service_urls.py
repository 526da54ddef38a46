"""Whether a service's URL can be used: the errors are sentences without secrets."""

import subprocess
import sys
from importlib import import_module

import pytest

from hookkeeper.content.apprise_services import NEVER, BadService, ServiceNotAllowed, check_service, load, service_of

TOKEN = "TIiajkdnlazkcOXrIdevi7FQ"
SLACK = f"slack://T1JJ3T3L2/A1BRTD4JD/{TOKEN}"
ALLOWED = ("slack", "discord", "ntfy", "ntfys", "tgram", "workflows", "nosuch")


@pytest.mark.parametrize(
    "url",
    [
        SLACK,
        f"{SLACK}/?footer=no",
        f"{SLACK}/?format=Text",
        f"SLACK://bot@T1JJ3T3L2/A1BRTD4JD/{TOKEN}/%23general",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "ntfys://user:password@ntfy.example/topic",
        "tgram://123456789:abcdefg_hijklmnop/12345678",
    ],
)
def test_a_usable_service_url_is_accepted(url: str) -> None:
    check_service(url, ALLOWED)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (f"hooks.slack.com/services/{TOKEN}", "must be an Apprise URL"),
        (f"slack://{TOKEN} ", "must be an Apprise URL"),
        (f"slack://{TOKEN}", "is no URL that slack:// understands: see https://appriseit.com/services/slack/"),
        (f"tgram://{TOKEN}", "is no URL that tgram:// understands"),  # over which its plugin stumbles
        (f"nosuch://{TOKEN}", "nosuch:// is not a service that Apprise supports"),
        (f"{SLACK}?verify=no", "must not have verify=no"),
        (f"{SLACK}?template=/etc/passwd", "must not name a file"),
        (f"{SLACK}?template=http%3A%2F%2F127.0.0.1%2F", "must not name a file"),
        (f"{SLACK}/%23one/%23two", "has 2 targets"),
        (f"tgram://123456789:{TOKEN}/1234/5678", "has 2 targets"),
        (f"{SLACK}?format=markdown", "must not have format=…: notifications are plain text"),
        (f"{SLACK}?Format=HTML", "must not have format=…: notifications are plain text"),
        (f"{SLACK}?template={TOKEN}://x", "is no URL that slack:// understands"),
    ],
)
def test_an_unusable_service_url_is_refused_without_its_secrets(url: str, sentence: str) -> None:
    with pytest.raises(BadService) as caught:
        check_service(url, ALLOWED)
    assert str(caught.value).startswith(sentence)
    assert TOKEN not in str(caught.value)
    assert not isinstance(caught.value, ServiceNotAllowed)


@pytest.mark.parametrize("url", [f"gotify://host/{TOKEN}", f"https://hooks.slack.com/services/{TOKEN}"])
def test_a_service_that_is_not_allowed_is_refused(url: str) -> None:
    with pytest.raises(ServiceNotAllowed, match="is not allowed here; allowed: discord, nosuch, ntfy, ntfys, slack"):
        check_service(url, ALLOWED)


def test_the_address_of_an_incoming_webhook_is_explained() -> None:
    """It is what Slack shows, and what people paste."""
    with pytest.raises(ServiceNotAllowed, match=r"for a URL, use `http`; for Slack, write slack://T…/B…/…") as caught:
        check_service(f"https://hooks.slack.com/services/{TOKEN}", ALLOWED)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("scheme", sorted(NEVER))
def test_a_service_that_is_never_allowed_is_refused(scheme: str) -> None:
    with pytest.raises(ServiceNotAllowed, match=f"{scheme}:// is not allowed here; allowed: none"):
        check_service(f"{scheme}://host/path", (scheme,))


def test_arguments_that_are_ours_to_decide_are_dropped() -> None:
    [plugin] = service_of(f"{SLACK}?retry=3&wait=9&optional=yes&redirect=yes&rto=99&overflow=split", ALLOWED)[0]
    assert (plugin.retry, plugin.optional, plugin.redirects) == (0, False, False)
    assert plugin.overflow_mode == "truncate"
    assert plugin.verify_certificate


def test_no_plugin_makes_requests_when_it_is_thrown_away() -> None:
    load()
    plugins = list(import_module("apprise").NotificationManager().plugins())
    assert len(plugins) > 100
    assert not [plugin for plugin in plugins if hasattr(plugin, "__del__")]


def test_apprise_is_loaded_at_first_use() -> None:
    """The API imports this module at its start, and Apprise takes 0.2 s."""
    imports = "import hookkeeper.content.apprise_services, hookkeeper.egress.apprise_sender, sys"
    code = f"{imports}; assert not {{'apprise', 'requests'}} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
