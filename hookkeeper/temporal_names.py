"""Names that Temporal stores: workflow types, queries, signals, updates, memo fields and search attributes.

Open runs and histories have them, so none of them may change.
"""

EVENT = "EventWorkflow"
"""The workflow type of an event's run."""
SHARED_RUN = "SharedRunWorkflow"
"""The workflow type of a run that makes the first attempts of several events."""
RELEASE, RECOVERY = "ReleaseWorkflow", "RecoveryWorkflow"
"""Workflow types of bulk work on events. Bulk actions and deletions of tenants are recoveries."""
SCHEDULED = "ScheduledEventWorkflow"
"""The workflow type of a schedule's firing."""
INCIDENT = "IncidentWorkflow"
"""The workflow type that alerts of a webhook for as long as it fails."""
INSTALLATION = "Installation"
"""The workflow type of the run that names the registry of a namespace. It has no code: it never begins."""
WORKFLOW_TYPES = (EVENT, SHARED_RUN, RELEASE, RECOVERY, SCHEDULED, INCIDENT)
"""All of this release."""

STATE = "state"
"""The query for the public state of a workflow."""
COMMAND = "command"
"""Update of a shared run: a command to one of its events."""
RECEIPT, RELEASE_WEBHOOK, TURN = "receipt", "release_webhook", "turn"
"""Signals of an event's run. Its commands are updates, and signals as well: `hookkeeper.command_rules`."""
RESCHEDULE = "reschedule"
"""Update of an event's run."""
RESTART_RELEASE = "restart"
"""Signal of a release."""
LOOK = "look"
"""Signal of an incident."""
CLOSE_AS_CANCELLED = "close_as_cancelled"
"""The activity whose input keeps the final state of a cancelled run."""

DIGEST, ACCEPTED_AT = "digest", "accepted_at"
"""Memo of an event's run: the digest of what was posted (`services.events.new_event`), and when it was accepted."""
EVENT_COUNT = "events"
"""Memo of a shared run: the number of its events."""
REGISTRY = "registry"
"""Memo of the run that names the registry: its id."""
RUN_NUMBER = "run_number"
"""Memo, only on redeliveries: 2 for the second run of an event, and so on."""

TENANT, EVENT_TYPE = "HookTenant", "HookEventType"
"""Search attributes; `hookkeeper.search_attributes` has the typed keys for the SDK, which takes long to import."""
NEEDS_ATTENTION = "HookNeedsAttention"
"""On an open run: webhooks whose delivery is retrying, held or failed; absent if there are none."""
DELIVER_AT = "HookDeliverAt"
"""On the first run of a scheduled event: when it is delivered."""
EVENTS = "HookEvents"
"""On a shared run: the ids of its events."""
SEARCH_ATTRIBUTES = {
    TENANT: "Keyword",
    EVENT_TYPE: "Keyword",
    NEEDS_ATTENTION: "KeywordList",
    DELIVER_AT: "Datetime",
    EVENTS: "KeywordList",
}
FIRED_FOR = "TemporalScheduledStartTime"
"""Temporal's own, on runs that a schedule starts: the time of the schedule, without jitter."""
