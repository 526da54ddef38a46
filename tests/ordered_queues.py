"""What tests of ordered webhooks share."""

import json
from typing import Any

from temporalio.client import WorkflowHandle

from hookkeeper import ids
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


def queue_of(instance: Instance, webhook: dict[str, Any]) -> WorkflowHandle[Any, Any]:
    return instance.temporal.get_workflow_handle(ids.ordered_queue_id(webhook["id"]))
