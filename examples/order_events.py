"""Send orders to Hookkeeper and print the result of each: a signed POST, an email, a Slack notification.

`order_events.py register` only registers the webhook and prints its signing key.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

TENANT = "example"
RECEIVER = os.environ.get("RECEIVER_URL", "http://127.0.0.1:9000").rstrip("/")
SLACK = os.environ.get("SLACK_SERVICE")  # https://hooks.slack.com/services/T…/B…/…
TEXT = "{{ event.data.customer }} paid {{ event.data.amount }} EUR for order {{ event.data.order }}."
NOTE = {"service": SLACK, "title": "Paid", "body": TEXT} if SLACK else {"http": {"url": f"{RECEIVER}/notes"}}
WEBHOOK = {
    "name": "order events",
    "url": f"{RECEIVER}/hook",
    "events": ["order.*"],
    "filter": "event.data.amount >= 100",
    # In JSON, {{ … }} writes a JSON value; inside quotes it would write text.
    "payload": {"static": {"shop": "example"}, "template": '{"from": {{ static.shop }}, "order": {{ event.data }}}'},
    "emails": [{"to": ["{{ event.data.email }}"], "subject": "Order {{ event.data.order }}", "text": TEXT}],
    "notifications": [NOTE],
    "retry": {"schedule": [1, 2]},  # seconds; without it there are ten attempts, in three days
}
ORDERS = [
    {"order": 4711, "amount": 129.9, "customer": "Ann", "email": "ann@example.com"},
    {"order": 4712, "amount": 12.5, "customer": "Bob", "email": "bob@example.com"},
    {"order": 4713, "amount": 480, "customer": "Cho", "email": "cho@example.com"},
]


def main() -> int:
    with connect() as api:
        webhook_id = register(api)
        if "register" in sys.argv[1:]:
            print(call(api, "GET", f"webhooks/{webhook_id}/secret")["secret"])
            return 0
        events = [send(api, order) for order in ORDERS]
        statuses = [report(until_final(api, event["id"])) for event in events]
    return 0 if set(statuses) <= {"succeeded", "no_webhook"} else 1  # the filter leaves small orders out


def connect() -> httpx.Client:
    """Use HOOKKEEPER_URL and HOOKKEEPER_API_KEY, or the `make dev` of this directory."""
    file = Path(".hookkeeper/dev.json")
    dev: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"url": "http://127.0.0.1:8080"}
    url = os.environ.get("HOOKKEEPER_URL", dev["url"]).rstrip("/")
    key = os.environ.get("HOOKKEEPER_API_KEY") or (dev.get("key") if url == dev["url"] else None)
    if not key:
        sys.exit(f"No key for {url}: run `make dev` in another terminal, or set HOOKKEEPER_API_KEY.")
    return httpx.Client(base_url=f"{url}/v1", headers={"authorization": f"Bearer {key}"}, timeout=30, trust_env=False)


def call(api: httpx.Client, method: str, path: str, body: Any = None, **query: Any) -> Any:
    """Make a request and return the JSON of the response, or exit with the error.

    After a 503, an event may have been accepted. Its response has the id; repeated with it, it stays one event.
    """
    try:
        answer = api.request(method, path, json=body, params=query)
        if answer.status_code == 503 and (event_id := answer.headers.get("hookkeeper-event-id")):
            time.sleep(5)
            answer = api.request(method, path, json={**body, "id": event_id}, params=query)
    except httpx.TransportError as error:
        sys.exit(f"Cannot reach {api.base_url} ({error}). Is `make dev` running in another terminal?")
    if not answer.is_success:
        sys.exit(f"{method} {answer.url} was answered with {answer.status_code}: {answer.text}")
    return answer.json()


def register(api: httpx.Client) -> str:
    """Create the webhook, or update the one with its name. Return its id."""
    for known in call(api, "GET", "webhooks", tenant=TENANT, limit=100)["items"]:
        if known["name"] == WEBHOOK["name"]:
            return str(call(api, "PATCH", f"webhooks/{known['id']}", WEBHOOK)["id"])
    return str(call(api, "POST", "webhooks", {"tenant": TENANT, **WEBHOOK})["id"])


def send(api: httpx.Client, order: dict[str, Any]) -> Any:
    """Send an event. With your own `id`, the request can be repeated safely."""
    return call(api, "POST", "events", {"type": "order.paid", "tenant": TENANT, "data": order})


def until_final(api: httpx.Client, event_id: str) -> Any:
    """Poll an event until all of its deliveries have ended, for at most a minute."""
    deadline = time.monotonic() + 60
    while (event := call(api, "GET", f"events/{event_id}", tenant=TENANT))["status"] == "delivering":
        if time.monotonic() > deadline:
            sys.exit(f"{event_id} is still being delivered: see {event['links']['temporal']}")
        time.sleep(0.2)
    return event


def report(event: Any) -> str:
    """Print each delivery with its attempts; return the status of the event."""
    print(f"{event['type']}  order {event['data']['order']}  {event['status']}  {event['id']}")
    if not event["deliveries"]:
        print(f"  no deliveries: the amount is {event['data']['amount']}, the filter {WEBHOOK['filter']}")
    for delivery in event["deliveries"]:
        print(f"  {delivery['channel']}  {delivery['target']}  {delivery['status']}")
        for attempt in delivery["attempts"]:
            result = attempt["error"] or attempt["status_code"] or attempt["response_excerpt"]
            print(f"    attempt {attempt['number']}  {attempt['duration_ms']:.0f} ms  {result}")
    return str(event["status"])


if __name__ == "__main__":
    sys.exit(main())
