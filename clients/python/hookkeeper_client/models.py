"""What the API takes, as dicts, and what it answers, as models.

`make client` writes this file from the OpenAPI document.
"""

from datetime import datetime
from typing import Any, Literal, Required

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from hookkeeper_client.base import Model

Channel = Literal["webhook", "email", "notification"]
DeliveryStatus = Literal["pending", "retrying", "held", "sent", "succeeded", "failed", "cancelled"]
EventStatus = Literal["scheduled", "delivering", "no_webhook", "succeeded", "failed", "cancelled"]
OverlapPolicy = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"]
Reason = Literal[
    "exhausted",
    "gone",
    "rejected",
    "bad_template",
    "bounced",
    "forbidden_address",
    "webhook_deleted",
    "webhook_disabled",
    "webhook_paused",
    "queued",
    "held_too_long",
]
Scope = Literal["events:write", "events:read", "webhooks:write", "webhooks:read", "webhooks:secrets", "admin"]


class DeliverySummary(Model):
    id: str
    webhook_id: str
    channel: Channel


class EventLinks(Model):
    self: str
    temporal: str | None


class AcceptedEvent(Model):
    id: str
    type: str
    tenant: str
    status: EventStatus
    duplicate: bool
    workflow_id: str
    run_id: str
    deliveries: list[DeliverySummary]
    note: str | None = None
    links: EventLinks


class AcknowledgeRequest(TypedDict, total=False):
    note: str


class AcknowledgementView(Model):
    at: datetime
    by: str
    note: str


class AlertAfter(TypedDict, total=False):
    """How long a target may fail until its webhook is `failing`."""

    attempts: int | None
    seconds: float | None


class AttemptOutcomes(Model):
    """Attempts by their outcome."""

    succeeded: int
    client_errors: int
    server_errors: int
    timeouts: int
    connection_errors: int
    other_errors: int


class AttemptView(Model):
    number: int
    trigger: Literal["scheduled", "manual"]
    started_at: datetime
    duration_ms: float
    queue_ms: float | None
    connect_ms: float | None
    first_byte_ms: float | None
    status_code: int | None
    error: str | None
    request_digest: str | None
    response_headers: dict[str, str]
    response_excerpt: str
    error_text: str | None
    remedy: str | None


class AuditRecord(Model):
    id: str
    at: datetime
    key_id: str
    key_name: str
    action: str
    object_id: str
    tenant: str | None
    detail: dict[str, Any]


class BackfillRequest(TypedDict, total=False):
    since: Required[datetime | str]
    until: Required[datetime | str]
    overlap: OverlapPolicy


class Backlog(Model):
    """Tasks that wait for a worker, about, by task queue."""

    main: int
    retry: int
    bulk: int


class BadField(Model):
    """An error in one field of a request."""

    path: str
    detail: str


class BulkRequest(TypedDict, total=False):
    action: Required[Literal["retry", "cancel", "redeliver", "acknowledge"]]
    note: str
    rate: float | None
    dry_run: bool


class ResultSoFar(Model):
    """The status of a delivery, and the result of its latest attempt."""

    status: DeliveryStatus
    reason: Reason | None
    attempts: int
    status_code: int | None
    error: str | None
    next_attempt_at: datetime | None


class ChangedDelivery(ResultSoFar):
    id: str
    webhook_id: str
    channel: Channel
    finished_at: datetime | None
    error_text: str | None
    remedy: str | None


class CurrentKey(Model):
    id: str
    name: str
    tenant: str | None
    scopes: list[Scope]


class KeyView(CurrentKey):
    rate_limit: str | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class CreatedKey(KeyView):
    key: str


class ReceiptView(Model):
    """A report of the email provider about a sent email."""

    attempt: int
    address: str
    kind: Literal["delivered", "deferred", "bounced", "dropped", "spam_report"]
    at: datetime
    detail: str


class DeliveryView(DeliverySummary):
    target: str
    status: DeliveryStatus
    reason: Reason | None
    next_attempt_at: datetime | None
    attempts: list[AttemptView]
    attempts_omitted: int
    awaiting: list[str]
    receipts: list[ReceiptView]


class FindingView(Model):
    level: Literal["well", "warning", "wrong"]
    check: str
    text: str
    remedy: str


class DoctorReport(Model):
    status: Literal["well", "warning", "wrong"]
    findings: list[FindingView]


