"""The form of a webhook: register, change only what differs, explain what is refused."""

import re
import threading
from html import unescape
from typing import Any

import pytest
from browsers import Form, Page, browsing
from callers import make_key

from api.strict_json import parse
from hookkeeper.content.headers import MASK
from hookkeeper.registry.webhooks.targets import lists_of
from hookkeeper.wording import read_durations, write_durations
from instances import Instance
from receivers import Receiver

URL = "http://127.0.0.1:9000/hook"
HOSTILE = '"><script>alert(1)</script>'
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"


def errors_of(html: str) -> dict[str, str]:
    """Return what the page says at each field; what it says about no field has an empty name."""
    shown = re.findall(r'<p class="error" id="([^"]+)-error">(.*?)</p>', html)
    general = re.findall(r'role="alert">(.*?)</div>', html, re.DOTALL)
    if not shown and general:
        return {"": general[0]}
    return {field: unescape(re.sub("<.*?>", " ", text)).strip() for field, text in shown}


@pytest.mark.promise("docs/dashboard.md")
async def test_a_webhook_is_registered(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        answer = await browser.submit(
            "/webhooks/new",
            "/webhooks/new",
            url=URL,
            name="Shop",
            events="order.*, invoice.paid",
            **{"retry.schedule": "5s, 5m, 1h"},
            timeout="10",
            rate_limit="2.5",
            filter="event.data.n > 0",
            ordered="true",
        )
        assert answer.status_code == 303, Page(answer.text).text
        page = await browser.page(answer.headers["location"])
        assert "The webhook is registered" in page.text
    (webhook,) = (await instance.http.get(f"/v1/webhooks?tenant={instance.tenant}")).json()["items"]
    assert (
        webhook.items()
        >= {
            "url": URL,
            "events": ["order.*", "invoice.paid"],
            "retry": {"schedule": [5, 300, 3600]},
            "rate_limit": 2.5,
            "timeout": 10,
            "ordered": True,
            "filter": "event.data.n > 0",
        }.items()
    )


async def test_a_form_that_is_sent_again_registers_no_second_webhook(instance: Instance) -> None:
    """Timeline: the first answer is lost, or was a 503 although the registry had the webhook."""
    path = "/webhooks/new"
    key = await make_key(instance, instance.tenant)
    theirs = await make_key(instance, f"{instance.tenant}-b")
    async with browsing(instance.app, key["key"]) as browser:
        form = Form((await browser.get(path)).text, path).fields | {"url": URL}
        refused = await browser.http.post(path, data=form | {"timeout": "never"})
        assert Form(refused.text, path).fields["once"] == form["once"]
        first, second = [await browser.http.post(path, data=form) for _ in range(2)]
        assert [answer.status_code for answer in (first, second)] == [303, 303]
        registered = first.headers["location"].partition("?")[0]
        assert second.headers["location"] == f"{registered}?done=again"
        assert "has registered the webhook already" in (await browser.page(second.headers["location"])).text
    async with browsing(instance.app, theirs["key"]) as browser:
        answer = await browser.submit(path, path, url=URL, once=form["once"])
        assert registered not in answer.headers["location"], "an id is of one tenant only"
    listed = (await instance.http.get(f"/v1/webhooks?tenant={instance.tenant}")).json()["items"]
    assert [f"/webhooks/{webhook['id']}" for webhook in listed] == [registered]


async def test_chosen_types_lines_and_secrets_are_shown_as_they_were_sent(instance: Instance) -> None:
    """Each field: `test_one_description.py`."""
    name = f"order.paid-{instance.tenant}"
    await instance.http.post("/v1/event-types", json={"name": name})
    form = {
        "tenant": instance.tenant,
        "url": URL,
        "events": "invoice.*",
        f"types.{name}": "true",
        "headers": "x-token: secret\r\n\r\nX-Other:  b ",
        "emails.1.to": "Ann <ann@acme.example>\r\nbob@acme.example",
        "notifications.0.service": SLACK,
        "metadata": "team: shop\r\n\r\n url:  https://acme.example/a ",
    }
    async with browsing(instance.app) as browser:
        answer = await browser.submit("/webhooks/new", "/webhooks/new", **form)
        assert answer.status_code == 303, Page(answer.text).text
        path = f"{answer.headers['location'].partition('?')[0]}/edit"
        shown = Form((await browser.get(path)).text, path).fields
    (webhook,) = (await instance.http.get(f"/v1/webhooks?tenant={instance.tenant}")).json()["items"]
    assert (webhook["events"], webhook["headers"]) == (["invoice.*", name], {"x-token": MASK, "X-Other": MASK})
    assert webhook["emails"][0]["to"] == ["Ann <ann@acme.example>", "bob@acme.example"]
    assert webhook["notifications"][0]["service"] == f"slack://{MASK}"
    assert (shown["events"], shown[f"types.{name}"]) == ("invoice.*", "true")
    assert (shown["emails.0.to"], shown["headers"]) == (
        "Ann <ann@acme.example>\r\nbob@acme.example",
        f"x-token: {MASK}\r\nX-Other: {MASK}",
    )
    assert shown["metadata"] == "team: shop\r\nurl: https://acme.example/a"


@pytest.mark.promise("docs/dashboard.md")
@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"url": ""}, "", "needs a url"),
        ({"url": "ftp://x.test/"}, "url", "http"),
        ({"events": "no type!"}, "events", "such as `order.*`"),
        ({"retry.schedule": "soon"}, "retry.schedule", "must be durations"),
        ({"retry.schedule": "5s, 9d"}, "retry.schedule", "entry 2: "),
        ({"retry.schedule": "5s", "retry.initial": "5s"}, "retry", "either schedule or exponential"),
        ({"retry.attempts": "many"}, "retry.attempts", "whole number"),
        ({"timeout": "long"}, "timeout", "must be a number"),
        ({"timeout": "nan"}, "timeout", "finite"),
        ({"rate_limit": "-1"}, "rate_limit", "greater"),
        ({"filter": "event.data.("}, "filter", ""),
        ({"payload.template": '{"n": {{ event.data.n | nope }}}'}, "payload.template", "line 1, column"),
        ({"payload.template": '\r\n\r\n{"n": {{ }'}, "payload.template", "line 3"),
        ({"payload.static": "{"}, "payload.static", "is not JSON"),
        ({"payload.static": '{"id": 1}'}, "payload", "standard field"),
        ({"headers": "x-token"}, "headers", "no colon"),
        ({"headers": "host: a"}, "headers", "set by Hookkeeper"),
        ({"headers": f"x-token: {MASK}"}, "headers", "no secret is stored"),
        ({"emails.1.subject": "Hello"}, "emails.0.to", "required"),
        ({"emails.0.to": "ann@acme.example\r\nnobody"}, "emails.0.to", "entry 2: "),
        ({"emails.0.to": "a@b.example", "emails.0.text": "{{ x"}, "emails.0.text", "line 1"),
        ({"notifications.0.service": "nothing"}, "notifications.0.service", "address of a service"),
        ({"notifications.0.service": SLACK, "notifications.0.http.url": URL}, "notifications.0", "either service"),
        ({"on_failure.emails.0.to": "nobody"}, "on_failure.emails.0.to", "not an email"),
        ({"tls.ca": "no PEM"}, "tls.ca", "not a certificate"),
        ({"ordered": "event.nothing"}, "ordered", "an expression has event.id"),
        ({"order_policy": "random"}, "order_policy", "'block' or 'skip'"),
        ({"secret": "short"}, "secret", "does not start"),
        ({"metadata": "team: shop\r\nteam: sales"}, "metadata", "line 2 repeats team"),
        ({"metadata": "shop"}, "metadata", "no colon"),
        ({"metadata": "team: " + "x" * 513}, "metadata", "team: String should have at most 512"),
        ({"metadata": "7: " + "x" * 513}, "metadata", "7: String should have at most 512"),
        ({"metadata": "x" * 513 + ": shop"}, "metadata", "x: String should have at most 512"),
        ({"metadata": "\r\n".join(f"{n}: x" for n in range(51))}, "metadata", "may have 50"),
        ({"metadata": '{"team": 1}'}, "metadata", "team: Input should be a valid string"),
        ({"metadata": '{"team": "shop"'}, "metadata", "is not JSON"),
        ({"metadata": '{"team": "shop"}, 1'}, "metadata", "is not JSON"),
        ({"then": "test", "sample.data": "{"}, "sample.data", "is not JSON"),
        ({"then": "test", "sample.type": "no type!"}, "sample.type", "such as `order.paid`"),
    ],
)
async def test_a_refused_form_is_explained_at_its_fields_and_kept(
    instance: Instance, fields: dict[str, str], field: str, text: str
) -> None:
    given = {"url": URL, "name": HOSTILE, "events": "*", "filter": "true", **fields}
    async with browsing(instance.app) as browser:
        answer = await browser.submit("/webhooks/new", "/webhooks/new", **given)
    assert answer.status_code == 422, Page(answer.text).text
    errors = errors_of(answer.text)
    assert list(errors) == [field], errors
    assert text in errors[field]
    assert "<script>alert" not in answer.text
    shown = Form(answer.text, "/webhooks/new").fields
    texts = {name: value for name, value in given.items() if name not in ("then", "order_policy")}
    kept = {name.replace("emails.1.", "emails.0."): value for name, value in texts.items()}
    assert {name: shown[name] for name in kept} == kept


async def test_without_a_script_all_steps_are_there(instance: Instance) -> None:
    async with browsing(instance.app) as browser:
        page = await browser.page("/webhooks/new")
    steps = [attributes for tag, attributes in page.tags if tag == "fieldset" and "id" in attributes]
    assert [step["id"] for step in steps] == ["step-1", "step-2", "step-3"]
    assert not [step for step in steps if "hidden" in step]
    hidden = [attributes for tag, attributes in page.tags if tag == "button" and "hidden" in attributes]
    assert all("data-step" in attributes for attributes in hidden), "only what moves between steps needs the script"


async def test_too_many_items_are_kept_too(instance: Instance) -> None:
    given = {f"emails.{n}.to": f"a{n}@acme.example" for n in range(11)}
    async with browsing(instance.app) as browser:
        answer = await browser.submit("/webhooks/new", "/webhooks/new", **given)
    assert answer.status_code == 422
    assert "at most 10" in errors_of(answer.text)["emails"] or "may have 10" in errors_of(answer.text)["emails"]
    assert given.items() <= Form(answer.text, "/webhooks/new").fields.items()


async def test_a_tenants_key_registers_for_its_tenant_only(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        answer = await browser.submit("/webhooks/new", "/webhooks/new", url=URL, tenant="someone-else")
        assert answer.status_code == 403
        other = await instance.http.post("/v1/webhooks", json={"url": URL, "tenant": "someone-else"})
        path = f"/webhooks/{other.json()['id']}/edit"
        assert (await browser.get(path)).status_code == 404
        assert (await browser.submit("/webhooks/new", path, name="Mine")).status_code == 404


RICH: dict[str, Any] = {
    "name": "Shop",
    "description": "Two\nlines ",
    "headers": {"x-token": "header-secret"},
    "events": ["a.b"],
    "retry": {"schedule": []},
    "payload": {"template": "\n{{ event.data }}\r\n", "content_type": "text/plain"},
    "emails": [
        {"to": ["ann@acme.example"], "subject": "One\n", "categories": ["a", "b"]},
        {"to": ["bob@acme.example"], "template_id": "d-1", "template_data": {"a": 1}},
    ],
    "notifications": [
        {"service": SLACK, "body": "paid"},
        {"http": {"url": "https://api.example/path-secret", "headers": {"authorization": "call-secret"}}},
    ],
    "on_failure": {"notifications": [{"service": SLACK}]},
    "metadata": {"team": "shop"},
}


@pytest.mark.promise("docs/dashboard.md")
async def test_a_form_does_not_undo_what_another_has_changed(instance: Instance) -> None:
    made = await instance.webhook(URL, name="Shop")
    path = f"/webhooks/{made['id']}/edit"
    async with browsing(instance.app) as browser:
        form = Form((await browser.get(path)).text, path).fields
        await instance.http.patch(f"/v1/webhooks/{made['id']}", json={"url": f"{URL}/moved"})
        previewed = Form((await browser.submit(path, f"{path}/preview", **form)).text, path).fields
        answer = await browser.submit(path, path, **previewed | {"name": "Renamed"})
        assert (answer.status_code, "Saving again sets name, url to what is here" in answer.text) == (409, True)
        assert (await updates(instance))[0] == ["url"]
        again = Form(answer.text, path).fields
        assert (again["name"], again["url"]) == ("Renamed", URL)
        assert (await browser.submit(path, path, **again)).status_code == 303
    assert (await updates(instance))[0] == ["name", "url"]


async def test_a_change_leaves_everything_else(idle_instance: Instance) -> None:
    """Proves: a form that is sent back as it came changes nothing, and a change of one text only that."""
    made = await idle_instance.webhook(URL, **RICH)
    before = await idle_instance.store.webhooks.get(made["id"], None)
    path = f"/webhooks/{made['id']}/edit"
    async with browsing(idle_instance.app) as browser:
        html = (await browser.get(path)).text
        for secret in ("header-secret", "path-secret", "call-secret", SLACK.partition("//")[2], made["secret"]):
            assert secret not in html
        form = Form(html, path).fields
        answer = await browser.submit(path, path, **form)
        assert answer.status_code == 303, errors_of(answer.text)
        assert await updates(idle_instance) == []
        answer = await browser.submit(path, path, **form | {"emails.0.subject": "Two"})
        assert answer.status_code == 303, errors_of(answer.text)
    assert await updates(idle_instance) == [["emails"]]
    after = await idle_instance.store.webhooks.get(made["id"], None)
    assert before and after
    for column in ("url", "headers", "payload", "on_failure", "retry", "description", "metadata_"):
        assert getattr(after, column) == getattr(before, column), column
    one, two = lists_of(before)["emails"]
    assert lists_of(after) == lists_of(before) | {"emails": (one.model_copy(update={"subject": "Two"}), two)}


async def test_items_can_be_removed_and_secrets_stay_with_their_hosts(instance: Instance) -> None:
    made = await instance.webhook(URL, **RICH)
    path = f"/webhooks/{made['id']}/edit"
    async with browsing(instance.app) as browser:
        form = Form((await browser.get(path)).text, path).fields
        wanted = form | {"emails.0.remove": "true", "retry.schedule": "", "ordered": "true"}
        assert (await browser.submit(path, path, **wanted)).status_code == 303
        form = Form((await browser.get(path)).text, path).fields
        answer = await browser.submit(path, path, **form | {"url": "http://127.0.0.2:9000/"})
        assert answer.status_code == 422
        assert "headers" in errors_of(answer.text)
    changed = (await instance.http.get(f"/v1/webhooks/{made['id']}")).json()
    assert [email["to"] for email in changed["emails"]] == [["bob@acme.example"]]
    assert (changed["retry"], changed["ordered"]) == (None, True)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"team": "shop", "url": "https://acme.example/?a=b#c", "empty": ""},
        {"two\nlines": "a\rb", "nul": "\0"},
        {"a:b": "c"},
        {" blanks ": " kept "},
        {"{": "}"},
        {"": ""},
        {"\u00a0": "\u2028"},
    ],
)
async def test_metadata_of_any_shape_can_be_changed_and_is_kept(instance: Instance, metadata: dict[str, str]) -> None:
    """Proves: the form shows each metadata so that it can save it, and an empty field has none."""
    made = await instance.webhook(URL, metadata=metadata)
    path = f"/webhooks/{made['id']}/edit"

    async def saved(**fields: str) -> dict[str, str]:
        form = Form((await browser.get(path)).text, path).fields | fields
        answer = await browser.submit(path, path, **form)
        assert answer.status_code == 303, errors_of(answer.text)
        shown: dict[str, str] = (await instance.http.get(f"/v1/webhooks/{made['id']}")).json()["metadata"]
        return shown

    async with browsing(instance.app) as browser:
        text = Form((await browser.get(path)).text, path).fields["metadata"]
        assert await saved(name="Renamed") == metadata
        assert await saved(metadata=f"  {text}\r\n") == metadata, "with other blanks it is read, not recognized"
        assert await saved(metadata='{"team": "a\\nb"}') == {"team": "a\nb"}
        assert await saved(metadata="team: red\r\nmail: a@b.example") == {"team": "red", "mail": "a@b.example"}
        assert await saved(metadata=" ") == {}


async def updates(instance: Instance) -> list[list[str]]:
    items = (await instance.http.get("/v1/audit")).json()["items"]
    return [item["detail"]["fields"] for item in items if item["action"] == "webhook.update"]


async def test_a_preview_shows_the_example_and_errors_in_place(instance: Instance) -> None:
    """Proves: the form is answered with what would be sent, and nothing is registered or sent."""
    name = f"order.paid-{instance.tenant}"
    await instance.http.post("/v1/event-types", json={"name": name, "examples": [{"n": 4711, "who": HOSTILE}]})
    form = {
        "tenant": instance.tenant,
        f"types.{name}": "true",
        "payload.template": '{"who": {{ event.data.who }}}',
        "emails.0.to": "ann@acme.example",
        "emails.0.subject": "Order {{ event.data.n }}",
        "emails.0.html": "<p>{{ event.data.who }}</p>",
        "notifications.0.service": SLACK,
        "notifications.0.body": "No. {{ event.data.n }}",
    }
    async with browsing(instance.app) as browser:

        async def preview(**more: str) -> tuple[str, dict[str, str]]:
            answer = await browser.submit("/webhooks/new", "/webhooks/new/preview", **form | {"url": URL} | more)
            assert answer.status_code == 200
            assert "<script>alert" not in answer.text
            return Page(answer.text).text.partition("Empty for the example of the type.")[2], errors_of(answer.text)

        text, errors = await preview()
        assert errors == {}
        for part in (URL, "alert(1)", "Subject: Order 4711", "ann@acme.example", "No. 4711", "slack", name):
            assert part in text, part
        text, errors = await preview(**{"sample.type": "made.up", "sample.data": '{"n": 5, "who": "Ann"}'})
        assert "would not be sent" in text
        assert "Subject: Order 5" in text
        _, errors = await preview(**{"payload.template": '{\r\n"n": {{ event.data.n / 0 }}}'})
        assert "line 2" in errors["payload.template"]
        _, errors = await preview(**{"emails.0.text": "{% for %}"})
        assert "line 1, column" in errors["emails.0.text"]
        _, errors = await preview(**{"sample.data": "{"})
        assert "is not JSON" in errors["sample.data"]
        text, errors = await preview(
            **{"metadata": "team: red", "notifications.0.body": "For {{ webhook.metadata.team }}"}
        )
        assert ("For red" in text, errors) == (True, {})
        for data, problem in (
            ("1e400", "number is too large"),
            (r'{"a": 1e400}', "a: this number is too large"),
            ("NaN", "is not JSON"),
        ):
            _, errors = await preview(**{"sample.data": data})
            assert problem in errors["sample.data"]
        text, errors = await preview(**{"filter": "event.data.n > 5000"})
        assert ("would not be sent" in text, errors) == (True, {})
    assert (await instance.http.get(f"/v1/webhooks?tenant={instance.tenant}")).json()["items"] == []


