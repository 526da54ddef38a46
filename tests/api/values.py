"""Values that are sensible for a field, by its name; and strange ones, for any."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]
NOW = datetime.now(UTC)


def seldom(strange: Strategy, usual: Strategy) -> Strategy:
    return st.integers(0, 39).flatmap(lambda dice: strange if dice == 7 else usual)


def known(kind: str) -> Strategy:
    return st.integers(0, 9).map(lambda n: f"<{kind} {n}>")


text = st.text(max_size=20) | st.sampled_from(["", "*", "a.b", "é", "\0", "\n", "null", "{{ event.data }}", "{% if %}"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | text
    | st.sampled_from([10**400, 2**63, "\ud800", -1, 1e300])
)
anything = st.recursive(
    scalars, lambda each: st.lists(each, max_size=4) | st.dictionaries(text, each, max_size=4), max_leaves=12
)
times = st.timedeltas(timedelta(minutes=-2), timedelta(days=2)).map(lambda off: (NOW + off).isoformat())
addresses = st.sampled_from(
    ["ann@acme.example", "Ann <ann@acme.example>", "{{ event.data.to }}", "ann", "ann@bücher.example"]
)
templates = (
    st.sampled_from(["{{ event.type }}", '{"a": {{ event.data }}}', "{{ event.data.a.b }}", "{% for", "plain"]) | text
)
types = st.sampled_from(["order.paid", "user.created", "known.type"])
tenants = seldom(st.sampled_from(["acme", "default"]), known("tenant"))
USUAL: dict[str, Strategy] = {
    "tenant": tenants,
    "webhook_id": known("webhook"),
    "webhook": known("webhook"),
    "event_id": known("event"),
    "id": known("event") | st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
    "idempotency-key": known("event") | st.from_regex(r"[a-z]{1,12}", fullmatch=True),
    "delivery": known("webhook"),
    "deliver_at": st.timedeltas(timedelta(hours=1), timedelta(days=3)).map(lambda off: (NOW + off).isoformat()),
    "key_id": known("key"),
    "cursor": known("cursor"),
    "url": known("receiver") | st.sampled_from(["https://acme.example/hook", "http://acme.example"]),
    "type": types,
    "name": types,
    "event": types,
    "events[]": st.sampled_from(["*", "order.*", "order.paid", "known.type"]),
    "filter": st.sampled_from(["true", "event.data.amount > 1", "event.type == 'a'", "event.", "1 / 0 == 1"]) | text,
    "service": st.sampled_from(["slack://a/b/c", "json://localhost", "x"]) | text,
    "address": addresses | st.just("<address 0>"),
    "reply_to": addresses,
    **{f"{field}[]": addresses for field in ("to", "cc", "bcc")},
    **dict.fromkeys(("template", "text", "html", "subject", "body", "title"), templates),
    "secret": st.binary(min_size=20, max_size=66).map(lambda raw: f"whsec_{b64encode(raw).decode()}"),
    "schema": st.sampled_from([{"type": "object"}, {"type": "nothing"}, {"$ref": "https://acme.example/"}, True])
    | anything,
}
"""What the schema of a field does not say, by the field's name."""