class Email(TypedDict, total=False):
    """An email."""

    to: Required[list[str]]
    cc: list[str]
    bcc: list[str]
    reply_to: str | None
    subject: str | None
    text: str | None
    html: str | None
    template_id: str | None
    template_data: dict[str, Any]
    categories: list[str]
    tracking: bool


class TargetPreview(Model):
    target: str
    title: str | None = None
    headers: dict[str, str] | None = None
    body: str | None = None
    problem: str | None = None


class Mailbox(Model):
    """An email address in ASCII (the domain in punycode) and a display name, both safe to use in a header."""

    address: str
    name: str | None = None


class RenderedEmail(Model):
    """A rendered email, ready to be sent."""

    to: list[Mailbox]
    cc: list[Mailbox] | None = None
    bcc: list[Mailbox] | None = None
    reply_to: Mailbox | None = None
    subject: str
    text: str | None = None
    html: str | None = None
    template_id: str | None = None
    template_data: dict[str, Any] | None = None
    categories: list[str] | None = None
    tracking: bool | None = None


class EmailPreview(TargetPreview):
    rendered: RenderedEmail | None = None


class ErasureAccepted(Model):
    """The erasure has started."""

    id: str
    runs: int


class EventBase(Model):
    id: str
    type: str
    tenant: str
    status: EventStatus
    accepted_at: datetime
    finished_at: datetime | None
    deliver_at: datetime | None
    workflow_id: str
    run_id: str
    links: EventLinks


class EventTemplate(TypedDict, total=False):
    """The event that a schedule posts."""

    type: Required[str]
    channels: list[str]
    data: Any


class NewEvent(EventTemplate, total=False):
    id: str | None
    tenant: str
    timestamp: datetime | str | None
    deliver_at: datetime | str | None


class EventBatch(TypedDict, total=False):
    events: Required[list[NewEvent]]


class ProblemDocument(Model):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[BadField] | None = None
    event_id: str | None = None
    schedule_id: str | None = None


class EventBatchItem(Model):
    """The result for one event of a batch."""

    status: int
    event: AcceptedEvent | None = None
    problem: ProblemDocument | None = None


class EventBatchResult(Model):
    items: list[EventBatchItem]


class EventChange(EventBase):
    """What has changed of an event: the data of a message of the stream."""

    is_new: bool
    needs_attention: bool
    deliveries: list[ChangedDelivery]


class EventCommandAccepted(Model):
    """The run has accepted the command, or the event's row has the acknowledgement."""

    id: str
    command: Literal["cancel", "retry", "hold", "release", "redeliver", "reschedule", "acknowledge", "unacknowledge"]
    delivery: str | None = None


class EventCommandRequest(TypedDict, total=False):
    delivery: str | None


class LatestResultView(ResultSoFar):
    """The result so far of one delivery."""

    delivery: str
    webhook_id: str
    webhook_name: str | None
    channel: Channel
    error_text: str | None
    remedy: str | None


class EventSummary(EventBase):
    channels: list[str]
    webhooks: list[str]
    needs_attention: list[str]
    latest: LatestResultView | None
    acknowledged: AcknowledgementView | None


class EventTypeChanges(TypedDict, total=False):
    """Only the fields that are sent are changed."""

    description: str
    schema: dict[str, Any] | None
    examples: list[Any]
    archived: bool
    search_keys: list[str]


class EventTypeView(Model):
    name: str
    description: str
    schema_: dict[str, Any] | None = Field(alias="schema")
    examples: list[Any]
    archived: bool
    search_keys: list[str]
    created_at: datetime
    updated_at: datetime


class LeftOutView(Model):
    webhook_id: str
    error: str
    text: str
    error_text: str | None
    remedy: str | None


class EventView(EventBase):
    timestamp: datetime
    data: Any
    channels: list[str]
    acknowledged: AcknowledgementView | None
    left_out: list[LeftOutView]
    deliveries: list[DeliveryView]


class FailingTarget(Model):
    """A target of the webhook whose latest attempt has failed."""

    target: str
    since: datetime
    failures: int
    at: datetime
    status_code: int | None
    error: str | None
    text: str
    event_id: str
    error_text: str | None
    remedy: str | None


class FiringLinks(Model):
    event: str | None
    temporal: str | None


class FiringView(Model):
    """The result of one scheduled time."""

    time: datetime
    started_at: datetime
    status: Literal["running", "done", "refused", "cancelled"]
    event_id: str | None
    reason: str | None
    links: FiringLinks


class ForwardAddress(Model):
    """An address whose requests a command line takes."""

    token: str
    url: str