async def test_a_preview_of_a_webhook_shows_no_secret(instance: Instance) -> None:
    made = await instance.webhook(f"{URL}?token=url-secret", **RICH)
    path = f"/webhooks/{made['id']}/edit"
    key = await make_key(instance, "someone-else")
    async with browsing(instance.app) as browser, browsing(instance.app, key["key"]) as other:
        form = Form((await browser.get(path)).text, path).fields
        form.pop("proof")
        answer = await browser.submit(path, f"{path}/preview", **form | {"name": "Changed"})
        assert errors_of(answer.text) == {}
        shown = Page(answer.text).text.partition("Empty for the example of the type.")[2]
        assert f"x-token: {MASK}" in shown
        assert f"authorization: {MASK}" in shown
        for secret in ("header-secret", "path-secret", "call-secret", "url-secret"):
            assert secret not in shown
        assert (await other.submit("/webhooks/new", f"{path}/preview", **form)).status_code == 404
        answer = await other.submit("/webhooks/new", "/webhooks/new/preview", url=URL, tenant=instance.tenant)
        assert answer.status_code == 403
    assert (await instance.http.get(f"/v1/webhooks/{made['id']}")).json()["name"] == "Shop"


async def test_a_form_as_large_as_a_request_is_read(instance: Instance) -> None:
    async with browsing(instance.app) as browser:
        template = "x" * 60_000
        fields = {"payload.template": template, "payload.content_type": "text/plain", "emails.0.to": "a@b.example"}
        answer = await browser.submit("/webhooks/new", "/webhooks/new/preview", **fields, **{"emails.0.text": template})
        assert (answer.status_code, errors_of(answer.text)) == (200, {})
        answer = await browser.submit("/webhooks/new", "/webhooks/new/preview", filter="x" * 270_000)
        assert answer.status_code == 413
        many = {f"emails.{n}.to": "x" for n in range(1001)}
        assert (await browser.submit("/webhooks/new", "/webhooks/new/preview", **many)).status_code == 400


