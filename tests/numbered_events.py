"""What tests of ordered webhooks share."""

import json
from typing import Any

from instances import Instance
from receivers import Receiver


async def send_numbered(instance: Instance, count: int) -> list[str]:
    """Post events one after another, numbered from 0, and give their ids."""
    return [(await instance.send(data={"n": n}))["id"] for n in range(count)]


def numbers(inbox: Receiver) -> list[int]:
    """Return the numbers of all requests, as they came."""
    return [json.loads(each.body)["data"]["n"] for each in inbox.requests]


def first_numbers(inbox: Receiver) -> list[int]:
    """Return them as a receiver sees them that drops what it has had."""
    return list(dict.fromkeys(numbers(inbox)))


async def queue(instance: Instance, webhook: dict[str, Any]) -> dict[str, Any]:
    """Return what the API shows of the queue of a webhook."""
    answer = await instance.http.get(f"/v1/webhooks/{webhook['id']}/queue")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown
