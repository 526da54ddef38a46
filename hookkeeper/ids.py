"""Ids of workflows, and of what is named after them: each is spelled here and nowhere else."""

import re
from datetime import UTC, datetime
from hashlib import sha256
from secrets import token_hex

EVENT_RUN = re.compile(r"event-[^-]+-[^.]+(\.[0-9]+)?")
MAX_PARTS = 9_999
"""Of an event. A larger number after the dot is a time."""


def workflow_id(tenant: str, event_id: str) -> str:
    """Return the id of an event's run: `event-<tenant>-<event id>`."""
    return f"event-{_dotted(tenant)}-{event_id}"


WEBHOOK_PREFIX = "wh_"


def is_webhook_id(text: str) -> bool:
    """Return whether this is the id of a webhook, not a `uid`, which never looks like one."""
    return text.startswith(WEBHOOK_PREFIX)


SHARED_PREFIX = "shared-"


def shared_run_id() -> str:
    """Name a new shared run: `shared-<24 hexadecimal digits>`."""
    return f"{SHARED_PREFIX}{token_hex(12)}"


def is_shared_run(workflow: str) -> bool:
    """Return whether this is the workflow id of a shared run."""
    return workflow.startswith(SHARED_PREFIX)


def replaced_shared_run(workflow: str) -> tuple[str, int]:
    """Return the id of the first shared run that this one replaces, and how many were replaced since then."""
    first, _, count = workflow.partition(".")
    return first, int(count or 0)


def shared_run_after(workflow: str) -> str:
    """Name the shared run that replaces this one: `shared-…`, `shared-….1`, `shared-….2`."""
    first, count = replaced_shared_run(workflow)
    return f"{first}.{count + 1}"


def is_later_shared_run(workflow: str, than: str) -> bool:
    """Return whether a shared run replaces another one."""
    (first, count), (other_first, other_count) = map(replaced_shared_run, (workflow, than))
    return first == other_first and count > other_count


def run_of(tenant: str, event_id: str, part: int) -> str:
    """Name one of an event's runs: `event-<tenant>-<event id>`, and `event-<tenant>-<event id>.<n>` for the second one
    and so on. An event id contains no dot.
    """
    first = workflow_id(tenant, event_id)
    return first if part == 1 else f"{first}.{part}"


def run_apart(tenant: str, event_id: str, accepted_at: datetime) -> str:
    """Name the own run of an event whose id another open event has: `event-<tenant>-<event id>.<microseconds>`."""
    return f"{workflow_id(tenant, event_id)}.{round(accepted_at.timestamp() * 1e6)}"


def is_apart(workflow: str) -> bool:
    """Return whether this is the name of an own run that is not named after its event alone, nor a sibling."""
    return is_event_run(workflow) and part_of(workflow) == 1 and "." in workflow.split("-", 2)[2]


def is_event_run(workflow: str) -> bool:
    """Return whether this is the workflow id of an event. Temporal's own tools start runs with any id."""
    return EVENT_RUN.fullmatch(workflow) is not None


def event_of(workflow: str) -> tuple[str, str]:
    """Return tenant and event id of a run's workflow id."""
    _, tenant, event = workflow.split("-", 2)
    return tenant.replace(".", "-"), event.partition(".")[0]


def part_of(workflow: str) -> int:
    """Return the number of a run among its siblings, by its workflow id; 1 for a run that has none."""
    number = int(workflow.split("-", 2)[2].partition(".")[2] or 1)
    return number if number <= MAX_PARTS else 1


def line_of(webhook_id: str, key: str) -> str:
    """Name the line of an ordered webhook's deliveries with this key, by a digest: keys are tenants' data."""
    return sha256(f"{webhook_id} {key}".encode()).hexdigest()[:24]


def installation_id(task_queue: str) -> str:
    """Name the run that names the registry of an installation."""
    return f"installation-{task_queue}"


SCHEDULE_PREFIX = "schedule-"
FIRING_TIME, EVENT_TIME = "%Y-%m-%dT%H:%M:%SZ", "%Y%m%dT%H%M%SZ"
"""The time in the workflow id of a firing, which Temporal adds, and in the id of its event."""


