"""Ids, names on the wire, task queues and search attributes: each is spelled here and nowhere else."""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from zlib import crc32

from temporalio.common import SearchAttributeKey

EVENT, LARGE_EVENT, PART = "EventWorkflow", "LargeEventWorkflow", "EventPartWorkflow"
"""Types of workflows: the run of an event; where it has many targets, its run and those of its parts."""
ORDERED_QUEUE = "OrderedQueueWorkflow"
"""The workflow type of the queue of an ordered webhook."""
QUEUE_FULL = "full"
"""Memo of an ordered queue: it accepts no event until events ahead are done."""
RELEASE, RECOVERY = "ReleaseWorkflow", "RecoveryWorkflow"
"""Types of those that go through many events."""
SCHEDULED = "ScheduledEventWorkflow"
"""The type of a firing of a schedule."""
FAIRNESS_CHECK = "FairnessCheck"
"""The type of the run by which a worker finds out whether fairness works; no worker runs it."""
PROBE = "ProbeWorkflow"
"""The type of what finds out whether a webhook answers again."""

STATE = "state"
"""The query for the public state of a workflow."""
RECEIPT, RELEASE_WEBHOOK, GRANT = "receipt", "release_webhook", "grant"
"""Signals of an event's run. Its commands are updates, and signals as well: `messages.event.Command`."""
RESCHEDULE = "reschedule"
"""Update of an event's run."""
RESTART_PART = "again"
"""Update of a large event's run."""
ENQUEUE, DONE, CHECK = "enqueue", "done", "check"
"""Signals of an ordered queue."""
RELEASE_AGAIN = "again"
"""Signal of a release."""
CLOSE_AS_CANCELLED = "close_as_cancelled"
"""The activity whose input keeps the final state of a cancelled run."""

TENANT = SearchAttributeKey.for_keyword("HookTenant")
EVENT_TYPE = SearchAttributeKey.for_keyword("HookEventType")
WEBHOOKS = SearchAttributeKey.for_keyword_list("HookWebhooks")
NEEDS_ATTENTION = SearchAttributeKey.for_keyword_list("HookNeedsAttention")
"""Webhooks whose delivery is retrying, held or failed; absent where all is well."""
HELD = SearchAttributeKey.for_keyword_list("HookHeld")
"""Webhooks whose delivery is held; absent where none is."""
DELIVER_AT = SearchAttributeKey.for_datetime("HookDeliverAt")
"""Only while a run waits for its time."""
RUN_NUMBER = SearchAttributeKey.for_int("HookRunNumber")
"""Only on redeliveries: 2 for the second run of an event, and so on. Where it has parts, theirs are counted with it."""
FIRED_FOR = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""Temporal's own, on what a schedule starts: the time that it stands for, without jitter."""