class ForwardAnswer(TypedDict, total=False):
    """The answer of the receiver behind the command line."""

    id: Required[str]
    status: Required[int]
    body: str
    retry_after: str | None


class ForwardRequest(Model):
    """A request to an address."""

    id: str
    headers: dict[str, str]
    body: str


class HeldCount(Model):
    webhook_id: str
    held: int
    counted_at: datetime


class HttpCall(TypedDict, total=False):
    """An HTTP request."""

    method: Literal["POST", "PUT", "PATCH", "GET"]
    url: Required[str]
    headers: dict[str, str]
    body: str | None


class IssueView(Model):
    """Deliveries of one webhook that fail for the same reason."""

    tenant: str
    webhook_id: str
    webhook_name: str | None
    webhook_status: Literal["new", "healthy", "slow", "degraded", "failing", "paused", "disabled"] | None
    error: str | None = None
    status_code: int | None = None
    text: str | None = None
    failed: int | None = None
    retrying: int | None = None
    held: int | None = None
    left_out: int | None = None
    since: datetime | None
    latest_at: datetime | None
    next_attempt_at: datetime | None = None
    error_text: str | None
    remedy: str | None


class IssueList(Model):
    items: list[IssueView]


class LatencyPercentiles(Model):
    """Milliseconds of attempts, failed ones included."""

    p50: float
    p95: float
    p99: float


class NewEventType(EventTypeChanges, total=False):
    name: Required[str]


class NewKey(TypedDict, total=False):
    name: Required[str]
    tenant: Required[str | None]
    scopes: list[Scope]
    rate_limit: str | None
    expires_at: datetime | str | None


class Theme(TypedDict, total=False):
    """The look of the pages."""

    name: str | None
    mode: Literal["auto", "light", "dark"]
    accent: str | None
    accent_dark: str | None
    logo: str | None


class NewPortalLink(TypedDict, total=False):
    tenant: str
    name: str
    capabilities: list[Literal["view", "view_secrets", "manage_webhooks", "redeliver"]]
    link_lifetime: int
    session_lifetime: int
    path: str
    frame_origins: list[str]
    theme: Theme | None
    pages: list[Literal["schedules", "recoveries", "suppressions", "limits"]]
    language: Literal["en", "de", "fr"] | None


class ScheduleFields(TypedDict, total=False):
    """What can be set when a schedule is made, and changed later."""

    name: str
    cron: list[str] | None
    every: int | None
    offset: int
    timezone: str
    overlap: OverlapPolicy
    catchup_window: int
    jitter: int
    start_at: datetime | str | None
    end_at: datetime | str | None
    paused: bool
    note: str


class NewSchedule(ScheduleFields, total=False):
    id: str | None
    tenant: str
    event: Required[EventTemplate]


class NewSuppression(TypedDict, total=False):
    tenant: str
    address: Required[str]
    detail: str


class RetryPolicy(TypedDict, total=False):
    """Either a `schedule` (seconds before each further attempt; `[]` means one attempt) or an exponential backoff."""

    schedule: list[float] | None
    initial: float
    coefficient: float
    maximum: float
    attempts: int


class Notification(TypedDict, total=False):
    """A notification through a service such as Slack, or a call of an HTTP API."""

    service: str | None
    http: HttpCall | None
    title: str | None
    body: str | None


class OnFailure(TypedDict, total=False):
    """Emails and notifications for alerts."""

    emails: list[Email]
    notifications: list[Notification]


class TenantChanges(TypedDict, total=False):
    """Only the fields that are sent are changed."""

    name: str
    metadata: dict[str, str]
    rate_limit: str | None
    suspended: bool
    reason: str
    retry: RetryPolicy | None
    on_failure: OnFailure | None
    alert_after: AlertAfter | None
    signature_scheme: Literal["v1", "v1a"]


class NewTenant(TenantChanges, total=False):
    id: Required[str]


class Payload(TypedDict, total=False):
    """The format of a webhook's requests."""

    format: Literal["standard", "cloudevents", "cloudevents-binary", "svix"]
    static: dict[str, Any]
    template: str | None
    content_type: Literal["application/json", "text/plain", "application/x-www-form-urlencoded"]


class Tls(TypedDict, total=False):
    """TLS settings for the webhook's URL."""

    ca: str | None
    certificate: str | None
    key: str | None


class OrderKey(TypedDict, total=False):
    """The key within which events are ordered."""

    key: Required[str]


