"""Names of task queues, and the fairness keys of tasks."""

from collections.abc import Collection
from hashlib import sha256
from zlib import crc32


def retry_queue(task_queue: str) -> str:
    """Name the task queue of retries, alerts and probes: endpoints that fail do not occupy slots of first attempts."""
    return f"{task_queue}-retries"


def bulk_queue(task_queue: str) -> str:
    """Name the task queue of bulk work, which waits for deliveries and must not occupy their slots."""
    return f"{task_queue}-bulk"


def process_queue(task_queue: str, process: str) -> str:
    """Name the task queue of one worker process: it goes on with the attempts that it has begun."""
    return f"{task_queue}-process-{process}"


def by_kind(task_queue: str) -> dict[str, str]:
    """Return the names of all task queues by their kinds."""
    return {
        "main": task_queue,
        "retry": retry_queue(task_queue),
        "bulk": bulk_queue(task_queue),
    }


SEVERAL_TENANTS = "several tenants"
"""Stands for the tenants of a shared run that has events of several. No tenant can have this name."""


def tenant_or_several(tenants: Collection[str]) -> str:
    """Return the tenant, or `SEVERAL_TENANTS`: the fairness key of a shared run."""
    return next(iter(tenants)) if len(tenants) == 1 else SEVERAL_TENANTS


KEYS_PER_TENANT = 16
"""Fairness keys of one tenant's webhooks together."""
MAX_FAIRNESS_KEY = 64
"""Bytes that Temporal accepts."""


def fairness_key(tenant: str, webhook_id: str) -> str:
    """Return the fairness key of a webhook in the retry queue. The webhooks of a tenant share a few keys, so that a
    tenant with many webhooks does not get many times the share of a tenant with one.
    """
    prefix = tenant if len(tenant) <= MAX_FAIRNESS_KEY - 2 else sha256(tenant.encode()).hexdigest()[:32]
    return f"{prefix}/{crc32(webhook_id.encode()) % KEYS_PER_TENANT:x}"
