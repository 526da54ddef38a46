"""The default text of an alert."""

from typing import Any

import pytest
from samples import alerting

from hookkeeper.content.emails import Email, render_email

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


@pytest.mark.parametrize(
    ("changes", "subject", "said", "unsaid"),
    [
        (
            {"kind": "recovered", "reason": None},
            "Delivered again: order.paid to Orders (acme)",
            "Deliveries succeed again",
            "not",
        ),
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


@pytest.mark.parametrize(
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


def test_an_alert_of_success_says_what_the_receiver_said() -> None:
    last = {"status_code": 202, "error": None, "text": "accepted as 7"}
    email = render_email(Email(to=(TO,)), alerting(kind="recovered", reason=None, last_outcome=last))
    assert email.text is not None
    assert "Outcome:  202, accepted as 7\n" in email.text


@pytest.mark.parametrize(
    ("reason", "since", "why"),
    [
        ("gone", "2026-01-02T03:04:05.678Z", "The receiver answered 410 Gone"),
        (
            "failing",
            "2026-01-02T03:04:05.678Z",
            "All requests have failed since 2026-01-02T03:04:05.678Z, 17 in a row",
        ),
        ("failing", None, "All requests have failed, 17 in a row"),
    ],
)
def test_an_alert_of_a_disabled_webhook(reason: str, since: str | None, why: str) -> None:
    alert = alerting(kind="disabled", reason=reason, failures=17, failing_since=since)
    email = render_email(Email(to=(TO,)), alert)
    assert email.subject == "Webhook disabled: Orders (acme)"
    assert email.text is not None
    assert email.text.startswith(f"{why}: the webhook was disabled, and its deliveries are held until it is enabled.")
    assert "Event:    order.paid evt_1\n" in email.text
    assert "Link:     https://temporal.example/run" in email.text


def test_templates_of_alerts_see_alert_and_event() -> None:
    email = Email(to=(TO,), subject="{{ alert.reason }} {{ event.id }}", text="{{ alert.webhook.id }}")
    rendered = render_email(email, alerting())
    assert (rendered.subject, rendered.text) == ("exhausted evt_1", "wh_1")
    dynamic = render_email(Email(to=(TO,), template_id="d-1"), alerting())
    assert dynamic.template_data["alert"]["reason"] == "exhausted"