class WebhookChanges(TypedDict, total=False):
    """Only the fields that are sent are changed."""

    name: str
    uid: str | None
    description: str
    url: str | None
    events: list[str]
    channels: list[str]
    filter: str | None
    payload: Payload | None
    on_failure: OnFailure | None
    headers: dict[str, str]
    tls: Tls | None
    retry: RetryPolicy | None
    timeout: float
    rate_limit: float | None
    ordered: bool | OrderKey
    order_policy: Literal["block", "skip"]
    alert_after: AlertAfter | None
    slow_after: float | None
    disable_after: float | None
    enabled: bool
    metadata: dict[str, str]
    emails: list[Email]
    notifications: list[Notification]


class NewWebhook(WebhookChanges, total=False):
    tenant: str
    secret: str | None
    signature_scheme: Literal["v1", "v1a"]


class ThemeView(Model):
    name: str | None
    mode: Literal["auto", "light", "dark"]
    accent: str | None
    accent_dark: str | None
    has_logo: bool


class PortalSessionView(Model):
    id: str
    tenant: str
    name: str
    capabilities: list[Literal["view", "view_secrets", "manage_webhooks", "redeliver"]]
    status: Literal["open", "active", "expired", "revoked"]
    path: str
    frame_origins: list[str]
    theme: ThemeView | None
    pages: list[Literal["schedules", "recoveries", "suppressions", "limits"]]
    language: Literal["en", "de", "fr"] | None
    key_id: str
    created_at: datetime
    expires_at: datetime
    opened_at: datetime | None
    revoked_at: datetime | None


class PortalLink(PortalSessionView):
    url: str


class RequestPreview(Model):
    url: str | None = None
    headers: dict[str, str] | None = None
    body: str | None = None
    problem: str | None = None


class Preview(Model):
    type: str
    matches: bool
    filter_error: str | None = None
    request: RequestPreview | None = None
    emails: list[EmailPreview]
    notifications: list[TargetPreview]


class SampleEvent(TypedDict, total=False):
    type: str
    data: Any
    channels: list[str]


class PreviewRequest(TypedDict, total=False):
    """Either a webhook that is not registered, or the id of a registered one."""

    webhook: NewWebhook | None
    webhook_id: str | None
    event: SampleEvent


class QueueState(Model):
    webhook_id: str
    waiting: int
    head: str | None
    stuck_since: datetime | None


class RecoveryCommandAccepted(Model):
    """The recovery has accepted the command."""

    id: str
    command: Literal["pause", "resume", "cancel"]


class RecoveryRequest(TypedDict, total=False):
    since: datetime | str | None
    until: datetime | str | None
    status: Literal["failed", "cancelled", "retrying"]
    types: list[str]
    rate: float
    dry_run: bool


class RecoveryView(Model):
    id: str | None
    tenant: str
    action: Literal["recover", "erase"] | Literal["retry", "cancel", "redeliver", "acknowledge"]
    filter: dict[str, str | list[str]] | None
    changes: list[DeliveryStatus]
    webhook_id: str | None
    status: Literal["running", "paused", "finished", "cancelled", "unknown", "dry_run"]
    found: int | None
    done: int
    failed: int
    skipped: int
    since: datetime | None
    until: datetime
    types: list[str]
    requested_status: Literal["failed", "cancelled", "retrying"]
    rate: float
    started_at: datetime
    finished_at: datetime | None


class RescheduleRequest(TypedDict, total=False):
    deliver_at: Required[datetime | str]


class ScheduleOfKey(Model):
    id: str
    tenant: str
    paused: bool


class RevokedKey(Model):
    id: str
    schedules: list[ScheduleOfKey]


class RunView(Model):
    workflow_id: str
    run_id: str
    status: str
    deliveries: list[DeliveryView]


class RunsView(Model):
    items: list[RunView]


class ScheduleChanges(ScheduleFields, total=False):
    """Only the fields that are sent are changed."""

    event: EventTemplate | None


class ScheduleCommandAccepted(Model):
    """Temporal has accepted the command."""

    id: str
    command: Literal["trigger", "backfill"]
    events: list[str]


class ScheduleLinks(Model):
    self: str
    temporal: str | None


class ScheduleNote(TypedDict, total=False):
    note: str


class ScheduleSummary(ScheduleOfKey):
    name: str
    cron: list[str] | None
    every: int | None
    offset: int
    timezone: str
    overlap: OverlapPolicy
    catchup_window: int
    jitter: int
    start_at: datetime | None
    end_at: datetime | None
    note: str
    type: str
    next: list[datetime] | None
    links: ScheduleLinks


