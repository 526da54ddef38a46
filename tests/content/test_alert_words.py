"""The default text of an alert."""

import json
from typing import Any

from samples import alerting, seeing

from cases import each
from hookkeeper.content.emails import Email, render_email
from hookkeeper.content.notifications import Notification, RenderedNotification, render_notification

TO = "ann@acme.example.com"


def test_an_alert_says_what_failed_and_where_to_look() -> None:
    email = render_email(Email(to=(TO,)), alerting(unreported=3))
    assert email.subject == "Delivery failed: order.paid to Orders (acme)"
    assert email.text == (
        "Hookkeeper could not deliver an event. All attempts of the retry schedule have failed.\n"
        "\n"
        "Tenant:   acme\n"
        "Webhook:  Orders (wh_1)\n"
        "Event:    order.paid evt_1\n"
        "Delivery: wh_1 (webhook)\n"
        "Target:   https://acme.example/hook\n"
        "Outcome:  503, http_503, out of order\n"
        "Link:     https://temporal.example/run\n"
        "\n"
        "Further failures since the last alert: 3."
    )


@each(
    ("changes", "subject", "said", "unsaid"),
    [
        ({"reason": "gone"}, "Delivery failed: order.paid to Orders (acme)", "410 Gone", "since the last"),
        ({"reason": "webhook_deleted"}, "Delivery failed: order.paid to Orders (acme)", "webhook_deleted", "more"),
        ({"link": None}, "Delivery failed: order.paid to Orders (acme)", "Outcome:  503", "Look at"),
        ({"target": ""}, "Delivery failed: order.paid to Orders (acme)", "wh_1 (webhook)", "Target"),
        ({"last_outcome": None}, "Delivery failed: order.paid to Orders (acme)", "no attempt was made", "503"),
        (
            {"webhook": {"id": "wh_1", "name": ""}},
            "Delivery failed: order.paid to wh_1 (acme)",
            "Webhook:  wh_1\n",
            "()",
        ),
        (
            {"webhook": {"id": "wh_1", "name": "a\r\nBcc: x"}},
            "Delivery failed: order.paid to a Bcc: x (acme)",
            "Webhook:  a Bcc: x (wh_1)",
            "\r",
        ),
        (
            {"last_outcome": {"status_code": 500, "error": "http_500", "text": "long\n" * 1000}},
            "Delivery failed: order.paid to Orders (acme)",
            "long…\nLink:     https://temporal.example/run",
            "long\nlong",
        ),
    ],
)
def test_an_alert_has_the_text_of_its_channel_and_reason(
    changes: dict[str, Any], subject: str, said: str, unsaid: str
) -> None:
    email = render_email(Email(to=(TO,)), alerting(**changes))
    assert email.text is not None
    assert email.subject == subject
    assert said in email.text
    assert unsaid not in email.text


@each(
    ("reason", "text", "why", "outcome"),
    [
        (
            "bounced",
            "bounced for bo@acme.example: 550 5.1.1 no such user",
            "The provider accepted it, but a recipient's mail server did not.",
            "bounced for bo@acme.example: 550 5.1.1 no such user",
        ),
        (
            "rejected",
            "dropped for bo@acme.example: Invalid",
            "The provider rejected it, and a retry would not help.",
            "dropped for bo@acme.example: Invalid",
        ),
        ("bounced", "", "The provider accepted it", "202"),
    ],
)
def test_an_alert_of_an_email_that_was_lost_on_its_way(reason: str, text: str, why: str, outcome: str) -> None:
    """Setup: the provider answered 202, and said later what had become of it: that it had taken it tells nothing."""
    last = {"status_code": 202, "error": None, "text": text}
    email = render_email(Email(to=(TO,)), alerting(reason=reason, channel="email", last_outcome=last))
    assert email.text is not None
    assert f"could not deliver an event. {why}" in email.text
    assert f"Outcome:  {outcome}\n" in email.text


def test_an_alert_lists_the_other_deliveries_that_have_failed() -> None:
    others = [
        {"event": "evt_2", "type": "order.paid", "status_code": 500, "error": "http_500"},
        {"event": "evt_3", "type": "a\nb", "status_code": None, "error": "timeout"},
    ]
    email = render_email(Email(to=(TO,)), alerting(also_failed=others, unreported=2))
    assert email.text is not None
    assert "Also failed: order.paid evt_2: 500 Internal Server Error\n" in email.text
    assert "Also failed: a b evt_3: no complete response in time\n" in email.text
    assert email.text.endswith("Further failures since the last alert: 2.")


