"""What tests of ordered webhooks share."""

import json
from typing import Any

from temporalio.client import WorkflowHandle

from hookkeeper import ids
from house import House
from receivers import Receiver


async def send_numbered(home: House, count: int) -> list[str]:
    """Post events one after another, numbered from 0, and give their ids."""
    return [(await home.send(data={"n": n}))["id"] for n in range(count)]


def numbers(inbox: Receiver) -> list[int]:
    """Give the numbers of all requests, as they came."""
    return [json.loads(each.body)["data"]["n"] for each in inbox.requests]


def first_numbers(inbox: Receiver) -> list[int]:
    """Give them as a receiver sees them that drops what it has had."""
    return list(dict.fromkeys(numbers(inbox)))


def queue_of(home: House, webhook: dict[str, Any]) -> WorkflowHandle[Any, Any]:
    return home.temporal.get_workflow_handle(ids.ordered_queue_id(webhook["id"]))