@pytest.fixture
def parsing_threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads in which JSON of forms was parsed."""
    threads: list[threading.Thread] = []

    def noted(body: bytes) -> Any:
        threads.append(threading.current_thread())
        return parse(body)

    for module in ("forms", "webhook_receiver"):
        monkeypatch.setattr(f"dashboard.{module}.parse", noted)
    return threads


async def test_no_json_of_a_form_is_parsed_on_the_loop(
    instance: Instance, parsing_threads: list[threading.Thread]
) -> None:
    """A form of 250 KB with `[0],[0],…` in six fields took 120 ms."""
    made = await instance.http.post("/v1/webhooks", json={"url": URL, "tenant": instance.tenant})
    path = f"/webhooks/{made.json()['id']}"
    sent = {"url": URL, "payload.static": '{"a": [[], []]}', "sample.data": "[[], []]", "metadata": '{"a": "b"}'}
    async with browsing(instance.app) as browser:
        for form in ("/webhooks/new", f"{path}/edit"):
            assert (await browser.submit(form, f"{form}/preview", **sent)).status_code == 200
            assert (await browser.submit(form, form, **sent, then="test")).status_code == 303
        assert (await browser.submit(path, f"{path}/preview", type="a", data="[[]]")).status_code == 200
        assert (await browser.submit(path, f"{path}/test", type="a", data="[[]]")).status_code == 303
    assert len(parsing_threads) >= 14
    assert threading.current_thread() not in parsing_threads


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("5s, 5m, 2h, 1d", [5, 300, 7200, 86400], "5s, 5m, 2h, 1d"),
        ("90 1.5m", [90, 90], "90s, 90s"),
        ("never", [], "never"),
        ("0", [0], "0s"),
    ],
)
def test_durations_are_read_and_written_with_units(text: str, seconds: list[float], written: str) -> None:
    assert read_durations(text) == seconds
    assert write_durations(seconds) == written


@pytest.mark.parametrize("text", ["5 m", "-5", "1e9", "5x", "٥", "5s;5m", "1 " * 101])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be durations"):
        read_durations(text)


async def test_a_saved_webhook_gets_a_test_event(instance: Instance, inbox: Receiver) -> None:
    async with browsing(instance.app) as browser:
        form = {"tenant": instance.tenant, "url": inbox.url, "events": "order.*", "then": "test"}
        answer = await browser.submit("/webhooks/new", "/webhooks/new", **form, **{"sample.data": '{"n": 1}'})
        assert answer.status_code == 303, errors_of(answer.text)
        await inbox.got(1)
        assert b'"type":"order.example"' in inbox.requests[0].body
        (webhook,) = (await instance.http.get(f"/v1/webhooks?tenant={instance.tenant}")).json()["items"]
        path = f"/webhooks/{webhook['id']}/edit"
        form = Form((await browser.get(path)).text, path).fields | {"name": "Shop", "then": "test"}
        assert (await browser.submit(path, path, **form)).status_code == 303
        await inbox.got(2)
    assert (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()["name"] == "Shop"
