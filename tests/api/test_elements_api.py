"""The elements of a webhook over HTTP: what is refused when saved, what is masked, what a preview shows."""

from typing import Any

import pytest
from problems import problem

from hookkeeper.registry.webhooks.targets import lists_of
from instances import Instance

URL = "https://acme.example/hook"
TO = {"to": ["ann@acme.example"]}
SLACK = "slack://T0000AAAA/B0000BBBB/secretsecretsecretsecret"
NOTES = {"http": {"url": "https://api.acme.example/secret-path", "headers": {"x-key": "secret-header"}}}


@pytest.mark.promise("docs/payloads.md")
@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"filter": "event.data.amount >="}, "filter", ""),
        ({"filter": "event.tpye == 'x'"}, "filter", "tpye"),
        ({"filter": "1 + 1"}, "filter", "true"),
        ({"filter": "x" * 5000}, "filter", ""),
        ({"payload": {"template": "{{ event.data"}}, "payload", "template"),
        ({"payload": {"template": "{% if %}"}}, "payload", "line 1"),
        ({"payload": {"template": "{{ " + "-" * 60_000 + "1 }}"}}, "payload", ""),
        ({"payload": {"static": {"data": 1}}}, "payload", "data"),
        ({"payload": {"format": "xml"}}, "payload.format", ""),
        ({"emails": [{"to": []}]}, "emails.0.to", ""),
        ({"emails": [TO, {"to": ["ann"]}]}, "emails.1.to.0", "@"),
        ({"emails": [{"to": ["ann@acme.example\r\nbcc: bob@acme.example"]}]}, "emails.0.to.0", ""),
        ({"emails": [{**TO, "subject": "{{"}]}, "emails.0", "subject"),
        ({"emails": [TO] * 11}, "emails", ""),
        ({"notifications": [{}]}, "notifications.0", "service or http"),
        ({"notifications": [{"service": "file:///etc/passwd"}]}, "notifications.0.service", ""),
        ({"notifications": [{"service": "json://localhost"}]}, "notifications.0.service", ""),
        ({"notifications": [{"service": "slack://nonsense"}]}, "notifications.0.service", ""),
        ({"notifications": [{"http": {"url": "ftp://a.example"}}]}, "notifications.0.http.url", ""),
        ({"notifications": [{"http": {"url": "https://a.example", "body": "{{"}}]}, "notifications.0", "body"),
        ({"on_failure": {}}, "on_failure", "at least one"),
        ({"on_failure": {"emails": [{**TO, "text": "{% x %}"}]}}, "on_failure.emails.0", "text"),
        ({"on_failure": {"notifications": [{"service": "dbus://"}]}}, "on_failure.notifications.0.service", ""),
    ],
)
async def test_an_invalid_element_is_refused_when_saved(
    instance: Instance, fields: dict[str, Any], path: str, words: str
) -> None:
    body = {"url": "https://acme.example/hook", "tenant": instance.tenant, **fields}
    document = problem(await instance.http.post("/v1/webhooks", json=body), 422)
    blamed = {error["path"]: error["detail"] for error in document["errors"]}
    assert any(field.startswith(path) for field in blamed), blamed
    assert words in " ".join(blamed.values())
    webhook = await instance.webhook("https://acme.example/hook")
    answer = await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json=fields)
    problem(answer, 422)


@pytest.mark.promise("docs/payloads.md")
async def test_a_masked_webhook_can_be_sent_back_unchanged(instance: Instance) -> None:
    """Secrets are masked; who sends the masks back changes nothing, and who moves one to a stranger is refused."""
    alerts = {"notifications": [{"service": SLACK.replace("secretsecret", "hiddenhidden")}]}
    made = await instance.webhook(None, emails=[TO], notifications=[{"service": SLACK}, NOTES], on_failure=alerts)
    path = f"/v1/webhooks/{made['id']}"
    shown = (await instance.http.get(path)).json()
    assert "secret" not in str(shown["notifications"]).lower()
    assert "hidden" not in str(shown["on_failure"])
    fields = ("emails", "notifications", "on_failure", "filter", "payload", "headers")
    answer = await instance.http.patch(path, json={name: shown[name] for name in fields})
    assert answer.status_code == 200, answer.text
    kept = await instance.store.webhooks.get(made["id"])
    assert kept is not None and kept.on_failure is not None
    to_slack, to_notes = lists_of(kept)["notifications"]
    assert to_slack.service == SLACK
    assert to_notes.http is not None and to_notes.http.headers == {"x-key": "secret-header"}
    assert "hiddenhidden" in str(kept.on_failure.notifications[0].service)

    stranger = {"http": {"url": "https://evil.example/x", "headers": shown["notifications"][1]["http"]["headers"]}}
    problem(await instance.http.patch(path, json={"notifications": [stranger]}), 422, "notifications")