SEARCH_ATTRIBUTES = {
    TENANT.name: "Keyword",
    EVENT_TYPE.name: "Keyword",
    WEBHOOKS.name: "KeywordList",
    NEEDS_ATTENTION.name: "KeywordList",
    HELD.name: "KeywordList",
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


def part_id(tenant: str, event_id: str, part: int) -> str:
    """Name the run of a part of an event: `event-<tenant>-<event id>.<n>`. An event id holds no dot."""
    return f"{workflow_id(tenant, event_id)}.{part}"


def event_of(workflow: str) -> tuple[str, str]:
    """Read tenant and event id back from a workflow id, also from that of a part."""
    _, tenant, event = workflow.split("-", 2)
    return tenant.replace(".", "-"), event.partition(".")[0]


def part_of(workflow: str) -> int:
    """Read back from a workflow id which part of its event it is; 0 is the whole."""
    return int(workflow.split("-", 2)[2].partition(".")[2] or 0)


def ordered_queue_id(webhook_id: str) -> str:
    """Name the queue of an ordered webhook: `ordered-queue-<webhook id>`."""
    return f"ordered-queue-{webhook_id}"


def position_of(tenant: str, workflow: str) -> str:
    """Name the position of a run in a queue of its tenant: the event's id, and of a part `<event id>.<n>`."""
    return workflow.removeprefix(workflow_id(tenant, ""))


def run_at(tenant: str, position: str) -> str:
    """Name the run at this position."""
    return workflow_id(tenant, position)


SCHEDULE_PREFIX = "schedule-"
FIRING_TIME, EVENT_TIME = "%Y-%m-%dT%H:%M:%SZ", "%Y%m%dT%H%M%SZ"
"""How Temporal adds the time to what a schedule starts, and how we do to its event."""


def schedule_id(tenant: str, schedule: str) -> str:
    """Name a tenant's schedule in Temporal: `schedule-<tenant>-<id>`, with dots as in `workflow_id`."""
    return f"{SCHEDULE_PREFIX}{tenant.replace('-', '.')}-{schedule}"


def schedule_of(name: str) -> tuple[str, str]:
    """Read tenant and id back from what `schedule_id` has named."""
    tenant, schedule = name.removeprefix(SCHEDULE_PREFIX).split("-", 1)
    return tenant.replace(".", "-"), schedule


def firing_id(tenant: str, schedule: str) -> str:
    """Name what a schedule starts. Temporal adds the time: `firing-<tenant>-<id>-2026-01-02T09:00:00Z`."""
    return f"firing-{tenant.replace('-', '.')}-{schedule}"


def fired_for(firing: str) -> datetime:
    """Read the time back that Temporal has added to a firing's workflow id."""
    return datetime.strptime(firing[-20:], FIRING_TIME).replace(tzinfo=UTC)


def scheduled_event_id(schedule: str, when: datetime) -> str:
    """Name the event that a schedule makes for a time, always the same: `<id>-20260102T090000Z`."""
    return f"{schedule}-{when.astimezone(UTC):{EVENT_TIME}}"


def firing_of(tenant: str, event_id: str) -> str | None:
    """Name the firing that makes an event of this id, if it is one that a schedule could have made."""
    schedule, _, time = event_id.rpartition("-")
    try:
        when = datetime.strptime(time, EVENT_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return f"{firing_id(tenant, schedule)}-{when:{FIRING_TIME}}"


def retry_queue(task_queue: str) -> str:
    """Name the queue of later attempts, alerts, probes and looks at deliveries, so that dead endpoints never take a
    healthy one's slot.
    """
    return f"{task_queue}-retries"


def limited_queue(task_queue: str) -> str:
    """Name the queue of webhooks that take only so many requests a second: Temporal keeps each one's limit there."""
    return f"{task_queue}-limited"


def bulk_queue(task_queue: str) -> str:
    """Name the queue of what goes through many events. It waits for deliveries, and must not take their places."""
    return f"{task_queue}-bulk"


KEYS_PER_TENANT = 16
"""Fairness keys that one tenant's webhooks have together."""
MAX_FAIRNESS_KEY = 64
"""Bytes that Temporal takes."""


def fairness_key(tenant: str, webhook_id: str) -> str:
    """Give the key by which tenants share the turns of the retry queue: each has a few, between which its webhooks are
    divided, so that one with many webhooks has not many times the turns of one with a single webhook.
    """
    whose = tenant if len(tenant) <= MAX_FAIRNESS_KEY - 2 else sha256(tenant.encode()).hexdigest()[:32]
    return f"{whose}/{crc32(webhook_id.encode()) % KEYS_PER_TENANT:x}"


def release_id(webhook_id: str) -> str:
    """Name the run that releases what a webhook held: there is one at a time."""
    return f"release-{webhook_id}"


def probe_id(webhook_id: str) -> str:
    """Name the run that probes a disabled webhook: there is one at a time."""
    return f"probe-{webhook_id}"


ALL_OF = "tenant_"
"""No webhook's id begins like that."""


def recovery_id(nonce: str, tenant: str, webhook_id: str | None) -> str:
    """Name a recovery of a webhook, or of a whole tenant: `rec_<nonce>_wh_…`, `rec_<nonce>_tenant_<tenant>`."""
    return f"rec_{nonce}_{webhook_id or ALL_OF + tenant}"


def recovery_workflow_id(recovery: str) -> str | None:
    """Name the run of a recovery, the same for all of a webhook: one runs at a time. None if this names no recovery."""
    prefix, _, rest = recovery.partition("_")
    _, _, subject = rest.partition("_")
    if prefix != "rec" or not subject:
        return None
    if subject.startswith(ALL_OF):
        return f"recovery-tenant-{subject.removeprefix(ALL_OF).replace('-', '.')}"
    return f"recovery-{subject}"
