"""Bodies: standard, shaped by a template, forms and CloudEvents, read back by the libraries that receivers use."""

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from samples import WHEN, seeing

from cases import each
from hookkeeper.content import payload
from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.payload import Body, Payload, body_of

FORM = "application/x-www-form-urlencoded"
STANDARD = '{"id":"evt_1","type":"order.paid","timestamp":"2026-01-02T03:04:05.678Z","data":{"z":"ü","a":[1,null]}}'
DATA = {"z": "ü", "a": [1, None]}

words = st.text(max_size=8)
numbers = st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
)


def made(data: Any = DATA, **fields: Any) -> Body:
    return body_of(Payload(**fields), seeing(data))


def text(data: Any = DATA, **fields: Any) -> str:
    return made(data, **fields).content.decode()


def test_without_a_payload_the_body_is_the_standard_one() -> None:
    assert body_of(None, seeing(DATA)) == (STANDARD.encode(), {"content-type": "application/json"})
    assert made() == body_of(None, seeing(DATA))


@given(data=values)
def test_the_standard_body_is_the_event_as_json(data: Any) -> None:
    body = body_of(None, seeing(data)).content
    head, separator, _ = STANDARD.encode().partition(b'"data":')
    assert body == head + separator + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"}"
    assert json.loads(body)["data"] == data


def test_static_fields_come_after_the_standard_ones() -> None:
    assert text(static={"env": "prod", "n": {"b": 1, "a": 2}}) == STANDARD[:-1] + ',"env":"prod","n":{"b":1,"a":2}}'


@each(
    ("template", "body"),
    [
        ('{"text": {{ event.data.z }}}', '{"text": "ü"}'),
        ('{"all": {{ event.data }}, "env": {{ static.env }}}', '{"all": {"z":"ü","a":[1,null]}, "env": "prod"}'),
        ("[{{ event.id }}, {{ webhook.name }}]\n", '["evt_1", "Orders"]\n'),
        ('{{ "a" if event.data.a else "b" }}', '"a"'),
    ],
)
def test_a_json_template_is_sent_as_it_is_rendered(template: str, body: str) -> None:
    rendered = text(template=template, static={"env": "prod"})
    assert rendered == body
    assert json.loads(rendered) == json.loads(body)


@given(data=words | st.dictionaries(words, words, max_size=3))
def test_an_expression_in_a_json_template_is_a_json_value(data: Any) -> None:
    body = made({"x": data}, template='{"a": {{ event.data.x }}, "b": [{{ event.data.x }}]}').content
    assert json.loads(body) == {"a": data, "b": [data]}


@each(
    ("template", "sentence"),
    [
        ("{{ event.data.z }}, 1", "trailing characters at line 1 column"),
        ('{\n"a": }', "expected value at line 2 column 6"),
        ("{% if event.data.none_such %}1{% endif %}", "the template renders nothing"),
        ("NaN", "expected value"),
        ("[-Infinity]", "invalid number"),
        ("1e999", "Out of range float"),
        ("1" * 5000, "number out of range"),
        ('"\\ud800"', "hex escape"),
        ("[" * 60_000, "recursion limit"),
    ],
)
def test_a_template_that_renders_invalid_json_is_a_bad_template(template: str, sentence: str) -> None:
    for format_ in ("standard", "cloudevents", "cloudevents-binary"):
        with pytest.raises(BadTemplate, match=f"payload.template: .*{sentence}"):
            made(format=format_, template=template)


def test_text_is_not_escaped() -> None:
    body = made(
        {"x": "<b>\n\"'"}, content_type="text/plain", template="Hi {{ event.data.x }} {{ static.y }}", static={"y": 1}
    )
    assert body == (b"Hi <b>\n\"' 1", {"content-type": "text/plain; charset=utf-8"})


def test_a_form_has_the_standard_fields_and_the_static_ones() -> None:
    body = made(content_type=FORM, static={"env": "a&b=c", "on": True, "off": None, "list": [1]})
    assert body.headers == {"content-type": FORM}
    assert parse_qsl(body.content.decode(), strict_parsing=True) == [
        ("id", "evt_1"),
        ("type", "order.paid"),
        ("timestamp", "2026-01-02T03:04:05.678Z"),
        ("data", '{"z":"ü","a":[1,null]}'),
        ("env", "a&b=c"),
        ("on", "true"),
        ("list", "[1]"),
    ]


@given(data=words)
def test_a_form_is_made_of_a_flat_object(data: str) -> None:
    body = text({"x": data}, content_type=FORM, template='{"a": {{ event.data.x }}, "n": 1.5, "t": true, "none": null}')
    assert parse_qsl(body, keep_blank_values=True, strict_parsing=True) == [("a", data), ("n", "1.5"), ("t", "true")]


@each("template", ['{"a": {{ event.data }}}', "[1]", '"x"', '{"a": []}'])
def test_a_form_of_anything_else_is_a_bad_template(template: str) -> None:
    with pytest.raises(BadTemplate, match="must render a flat JSON object"):
        made(content_type=FORM, template=template)


def received(body: Body) -> tuple[dict[str, Any], Any]:
    """Read a CloudEvent as its SDK does; give its attributes and its data."""
    event = from_http_event(HTTPMessage(body.headers, body.content))
    return event.get_attributes(), event.get_data()


