"""Ids, task queues and search attributes: each is spelled here and nowhere else."""

from collections.abc import Iterable

from temporalio.common import SearchAttributeKey

TENANT = SearchAttributeKey.for_keyword("HookTenant")
EVENT_TYPE = SearchAttributeKey.for_keyword("HookEventType")
WEBHOOKS = SearchAttributeKey.for_keyword_list("HookWebhooks")
TROUBLE = SearchAttributeKey.for_keyword_list("HookTrouble")
"""Webhooks whose delivery is retrying, held or failed; absent where all is well."""
DELIVER_AT = SearchAttributeKey.for_datetime("HookDeliverAt")
"""Only while a run waits for its time."""
RUN_NUMBER = SearchAttributeKey.for_int("HookRunNumber")
"""Only on redeliveries: 2 for the second run of an event, and so on."""

SEARCH_ATTRIBUTES = {
    TENANT.name: "Keyword",
    EVENT_TYPE.name: "Keyword",
    WEBHOOKS.name: "KeywordList",
    TROUBLE.name: "KeywordList",
    DELIVER_AT.name: "Datetime",
    RUN_NUMBER.name: "Int",
}


LISTED_BYTES = 1900
"""Of ids in one search attribute. A server refuses a value of over 2,048 bytes, and a run that upserts one is stuck."""


def listed(webhook_ids: Iterable[str]) -> list[str]:
    """Give the ids as a search attribute takes them: each once, sorted, and as many as fit (about 100)."""
    fitting: list[str] = []
    size = 2
    for webhook_id in sorted(set(webhook_ids)):
        size += len(webhook_id.encode()) + 3
        if size > LISTED_BYTES:
            break
        fitting.append(webhook_id)
    return fitting


def workflow_id(tenant: str, event_id: str) -> str:
    """Name the run of an event: `event-<tenant>-<event id>`.

    A dash within the tenant is written as a dot, which neither a tenant nor an event id can hold: otherwise tenant
    `a` with event `b-c` and tenant `a-b` with event `c` would share one run.
    """
    return f"event-{tenant.replace('-', '.')}-{event_id}"


def event_of(workflow: str) -> tuple[str, str]:
    """Read tenant and event id back from a workflow id."""
    _, tenant, event_id = workflow.split("-", 2)
    return tenant.replace(".", "-"), event_id


def retry_queue(task_queue: str) -> str:
    """Name the queue of all but first rounds, so that dead endpoints never take a healthy one's slot."""
    return f"{task_queue}-retries"
