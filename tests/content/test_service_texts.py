"""Nobody is mentioned by a text of a tenant or receiver, and no link in it hides its address."""

import pytest

from hookkeeper.content.apprise_services import DEFAULT_ALLOWED
from hookkeeper.content.service_texts import PLAIN, ZERO_WIDTH, inert

ACTED_ON = {
    "slack": ("@here", "@channel"),  # with `link_names`; Apprise escapes `<!channel>`, see `test_default_services.py`
    "discord": ("@everyone", "x@everyone", "@here", "<@123>", "<@!123>", "<@&123>", "[a](https://evil.example)"),
    "mmosts": (
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
    "rockets": ("@all", "@here", "@ann", "[a](https://evil.example)", "<https://evil.example|a>"),
    "zulip": ("@**all**", "@**Ann Lee**", "@*admins*", "@_**Ann**", "![a](https://evil.example)"),
    "gchat": ("<users/all>", "<users/123>", "<https://evil.example|Click>"),
    "workflows": ("<at>Ann</at>", "[a](https://evil.example)"),
    "webex": ("<@all>", "<@personEmail:ann@acme.example>", "[a](https://evil.example)"),
    "tgram": ("@ann",),
    "lark": ('<at user_id="all">',),
    "feishu": ('<at user_id="all">',),
    "dingtalk": ("@13800000000",),
    "wecombot": ("<@ann>", "@all"),
}
"""By service: what its documentation says of mentions, and of links with another text."""


@pytest.mark.parametrize(
    ("service", "said"), [(service, said) for service, texts in ACTED_ON.items() for said in texts]
)
@pytest.mark.parametrize("around", ["{}", "error: {}, again", "_{0}_ {0}"])
def test_a_mention_or_hidden_link_is_inert_and_looks_the_same(service: str, said: str, around: str) -> None:
    text = around.format(said)
    made = inert(text, service)
    assert said not in made
    assert made.replace(ZERO_WIDTH, "") == text


@pytest.mark.parametrize(
    "text", ["ann@acme.example", "5 < 6 > 4", "a @ b", "[x] (y)", "https://acme.example/", "", "@"]
)
@pytest.mark.parametrize("service", ["slack", "discord", "unknown"])
def test_a_text_without_them_is_not_changed(text: str, service: str) -> None:
    assert inert(text, service) == text


def test_each_service_is_a_chat_with_known_mentions_or_has_none() -> None:
    assert PLAIN | ACTED_ON.keys() == set(DEFAULT_ALLOWED)
    assert all(inert("@all <!here>", service) == "@all <!here>" for service in PLAIN)
    assert inert("@all", "a service that only the operator allows") != "@all"
