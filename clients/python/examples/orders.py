"""Register a webhook, post an order, and print its outcome.

`orders.py secret` only registers the webhook and prints its signing key.
"""

import os
import sys
import time

from hookkeeper_client import ApiError, Client, HookkeeperError
from hookkeeper_client.models import RetryPolicy

TENANT, UID = "client-example", "orders"
RECEIVER = os.environ.get("RECEIVER_URL", "http://127.0.0.1:9000").rstrip("/")


def main(hookkeeper: Client) -> int:
    register(hookkeeper)
    if "secret" in sys.argv[1:]:
        print(hookkeeper.show_secret(UID, tenant=TENANT).secret)
        return 0
    accepted = hookkeeper.post_event(type="order.paid", tenant=TENANT, data={"order": 4711})
    until = time.monotonic() + 60
    while (event := hookkeeper.show_event(accepted.id, tenant=TENANT)).status == "delivering":
        if time.monotonic() > until:
            sys.exit(f"{event.id} is still being delivered: see {event.links.temporal}")
        time.sleep(0.2)
    print(f"{event.type}  {event.status}  {event.id}")
    for delivery in event.deliveries:
        print(f"  {delivery.channel}  {delivery.target}  {delivery.status}")
        for attempt in delivery.attempts:
            print(f"    attempt {attempt.number}  {attempt.error or attempt.status_code}")
    return 0 if event.status == "succeeded" else 1


def register(hookkeeper: Client) -> None:
    """Create the webhook with this uid, or change its URL."""
    url, retry = f"{RECEIVER}/hook", RetryPolicy(schedule=[1, 2])  # without it there are ten attempts, in three days
    try:
        hookkeeper.change_webhook(UID, tenant=TENANT, url=url)
    except ApiError as error:
        if error.status != 404:
            raise
        hookkeeper.create_webhook(uid=UID, tenant=TENANT, url=url, events=["order.*"], retry=retry)


if __name__ == "__main__":
    try:
        with Client() as client:
            sys.exit(main(client))
    except (HookkeeperError, ValueError) as error:
        sys.exit(str(error))