def of_incident(**changes: Any) -> dict[str, Any]:
    """Return the variables of a template of an incident's alert."""
    facts: dict[str, Any] = {
        "kind": "failing",
        "reason": None,
        "recipient": "owner",
        "webhook": {"id": "wh_1", "name": "Orders", "url": "https://acme.example/hook"},
        "last_outcome": {"status_code": 500, "error": "http_500", "text": "out\nof order"},
        "at": "2026-01-02T14:17:00.000Z",
        "failing_since": "2026-01-02T14:02:00.000Z",
        "failures": 5,
        "also_failing": [],
        "waiting": 181,
        "next_attempt_at": "2026-01-02T14:32:00.000Z",
        "disable_at": "2026-01-07T14:02:00.000Z",
        "link": "https://hooks.example/webhooks/wh_1",
        "temporal": None,
        "incident": "a",
    }
    return alerting(**facts | changes)


def test_an_alert_of_an_incident_has_all_that_is_known() -> None:
    others = [
        {"target": "email.1", "status_code": None, "error": "smtp_550", "text": "no such user"},
        {"target": "notification.2", "status_code": 404, "error": "http_404", "text": ""},
    ]
    email = render_email(
        Email(to=(TO,)), of_incident(also_failing=others, unreported=2, temporal="https://t.example/run")
    )
    assert email.subject == "Orders is failing: 500 Internal Server Error since 14:02 UTC"
    assert email.text == (
        "The latest attempts of this webhook have failed since 14:02 UTC.\n"
        "\n"
        "Tenant:          acme\n"
        "Webhook:         Orders (wh_1)\n"
        "Target:          https://acme.example/hook\n"
        "Failing since:   2 January 2026, 14:02 UTC\n"
        "Failed attempts: 5 in a row\n"
        "Latest answer:   500 Internal Server Error: out of order\n"
        "Remedy:          Look into the receiver's log.\n"
        "Also failing:    email.1: SMTP 550: no such user\n"
        "Also failing:    notification.2: 404 Not Found\n"
        "Waiting:         181 deliveries\n"
        "Next attempt:    2 January 2026, 14:32 UTC\n"
        "Disabled:        at the first failure after 7 January 2026, 14:02 UTC\n"
        "Link:            https://hooks.example/webhooks/wh_1\n"
        "Temporal:        https://t.example/run\n"
        "\n"
        "Further failures since the last alert: 2."
    )


@each(
    ("changes", "subject", "said", "unsaid"),
    [
        (
            {"recipient": "operator"},
            "Orders (acme) is failing: 500 Internal Server Error since 14:02 UTC",
            "acme",
            "Temporal",
        ),
        (
            {"kind": "reminder", "at": "2026-01-03T14:17:00.000Z"},
            "Orders is still failing: 500 Internal Server Error since 2 January 2026, 14:02 UTC",
            "This webhook still fails since 2 January",
            "again",
        ),
        (
            {"kind": "disabling", "at": "2026-01-06T14:02:00.000Z"},
            "Orders will be disabled within a day if it keeps failing",
            "If it does not work again, it is disabled within a day",
            "hour",
        ),
        (
            {"kind": "disabling", "at": "2026-01-07T13:02:00.000Z"},
            "Orders will be disabled within an hour if it keeps failing",
            "it is disabled within an hour",
            "a day",
        ),
        (
            {"kind": "disabled", "reason": "failing", "failures": 17},
            "Orders was disabled: failing since 14:02 UTC",
            "All requests have failed since 14:02 UTC, 17 in a row: the webhook was disabled, and its deliveries are",
            "at the first failure",
        ),
        (
            {"kind": "disabled", "reason": "gone"},
            "Orders was disabled: 410 Gone",
            "The receiver answered 410 Gone: the webhook was disabled",
            "All requests",
        ),
        (
            {"kind": "recovered", "last_outcome": {}, "at": "2026-01-02T16:02:00.000Z", "next_attempt_at": None},
            "Orders works again after 2 h",
            "Deliveries succeed again. Those that wait can be sent at once: by the page of the webhook",
            "Latest answer",
        ),
        ({"kind": "recovered", "waiting": 0}, "Orders works again", "Deliveries succeed again.\n", "wait"),
        ({"waiting": 0, "next_attempt_at": None, "disable_at": None}, "Orders is failing: 500", "Link", "Waiting"),
        ({"waiting": 1000}, "Orders is failing", "Waiting:         1,000 deliveries or more\n", "1000"),
        ({"waiting": 1}, "Orders is failing", "Waiting:         1 delivery\n", "deliveries"),
        ({"webhook": {"id": "wh_1", "name": "", "url": "https://a.b/c"}}, "https://a.b/c is failing", "a.b", "Orders"),
        ({"webhook": {"id": "wh_1", "name": "", "url": ""}}, "wh_1 is failing", "Webhook:         wh_1\n", "()"),
        ({"webhook": {"id": "wh_1", "name": "x" * 999}}, f"{'x' * 99}… is failing: 500", "Link", "x" * 101),
        ({"failing_since": None}, "Orders is failing: 500 Internal Server Error", "have failed.", "since"),
    ],
)
def test_each_alert_of_an_incident_has_its_words(changes: dict[str, Any], subject: str, said: str, unsaid: str) -> None:
    email = render_email(Email(to=(TO,)), of_incident(**changes))
    assert email.text is not None
    assert email.subject.startswith(subject)
    assert said in email.text
    assert unsaid not in email.text


