"""Bodies that templates render larger than the limit: reported in a preview, and as the outcome of a delivery."""

from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from instances import running_instance
from receivers import Receiver

LARGE = "{{ event.data.text }}" * 3
"""Makes three times the data, and what it is made of may be twice the event."""
MAX_EVENT_BYTES = 10_000
WORDS = "makes 24,000 bytes of this event, and may make at most 20,000"


@pytest.mark.parametrize(
    ("fields", "channel"),
    [
        ({"payload": {"template": LARGE, "content_type": "text/plain"}}, "request"),
        ({"emails": [{"to": ["ann@acme.example"], "text": LARGE}]}, "emails"),
        (
            {"notifications": [{"http": {"url": "URL", "body": LARGE, "headers": {"content-type": "text/plain"}}}]},
            "notifications",
        ),
    ],
)
async def test_a_body_that_is_too_large_is_a_bad_template(
    temporal: Client, tmp_path: Path, inbox: Receiver, fields: dict[str, Any], channel: str
) -> None:
    for notification in fields.get("notifications", ()):
        notification["http"]["url"] = inbox.url
    event = {"type": "order.paid", "data": {"text": "x" * 8_000}}
    settings = {"max_event_bytes": MAX_EVENT_BYTES, "email_capture_dir": tmp_path / "emails"}
    async with running_instance(temporal, tmp_path, **settings) as instance:
        webhook = await instance.webhook(inbox.url if channel == "request" else None, **fields)
        preview = await instance.http.post("/v1/webhooks/preview", json={"webhook_id": webhook["id"], "event": event})
        shown = preview.json()[channel]
        assert WORDS in (shown if channel == "request" else shown[0])["problem"]
        async with instance.working():
            shown = await instance.until_final((await instance.send(data=event["data"]))["id"])
    (delivery,) = shown["deliveries"]
    (attempt,) = delivery["attempts"]
    assert delivery["reason"] == "bad_template"
    assert attempt["error"] == "bad_template"
    assert WORDS in attempt["response_excerpt"]
    assert inbox.requests == []