class ScheduleView(ScheduleSummary):
    event: EventTemplate
    recent: list[FiringView] | None
    skipped: int | None
    missed: int | None
    created_at: datetime
    updated_at: datetime | None


class SecretRotation(TypedDict, total=False):
    secret: str | None
    grace: int
    end_previous: bool


class StatisticsCounts(Model):
    events: int | None
    no_webhook: int | None
    deliveries_succeeded: int
    deliveries_failed: int
    deliveries_cancelled: int
    success_rate: float | None
    error_rate: float | None
    attempts: int
    outcomes: AttemptOutcomes
    retries: int
    requested: int
    latency: LatencyPercentiles | None


class StatisticsStep(StatisticsCounts):
    at: datetime


class StatisticsGroup(StatisticsCounts):
    tenant: str | None
    webhook_id: str | None
    channel: Channel | None
    type: str | None
    held: int
    retrying: int
    steps: list[StatisticsStep]


class StatisticsView(Model):
    by: Literal["total", "tenant", "webhook", "channel", "type"]
    since: datetime
    until: datetime
    step: int | None
    items: list[StatisticsGroup]
    waiting_capped: bool


class SuppressionView(Model):
    tenant: str
    address: str
    reason: Literal["bounced", "spam_report", "manual"]
    detail: str
    created_at: datetime


class WaitingDeliveries(Model):
    oldest_pending: float
    held: int
    retrying: int
    not_started: int


class WebhookCounts(Model):
    """Each webhook is counted once, by the status of its health."""

    new: int
    healthy: int
    slow: int
    degraded: int
    failing: int
    paused: int
    disabled: int


class SystemView(Model):
    as_of: datetime
    deliveries: WaitingDeliveries | None
    webhooks: WebhookCounts | None
    backlog: Backlog | None


class TenantRecoveryRequest(RecoveryRequest, total=False):
    tenant: str


class TenantSearchKeys(TypedDict, total=False):
    """All search keys of a tenant."""

    tenant: str
    paths: Required[list[str]]


class TenantSearchKeysView(Model):
    tenant: str
    paths: list[str]


class TenantView(Model):
    id: str
    name: str
    metadata: dict[str, str]
    rate_limit: str | None
    suspended: bool
    reason: str
    retry: RetryPolicy | None
    on_failure: OnFailure | None
    alert_after: AlertAfter | None
    signature_scheme: Literal["v1", "v1a"]
    suspended_at: datetime | None
    created_at: datetime
    updated_at: datetime
    webhooks: int | None
    events: int | None


class TestEventRequest(SampleEvent, total=False):
    id: str | None


class TriggerRequest(TypedDict, total=False):
    overlap: OverlapPolicy
    id: str | None


class WebhookDelivery(ResultSoFar):
    """A delivery of an event to one target of the webhook."""

    id: str
    event_id: str
    type: str
    tenant: str
    channel: Channel
    accepted_at: datetime
    finished_at: datetime | None
    workflow_id: str
    run_id: str
    links: EventLinks


class WebhookHealth(Model):
    """The health of the webhook: that of the latest attempts of its URL, emails and notifications."""

    status: Literal["new", "healthy", "slow", "degraded", "failing", "paused", "disabled"]
    failing_since: datetime | None
    failures: int
    last_success_at: datetime | None
    slow_ms: float | None
    throttled_until: datetime | None
    failing: list[FailingTarget]


class WebhookSecret(Model):
    """The signing key."""

    secret: str
    public_key: str | None = None
    previous_secret_expires_at: datetime | None = None


class WebhookView(Model):
    id: str
    tenant: str
    name: str
    uid: str | None
    description: str
    url: str | None
    events: list[str]
    channels: list[str]
    filter: str | None
    payload: Payload | None
    on_failure: OnFailure | None
    headers: dict[str, str]
    tls: Tls | None
    retry: RetryPolicy | None
    timeout: float
    rate_limit: float | None
    ordered: bool | OrderKey
    order_policy: Literal["block", "skip"]
    alert_after: AlertAfter | None
    slow_after: float | None
    disable_after: float | None
    enabled: bool
    metadata: dict[str, str]
    emails: list[Email]
    notifications: list[Notification]
    signature_scheme: Literal["v1", "v1a"]
    filter_errors: int
    filter_error: str | None
    health: WebhookHealth
    disabled_reason: str | None
    disabled_at: datetime | None
    paused_at: datetime | None
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(WebhookView):
    secret: str
    public_key: str | None
