"""Receivers that repeat what they were sent: their responses are kept in history, without the secrets."""

import json
from urllib.parse import urlsplit

import pytest

from hookkeeper.content.headers import MASK
from instances import Instance
from receivers import Answer, Receiver

QUERY, HEADER, PATH = "s3cr3t-in-the-query", "s3cr3t-in-a-header", "TOPSECRETPATH"


@pytest.mark.promise("docs/encryption.md")
async def test_no_history_has_a_secret_that_a_receiver_repeats(instance: Instance, inbox: Receiver) -> None:
    host = urlsplit(inbox.url).netloc
    inbox.otherwise = Answer(
        500, f"Cannot POST /hooks/{PATH}?key={QUERY} by Bearer {HEADER}", {"x-echo": HEADER, "x-at": QUERY}
    )
    headers = {"authorization": f"Bearer {HEADER}"}
    notification = {"http": {"url": f"http://{host}/hooks/{PATH}?key={QUERY}", "headers": headers}}
    await instance.webhook(
        f"{inbox.url}?key={QUERY}", headers=headers, notifications=[notification], retry={"schedule": []}
    )
    event = await instance.until_final((await instance.send())["id"])
    said = {delivery["channel"]: delivery["attempts"][0]["response_excerpt"] for delivery in event["deliveries"]}
    assert said == {
        "webhook": f"Cannot POST /hooks/{PATH}?key=******** by ********",  # its own path is shown as its target
        "notification": "Cannot POST ********?key=******** by ********",
    }
    history = (await instance.run(event["id"]).fetch_history()).to_json()
    assert QUERY not in history and HEADER not in history


@pytest.mark.parametrize("scheme", ["v1", "v1a"])
async def test_no_history_has_a_signature_that_a_receiver_repeats(
    instance: Instance, inbox: Receiver, scheme: str
) -> None:
    """With it, who reads the log could send the event again for five minutes. Two keys sign during a rotation."""
    inbox.otherwise = Answer(500, echoes=True)
    hook = await instance.webhook(inbox.url, retry={"schedule": []}, signature_scheme=scheme)
    assert (await instance.http.post(f"/v1/webhooks/{hook['id']}/rotate-secret", json={})).is_success
    event = await instance.until_final((await instance.send())["id"])
    (request,) = inbox.requests
    signatures = [signature.partition(",")[2] for signature in request.headers["webhook-signature"].split()]
    assert len(signatures) == 2
    (attempt,) = event["deliveries"][0]["attempts"]
    echoed = json.loads(attempt["response_excerpt"])
    assert echoed["webhook-signature"] == attempt["response_headers"]["x-echo"] == f"{scheme},{MASK} {scheme},{MASK}"
    assert echoed["webhook-id"] == event["id"], "what is no secret stays"
    history = (await instance.run(event["id"]).fetch_history()).to_json()
    assert not [signature for signature in signatures if signature in history]
