"""Makes mentions and hidden links in a text inert, for services that would act on them. Pure.

Tenants and receivers write into notifications: an error that contains `@everyone` must not call the operator's team.
A zero-width space, which shows nothing, breaks each beginning of a mention or link, unless the service has an escape:

| Service | What it acts on | What its documentation names |
|---|---|---|
| Slack | `<!channel>`, `<@U…>`, `<!subteam^…>`, `<url|text>` | `&lt;`, `&gt;`, `&amp;`, which Apprise writes too |
| Discord | `@everyone`, `@here`, `<@…>`, Markdown | `"allowed_mentions": {"parse": []}`; Apprise cannot send it |
| Mattermost | `@all`, `@channel`, `@here`, `@user`, what Slack does, Markdown | nothing |
| Rocket.Chat | `@all`, `@here`, `@user`, Markdown | nothing |
| Zulip | `@**all**`, `@**user**`, `@*group*`, Markdown | nothing; `@_**user**` does not notify |
| Google Chat | `<users/all>`, `<users/…>`, `<url|text>` | nothing |
| Teams | `<at>…</at>`, and only with `msteams.entities`; Markdown | no `entities`, as Apprise does |
| Webex | `<@all>`, `<@personEmail:…>`, Markdown | nothing |
| Telegram | `@user`; HTML | `&lt;`, `&gt;`, `&amp;`, which Apprise writes; nothing for `@user` |
| Lark, Feishu | `<at user_id="all">` | nothing in texts |
| DingTalk, WeCom | `@…`, and only with a list beside the text; `<@…>` | no list, as Apprise does |
"""

import re

ZERO_WIDTH = "\u200b"
PLAIN = frozenset(
    {
        *("twilio", "vonage", "sns", "whatsapp", "line"),  # where another character also costs a longer message
        *("ntfys", "gotifys", "pover", "pbul"),
        *("pagerduty", "opsgenie", "splunk", "squadcast", "incidentio", "ilert", "signl4", "spike", "pagertree"),
    }
)
"""Services where nothing in a text mentions anybody, by scheme. All others are taken for chats."""
ESCAPED = frozenset({"slack", "tgram"})
"""Services that document entities for `<`, `>` and `&`, which Apprise writes, and that read no other markup of it."""
_MENTION = re.compile(
    r"@(?=everyone|here|channel|all\b)"  # Discord looks for them in words, too
    r"|(?<![^\W_])@(?=[\w*&!])",  # not in `ann@acme.example`
    re.IGNORECASE,
)
_MARKUP = re.compile(r"<(?=\S)|\](?=[(\[:])")


def inert(text: str, service: str) -> str:
    """Return a text that mentions nobody, and whose links show where they lead. `service`: the scheme, as `slack`."""
    if service in PLAIN:
        return text
    text = _MENTION.sub(_broken, text)
    return text if service in ESCAPED else _MARKUP.sub(_broken, text)


def _broken(beginning: re.Match[str]) -> str:
    return beginning[0] + ZERO_WIDTH
