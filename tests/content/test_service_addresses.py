"""The addresses of services, and texts in which nobody is mentioned and no link hides its address."""

import json

import pytest

from cases import each
from hookkeeper.content.headers import MASK
from hookkeeper.content.services import (
    SERVICES,
    ZERO_WIDTH,
    Note,
    check,
    inert,
    is_address,
    masked,
    name_of,
    request_of,
    url_of,
)

TOKEN = "TIiajkdnlazkcOXrIdevi7FQ"
KEY = "0123456789abcdef0123456789abcdef"
ADDRESSES = {
    "slack": f"https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/{TOKEN}",
    "discord": f"https://discord.com/api/webhooks/1/{TOKEN}",
    "teams": f"https://a.logic.azure.com/workflows/w/triggers/manual/paths/invoke?sig={TOKEN}",
    "googlechat": f"https://chat.googleapis.com/v1/spaces/A/messages?key=k&token={TOKEN}",
    "mattermost": "http://127.0.0.1:8065/hooks/abcdefghijklmnopqrstuvwxyz",
    "telegram": f"telegram://1:{TOKEN}/2",
    "pagerduty": f"pagerduty://{KEY}",
    "opsgenie": f"opsgenie://{KEY}",
    "ntfy": f"ntfys://{TOKEN}@ntfy.example/topic",
}


@each("name", ADDRESSES)
def test_an_address_is_recognised_and_shown_without_its_secrets(name: str) -> None:
    address = ADDRESSES[name]
    assert (check(address), name_of(address), masked(address)) == (address, name, f"{name}://{MASK}")
    mask = masked(address)
    assert (check(mask), name_of(mask), masked(mask)) == (mask, name, mask)


@each(
    ("address", "sentence"),
    [
        (f"hooks.slack.com/services/T/B/{TOKEN}", "must be the address of a service (slack: https://hooks.slack.com/"),
        (f"gotify://host/{TOKEN}", "must be the address of a service (slack: https://hooks.slack.com/"),
        (f"https://hooks.slack.com.evil.example/services/T/B/{TOKEN}", "must be the address of a service (slack: "),
        (f"https://evil.example/?https://hooks.slack.com/services/T/B/{TOKEN}", "must be the address of a service"),
        (f"https://chat.example/hooks/ID/{TOKEN}", "must be the address of a service (slack: "),
        (f"slack://{TOKEN}", "must be the address of a service (slack: https://hooks.slack.com/services/T…/B…/… or"),
        (f"slack://T/B/{TOKEN}\n", "must be the address of a service (slack: "),
        (f"telegram://{TOKEN}", "must be the address of a service (telegram: telegram://BOT_TOKEN/CHAT_ID)"),
        (f"pagerduty://{TOKEN}", "must be the address of a service (pagerduty: pagerduty://ROUTING_KEY"),
        (f"pagerduty://{KEY}?region=us", "must be the address of a service (pagerduty: "),
        (f"ntfys://{TOKEN}@ntfy.example/one/two", "must be the address of a service (ntfy: "),
        (f"ntfys://{TOKEN}%0d%0ax@ntfy.example/topic", "the value of authorization must be"),
        (f"ntfys://{TOKEN}@ntfy.example:99999/topic", "has a port that is not between 1 and 65535"),
        (f"ntfys://{TOKEN}@ntfy<.example/topic", "must be printable ASCII"),
    ],
)
def test_another_address_is_refused_without_its_secrets(address: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        check(address)
    assert str(caught.value).startswith(sentence)
    assert TOKEN not in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_refusal_lists_every_service_and_the_way_to_others() -> None:
    with pytest.raises(ValueError, match="use http for any other") as caught:
        check("gotify://host/token")
    assert not [service.name for service in SERVICES if f"{service.name}: " not in str(caught.value)]


def test_a_mask_cannot_be_sent_to() -> None:
    with pytest.raises(ValueError, match="is a mask"):
        url_of(f"slack://{MASK}")


def test_the_url_of_a_service_that_anybody_can_run_is_known_before_it_is_sent_to() -> None:
    assert url_of(ADDRESSES["mattermost"]) == ADDRESSES["mattermost"]
    assert url_of("ntfy://10.0.0.1:8080/topic") == "http://10.0.0.1:8080/"
    assert is_address(ADDRESSES["mattermost"])
    assert not is_address("https://acme.example/hooks/orders")


ACTED_ON = {
    "slack": ("@here", "@channel", "<!channel>", "<@U123>", "<https://evil.example|Click>"),
    "discord": ("@everyone", "x@everyone", "@here", "<@123>", "<@!123>", "<@&123>", "[a](https://evil.example)"),
    "mattermost": (
        "@all",
        "@channel",
        "@Here",
        "@ann",
        "(@ann)",
        "<!channel>",
        "<5fb5f7iw8>",
        "[a][1]",
        "[1]: https://e.x",
    ),
    "googlechat": ("<users/all>", "<users/123>", "<https://evil.example|Click>"),
    "telegram": ("@ann",),
}
"""By service: what its documentation says of mentions, and of links with another text."""


@each(("service", "said"), [(service, said) for service, texts in ACTED_ON.items() for said in texts])
@each("around", ["{}", "error: {}, again", "_{0}_ {0}"])
def test_a_mention_or_hidden_link_is_inert_and_looks_the_same(service: str, said: str, around: str) -> None:
    text = around.format(said)
    sent = json.dumps(request_of(ADDRESSES[service], Note(text, text)).content, ensure_ascii=False)
    assert said not in sent
    assert sent.replace(ZERO_WIDTH, "").replace("&lt;", "<").replace("&gt;", ">").count(text) == 2


@each("service", ["teams", "pagerduty", "opsgenie", "ntfy"])
def test_a_service_that_acts_on_nothing_gets_the_text_as_it_is(service: str) -> None:
    text = "@all <!here> <at>Ann</at> [a](https://evil.example)"
    assert text in json.dumps(request_of(ADDRESSES[service], Note(text, text)).content)
    assert set(ADDRESSES) == {*ACTED_ON, "teams", "pagerduty", "opsgenie", "ntfy"}


@each("text", ["ann@acme.example", "5 < 6 > 4", "a @ b", "[x] (y)", "https://acme.example/", "", "@"])
def test_a_text_without_them_is_not_changed(text: str) -> None:
    assert inert(text) == text