def schedule_id(tenant: str, schedule: str) -> str:
    """Name a tenant's schedule in Temporal: `schedule-<tenant>-<id>`, with dots in the tenant."""
    return f"{SCHEDULE_PREFIX}{_dotted(tenant)}-{schedule}"


def is_schedule(name: str) -> bool:
    """Return whether `schedule_id` may have named this schedule of Temporal's. Other applications name theirs."""
    return name.startswith(SCHEDULE_PREFIX) and "-" in name.removeprefix(SCHEDULE_PREFIX)


def schedule_of(name: str) -> tuple[str, str]:
    """Return tenant and id of a schedule named by `schedule_id`."""
    tenant, schedule = name.removeprefix(SCHEDULE_PREFIX).split("-", 1)
    return tenant.replace(".", "-"), schedule


def firing_id(tenant: str, schedule: str) -> str:
    """Name the firings of a schedule. Temporal adds the time: `firing-<tenant>-<id>-2026-01-02T09:00:00Z`."""
    return f"firing-{_dotted(tenant)}-{schedule}"


def fired_for(firing: str) -> datetime:
    """Return the time that Temporal has added to a firing's workflow id."""
    return datetime.strptime(firing[-20:], FIRING_TIME).replace(tzinfo=UTC)


def scheduled_event_id(schedule: str, when: datetime) -> str:
    """Name the event that a schedule makes for a time: `<id>-20260102T090000Z`."""
    return f"{schedule}-{when.astimezone(UTC):{EVENT_TIME}}"


def scheduled_event(event_id: str) -> tuple[str, datetime] | None:
    """Return the schedule and the time of an event that `scheduled_event_id` named; None for any other id."""
    schedule, _, time = event_id.rpartition("-")
    try:
        when = datetime.strptime(time, EVENT_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return (schedule, when) if scheduled_event_id(schedule, when) == event_id else None


def firing_of(tenant: str, event_id: str) -> str | None:
    """Name the firing that makes an event with this id; None if no schedule can have made it."""
    if (scheduled := scheduled_event(event_id)) is None:
        return None
    schedule, when = scheduled
    return f"{firing_id(tenant, schedule)}-{when:{FIRING_TIME}}"


def release_id(webhook_id: str) -> str:
    """Name the run that releases what a webhook held; one runs at a time."""
    return f"release-{webhook_id}"


def incident_id(webhook_id: str) -> str:
    """Name the run that alerts of a failing webhook; one runs at a time."""
    return f"incident-{webhook_id}"


def recovery_id(nonce: str, tenant: str, webhook_id: str | None, action: str | None = None) -> str:
    """Name a recovery of a webhook, or of a whole tenant, or another action: `rec_<nonce>_wh_…`,
    `rec_<nonce>_tenant_<tenant>`, `rec_<nonce>_<action>_<tenant>`.
    """
    subject = webhook_id or f"{action or 'tenant'}_{tenant}"
    return f"rec_{nonce}_{subject}"


WEBHOOK_RECOVERY_PREFIX = f"recovery-{WEBHOOK_PREFIX}"
"""What the workflow ids of recoveries of a webhook begin with."""


def recovery_workflow_id(recovery: str) -> str | None:
    """Name the run of a recovery, the same for all of a webhook, or of an action of a tenant: one runs at a time.

    None if this names no recovery.
    """
    prefix, _, rest = recovery.partition("_")
    _, _, subject = rest.partition("_")
    if prefix != "rec" or not subject:
        return None
    kind, _, tenant = subject.partition("_")
    if tenant and kind != "wh":
        return f"recovery-{kind}-{_dotted(tenant)}"
    return f"recovery-{subject}"


def _dotted(tenant: str) -> str:
    """Replace dashes by dots, which neither a tenant nor an event id contains.

    Otherwise tenant `a` with event `b-c` and tenant `a-b` with event `c` would share one run.
    """
    return tenant.replace("-", ".")
