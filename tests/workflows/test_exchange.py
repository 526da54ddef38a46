"""What each attempt keeps of its exchange: a digest of the request, the phases of its time, the response's headers."""

from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from claimed_runs import share
from instances import Instance
from receivers import Answer, Receiver
from shared_runs import event_to

CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"headers": {"x-token": "second"}},
    {"payload": {"template": '{"id": {{ event.id }}}'}},
)
HEADERS = {"x-request-id": "r-1", "set-cookie": "session=secret"}
KEPT = {"x-request-id": "r-1", "set-cookie": "********"}


def attempts_of(event: dict[str, Any]) -> list[dict[str, Any]]:
    (delivery,) = event["deliveries"]
    return list(delivery["attempts"])


async def test_an_attempt_keeps_the_digest_and_the_times_of_its_request(instance: Instance, inbox: Receiver) -> None:
    """Setup: an attempt, then one for each change of the webhook, which an operator requests.

    Proves: the same request has the same digest, and a change shows in its own part only.
    """
    inbox.otherwise = Answer(500, headers=HEADERS)
    webhook = await instance.webhook(inbox.url, headers={"x-token": "first"}, retry={"schedule": [3600]})
    event = await instance.send()
    for number, change in enumerate(({}, *CHANGES, {"url": f"{inbox.url}?key=1"}), 1):
        changed = await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json=change)
        assert changed.status_code == 200, changed.text
        if number > 1:
            await instance.command(event["id"], "retry")
        await instance.until_delivery(event["id"], "retrying", attempts=number)
    attempts = attempts_of(await instance.event(event["id"]))
    digests = [attempt["request_digest"].split(".") for attempt in attempts]
    differing = [
        [part for part, (one, two) in enumerate(zip(before, after, strict=True)) if one != two]
        for before, after in pairwise(digests)
    ]
    assert differing == [[], [2], [3], [1]]
    for attempt in attempts:
        assert {name: attempt["response_headers"][name] for name in HEADERS} == KEPT
        assert attempt["queue_ms"] >= 0
        assert 0 < (attempt["connect_ms"] or 0) + attempt["first_byte_ms"] <= attempt["duration_ms"] + 0.2
    assert attempts[0]["connect_ms"] is not None
    history = (await instance.run(event["id"]).fetch_history()).to_json()
    assert "session=secret" not in history


async def test_an_attempt_in_a_shared_run_keeps_the_same(instance: Instance, inbox: Receiver) -> None:
    """One event succeeds in the shared run; one fails there and continues in a run of its own."""
    inbox.answers = [Answer(headers=HEADERS)]
    inbox.otherwise = Answer(500, headers=HEADERS)
    webhook = await instance.webhook(inbox.url, retry={"schedule": [3600]})
    run = await share(instance, [event_to(webhook, id=name, tenant=instance.tenant) for name in ("e1", "e2")])
    result = await run.result()
    ((finished,), (key,)) = result.finished, result.continued
    other = key.removeprefix(f"event-{instance.tenant}-")
    (attempt,) = finished.deliveries[0].attempts
    (failed,) = attempts_of(await instance.until_delivery(other, "retrying", attempts=1))
    for headers in (attempt.response_headers, failed["response_headers"]):
        assert {name: headers[name] for name in HEADERS} == KEPT
    digests = [attempt.request_digest or "", failed["request_digest"]]
    assert digests[0].split(".")[:3] == digests[1].split(".")[:3], "only the events differ"
    assert digests[0] != digests[1]
    for queued, first_byte in (
        (attempt.queue_ms, attempt.first_byte_ms),
        (failed["queue_ms"], failed["first_byte_ms"]),
    ):
        assert queued is not None and queued >= 0
        assert first_byte is not None and first_byte > 0


async def test_attempts_of_other_channels_keep_headers_and_times_only(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(headers=HEADERS)
    api = {"http": {"url": f"http://{urlsplit(inbox.url).netloc}/api"}}
    email = {"to": ["a@a.example"], "subject": "s", "text": "t"}
    await instance.webhook(None, notifications=[api], emails=[email], retry={"schedule": []})
    event = await instance.until_final((await instance.send())["id"])
    kept = {delivery["channel"]: delivery["attempts"][0] for delivery in event["deliveries"]}
    assert {name: kept["notification"]["response_headers"][name] for name in HEADERS} == KEPT
    assert kept["notification"]["first_byte_ms"] > 0
    assert (kept["email"]["first_byte_ms"], kept["email"]["response_headers"]) == (None, {})
    for attempt in kept.values():
        assert attempt["queue_ms"] >= 0
        assert attempt["request_digest"] is None