@each(
    ("status", "error", "words"),
    [
        (404, "http_404", "404 Not Found"),
        (599, "http_599", "599"),
        (None, "timeout", "no complete response in time"),
        (200, "timeout", "no complete response in time: 200 OK"),
        (None, "dns", "there is no such host"),
        (None, "tls", "the TLS handshake failed"),
        (None, "bad_template", "a template of the webhook fails for this event"),
        (550, "smtp_550", "SMTP 550"),
        (None, "no_email_provider", "no mail provider is set"),
        (None, "bounced", "the email did not arrive"),
        (None, None, "no attempt was made"),
    ],
)
def test_the_latest_answer_is_named_in_words(status: int | None, error: str | None, words: str) -> None:
    outcome = {"status_code": status, "error": error, "text": ""}
    email = render_email(Email(to=(TO,)), of_incident(last_outcome=outcome))
    assert email.subject == f"Orders is failing: {words} since 14:02 UTC"


def test_the_html_of_an_alert_is_escaped_and_its_links_can_be_opened() -> None:
    hostile = "<img src=x>\"'&"
    email = render_email(
        Email(to=(TO,)),
        of_incident(
            webhook={"id": "wh_1", "name": hostile, "url": ""},
            target=hostile,
            last_outcome={"status_code": 500, "error": "http_500", "text": hostile},
            also_failing=[{"target": hostile, "status_code": None, "error": hostile, "text": hostile}],
        ),
    )
    assert email.html is not None
    assert "<img" not in email.html
    assert email.html.count("&lt;img src=x&gt;&quot;&#x27;&amp;") == 6
    assert '<a href="https://hooks.example/webhooks/wh_1">https://hooks.example/webhooks/wh_1</a>' in email.html
    javascript = render_email(Email(to=(TO,)), of_incident(link="javascript:alert(1)")).html
    assert javascript is not None and "href" not in javascript


def test_an_email_of_an_event_has_no_html() -> None:
    assert render_email(Email(to=(TO,)), seeing({})).html is None


def test_all_alerts_of_an_incident_have_one_key_and_the_last_one_resolves_it() -> None:
    """PagerDuty and Opsgenie open one incident for it, and close it."""

    def note(address: str, **changes: Any) -> tuple[str, Any]:
        call = render_notification(Notification(service=address), of_incident(**changes))
        assert isinstance(call, RenderedNotification)
        request = call.call()
        return request.url, json.loads(request.body)

    pager, genie = f"pagerduty://{'x' * 32}", f"opsgenie://{'x' * 32}"
    sent = [note(pager, kind=kind)[1] for kind in ("failing", "reminder", "recovered")]
    assert [content["event_action"] for content in sent] == ["trigger", "trigger", "resolve"]
    assert len({content["dedup_key"] for content in sent}) == 1
    assert note(pager, incident="b")[1]["dedup_key"] != sent[0]["dedup_key"]
    alias = note(genie)[1]["alias"]
    url, content = note(genie, kind="recovered")
    assert url == f"https://api.opsgenie.com/v2/alerts/{alias}/close?identifierType=alias"
    assert "works again" in content["note"]


def test_templates_of_alerts_see_alert_and_event() -> None:
    email = Email(to=(TO,), subject="{{ alert.reason }} {{ event.id }}", text="{{ alert.webhook.id }}")
    rendered = render_email(email, alerting())
    assert (rendered.subject, rendered.text) == ("exhausted evt_1", "wh_1")
    dynamic = render_email(Email(to=(TO,), template_id="d-1"), alerting())
    assert dynamic.template_data["alert"]["reason"] == "exhausted"