async def test_an_unregistered_webhook_can_be_previewed(instance: Instance) -> None:
    webhook = {
        "url": "https://acme.example/hook?token=secret-query",
        "events": ["order.*"],
        "headers": {"authorization": "secret-value"},
        "filter": "event.data.amount > 10",
        "payload": {"template": '{"n": {{ event.data.amount }}, "s": {{ static.s }}}', "static": {"s": "x"}},
        "emails": [{**TO, "subject": "{{ event.data.nothing.here }}"}],
        "notifications": [NOTES, {"service": SLACK}],
        "tenant": instance.tenant,
    }
    event = {"type": "order.paid", "data": {"amount": 11}}
    answer = await instance.http.post("/v1/webhooks/preview", json={"webhook": webhook, "event": event})
    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert preview["matches"] is True
    assert preview["request"]["body"] == '{"n": 11, "s": "x"}'
    assert preview["request"]["headers"]["content-type"] == "application/json"
    assert "subject" in preview["emails"][0]["problem"]
    targets = [notification["target"] for notification in preview["notifications"]]
    assert targets == ["POST https://api.acme.example", "slack"]
    assert "secret" not in answer.text

    for other in ({"type": "build.failed", "data": {"amount": 11}}, {"type": "order.paid", "data": {"amount": 1}}):
        answer = await instance.http.post("/v1/webhooks/preview", json={"webhook": webhook, "event": other})
        assert (answer.json()["matches"], answer.json()["filter_error"]) == (False, None)
    answer = await instance.http.post("/v1/webhooks/preview", json={"webhook": webhook, "event": {"type": "order.x"}})
    assert answer.json()["matches"] is False
    assert answer.json()["filter_error"]
    assert (await instance.http.get("/v1/webhooks", params={"tenant": instance.tenant})).json()["items"] == []
    assert (await instance.http.get("/v1/events", params={"tenant": instance.tenant})).json()["items"] == []


@pytest.mark.promise("docs/payloads.md")
async def test_a_registered_webhook_can_be_previewed(instance: Instance) -> None:
    made = await instance.webhook("https://acme.example/hook", notifications=[NOTES])
    answer = await instance.http.post("/v1/webhooks/preview", json={"webhook_id": made["id"]})
    assert answer.status_code == 200, answer.text
    assert '"message":"This is a test."' in answer.json()["request"]["body"]
    assert "secret" not in answer.text


async def test_a_preview_needs_exactly_one_valid_webhook(instance: Instance) -> None:
    path = "/v1/webhooks/preview"
    problem(await instance.http.post(path, json={}), 422)
    both = {"webhook_id": "wh_1", "webhook": {"url": "https://a.example"}}
    problem(await instance.http.post(path, json=both), 422)
    problem(await instance.http.post(path, json={"webhook_id": "wh_1"}), 404)
    broken = {"webhook": {"url": "https://a.example", "filter": "1 +"}}
    problem(await instance.http.post(path, json=broken), 422, "filter")


async def test_a_filter_can_compare_numbers_beyond_64_bits(instance: Instance) -> None:
    for expression in ("event.data.n > 1", "event.data.n < 1"):
        await instance.webhook("https://acme.example/hook", filter=expression)
    accepted = await instance.send(data={"n": 10**300})
    assert len(accepted["deliveries"]) == 1


# Templates, tried with examples of the types that a webhook names


@pytest.mark.promise("docs/payloads.md")
async def test_a_template_that_fails_for_the_example_is_refused_when_saved(instance: Instance) -> None:
    type_ = f"{instance.tenant}.paid"
    example = {"n": 4711, "lines": ["a", "b"], "email": "ann@acme.example"}
    added = await instance.http.post("/v1/event-types", json={"name": type_, "examples": [example]})
    assert added.status_code == 201, added.text
    bad = {
        "payload": ({"template": '{\n"n": {{ event.data.nn }}}'}, "line 2, column 9"),
        "emails.0": ([{"to": ["{{ event.data.mail }}"], "subject": "x", "text": "x"}], "to"),
        "notifications.0": (
            [{"http": {"url": URL, "body": '{"l": {% for l in event.data.lines %}{{ l }}{% endfor %}}'}}],
            "JSON",
        ),
    }
    for path, (value, words) in bad.items():
        body = {"tenant": instance.tenant, "url": URL, "events": [type_], path.split(".")[0]: value}
        answer = await instance.http.post("/v1/webhooks", json=body)
        (error,) = problem(answer, 422, path)["errors"]
        assert words in error["detail"]
        assert error["detail"].endswith(f"; this happens for the example of {type_}")
        # What gets other events too, or only such as its filter wants, is not judged by this example.
        for fields in ({"events": ["*"]}, {"filter": "event.data.n == 1"}):
            assert (await instance.http.post("/v1/webhooks", json=body | fields)).status_code == 201


async def test_a_changed_template_is_tried_with_the_rest_of_the_webhook(instance: Instance) -> None:
    type_ = f"{instance.tenant}.paid"
    await instance.http.post("/v1/event-types", json={"name": type_, "examples": [{"n": 1}]})
    webhook = await instance.webhook(URL, events=[type_], metadata={"team": "red"})
    path = f"/v1/webhooks/{webhook['id']}"
    good = {"template": '{"n": {{ event.data.n }}, "team": "{{ webhook.metadata.team }}"}'}
    assert (await instance.http.patch(path, json={"payload": good})).status_code == 200
    answer = await instance.http.patch(path, json={"payload": {"template": "{{ webhook.metadata.tame }}"}})
    problem(answer, 422, "payload")
    assert (await instance.http.get(path)).json()["payload"]["template"] == good["template"]