ATTRIBUTES = {
    "specversion": "1.0",
    "id": "evt_1",
    "source": "/acme",
    "type": "order.paid",
    "time": WHEN,
    "datacontenttype": "application/json",
}


@given(data=values)
def test_a_cloudevent_is_read_by_the_sdk(data: Any) -> None:
    body = made(data, format="cloudevents", static={"env": "prö d", "n": 3, "on": True})
    assert body.headers == {"content-type": "application/cloudevents+json"}
    assert received(body) == (ATTRIBUTES | {"env": "prö d", "n": 3, "on": True}, data)


@given(data=values)
def test_a_binary_cloudevent_is_read_by_the_sdk(data: Any) -> None:
    body = made(data, format="cloudevents-binary", static={"env": 'prö d%"', "n": 3, "on": True})
    assert body.headers["content-type"] == "application/json"
    assert body.headers["ce-on"] == "true"
    assert all(value.isascii() and value.isprintable() for value in body.headers.values())
    assert json.loads(body.content) == data
    attributes, _ = received(body)
    assert attributes == ATTRIBUTES | {"env": 'prö d%"', "n": "3", "on": "true"}


def test_a_template_makes_the_data_of_a_cloudevent() -> None:
    template = '{"z": {{ event.data.z }}, "env": {{ static.env }}}'
    fields = {"template": template, "static": {"env": "prod"}}
    attributes, data = received(made(format="cloudevents", **fields))
    assert (attributes["env"], data) == ("prod", {"z": "ü", "env": "prod"})
    assert text(format="cloudevents-binary", **fields) == '{"z": "ü", "env": "prod"}'


@given(data=values)
def test_the_format_svix_is_the_data_alone(data: Any) -> None:
    body = made(data, format="svix")
    assert body.headers == {"content-type": "application/json"}
    assert json.loads(body.content) == data


def test_a_template_makes_the_body_of_the_format_svix() -> None:
    assert text(format="svix", template='{"z": {{ event.data.z }}}') == '{"z": "ü"}'


@each(
    "fields",
    [
        {},
        {"static": {"env": "prod"}},
        {"template": "{{ event.data }}"},
        {"template": "{{ event.id }}", "content_type": "text/plain"},
        {"content_type": FORM},
        {"format": "cloudevents"},
        {"format": "cloudevents-binary", "static": {"env": "prod"}},
        {"format": "svix"},
    ],
)
def test_the_bytes_are_the_same_at_each_attempt(fields: dict[str, Any]) -> None:
    assert made(**fields) == made(**fields)


@each(
    ("fields", "sentence"),
    [
        ({"static": {"id": 1}}, "static must not contain id: it is a standard field of events"),
        ({"static": {"data": 1}, "template": "{{ event.id }}"}, "static must not contain data"),
        ({"static": {"a": "x" * 16384}}, "static must be at most 16 KiB of JSON"),
        ({"static": {"a": float("nan")}}, "static must be JSON"),
        ({"static": {"a": "\ud800"}}, "static must be JSON"),
        ({"static": {"a": {1, 2}}}, "static must be JSON"),
        ({"template": "x" * 65537}, "at most 65536 characters"),
        ({"template": ""}, "at least 1 character"),
        ({"content_type": "text/plain"}, "text/plain needs a template"),
        ({"content_type": "text/html"}, "Input should be"),
        ({"format": "cloudevents", "content_type": FORM}, "has the content type application/json"),
        ({"format": "svix", "content_type": FORM}, "has the content type application/json"),
        ({"format": "svix", "static": {"env": "prod"}}, "omit content_type and static"),
        ({"format": "cloudevents", "static": {"time": "x"}}, "it is a standard attribute of CloudEvents"),
        ({"format": "cloudevents", "static": {"Env": "x"}}, "'Env' must be 1 to 20 characters a-z and 0-9"),
        ({"format": "cloudevents", "static": {"e" * 21: "x"}}, "must be 1 to 20 characters"),
        ({"format": "cloudevents", "static": {"env\n": "x"}}, "must be 1 to 20 characters"),
        ({"format": "cloudevents", "static": {"env": 1.5}}, "env must be true, false, an integer of 32 bits"),
        ({"format": "cloudevents", "static": {"env": 2**31}}, "env must be true, false"),
        ({"format": "cloudevents", "static": {"env": None}}, "env must be true, false"),
        ({"format": "cloudevents-binary", "static": {"env": "a\r\nb"}}, "env must be true, false"),
        ({"format": "cloudevents-binary", "static": {"env": ""}}, "env must be true, false"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_an_invalid_payload_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Payload(**fields)


def test_a_template_that_cannot_be_read_is_named_with_its_line() -> None:
    with pytest.raises(BadTemplate, match=r"^payload\.template: ") as raised:
        payload.check(Payload(template='{"a":\n {{ event.data. }}}'))
    assert raised.value.line == 2
    payload.check(Payload())
    payload.check(Payload(template="{{ event.data.x }}"))


def test_a_field_that_the_event_lacks_is_a_bad_template() -> None:
    with pytest.raises(BadTemplate, match=r"^payload\.template: "):
        made(template="{{ event.data.no.such }}")
