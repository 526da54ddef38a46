"""Examples of answers for the OpenAPI document, most of them made of rows and messages as real answers are.

All belong to one story: tenant acme, webhook Orders, order 4711.
"""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from api import views
from api.openapi import outgoing
from api.openapi.outgoing import DATA, EVENT_ID, RUN_ID, WEBHOOK_ID
from api.problems import Unprocessable, document
from api.routes.issues import IssueList
from api.routes.keys import CreatedKey, CurrentKey, KeyView, RevokedKey, ScheduleOfKey
from api.routes.suppressions import SuppressionView
from api.routes.system import (
    AuditRecord,
    Backlog,
    DoctorReport,
    FindingView,
    SystemView,
    WaitingDeliveries,
    WebhookCounts,
)
from api.schemas.events import (
    ErasureAccepted,
    EventBatchItem,
    EventBatchResult,
    EventCommandAccepted,
    EventSummary,
    LatestResultView,
    RunsView,
    RunView,
)
from api.schemas.recoveries import HeldCount, QueueState, RecoveryCommandAccepted, WebhookDelivery
from api.views import statistics
from hookkeeper.content.headers import MASK
from hookkeeper.content.templates import EXAMPLE_EVENT_ID
from hookkeeper.kinds import LISTS
from hookkeeper.links import LinkBuilder
from hookkeeper.messages.bulk_work import RecoveryScope, RecoveryState
from hookkeeper.messages.event import Attempt, Delivery, EventInput, EventState
from hookkeeper.messages.run_report import row_of
from hookkeeper.messages.schedule import SchedulePlan
from hookkeeper.policy import RetryPolicy
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.registry.events.statistics import Group, Measures, Statistics, StatisticsQuery
from hookkeeper.registry.models import Webhook
from hookkeeper.services.catalogue.event_types import EventTypeView, TenantSearchKeysView
from hookkeeper.services.errors import Invalid
from hookkeeper.services.schedules.fields import ScheduleCommandAccepted, ScheduleSummary
from hookkeeper.services.tenants.portal_links import PortalLink, PortalSessionView, ThemeView
from hookkeeper.services.tenants.tenants import TenantView
from hookkeeper.services.webhooks.issues import IssueView
from hookkeeper.services.webhooks.preview import Preview, RequestPreview
from hookkeeper.temporal.schedules.conversion import FiringRun, ScheduleSnapshot

CREATED = datetime(2026, 1, 1, 9, tzinfo=UTC)
HAPPENED = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ACCEPTED, ENDED = HAPPENED + timedelta(milliseconds=24), HAPPENED + timedelta(seconds=5.342)
DUE = datetime(2026, 1, 2, 8, tzinfo=UTC)
LINKS = LinkBuilder("https://hooks.acme.example", "https://temporal.acme.example", "default")
WORKFLOW_ID = f"event-acme-{EVENT_ID}"
URL = "https://acme.example/hook"

WEBHOOK = Webhook(
    id=WEBHOOK_ID,
    tenant="acme",
    name="Orders",
    url=URL,
    events=["order.*"],
    secret="whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",  # noqa: S106 - of an example
    headers={"x-shop": "4711"},
    filter="event.data.amount != '0.00'",
    retry=RetryPolicy(schedule=(5, 300)),
    last_success_at=HAPPENED.replace(second=0, microsecond=0),
    metadata_={"team": "billing"},
    created_at=CREATED,
    updated_at=CREATED,
)
PREVIEW = Preview(
    type="order.paid",
    matches=True,
    request=RequestPreview(
        url=URL,
        headers={"content-type": "application/json", "webhook-id": EXAMPLE_EVENT_ID, "x-shop": MASK},
        body='{"id":"evt_example","type":"order.paid","timestamp":"2026-01-02T03:04:05.678Z","data":{"order":4711}}',
    ),
    **{kind.field: [] for kind, _ in LISTS},
)

DIGEST = "jBlM.l5D38wQb.-RcYEPJE.w4wr8wVcUWqYrF2X8w58Ng"
ATTEMPTS = (
    Attempt(
        number=1,
        started_at=ACCEPTED,
        duration_ms=41.7,
        queue_ms=9.3,
        connect_ms=12.1,
        first_byte_ms=29.4,
        status_code=503,
        error="http_503",
        request_digest=DIGEST,
        response_headers={"server": "nginx", "content-type": "text/plain"},
        response_excerpt="Try again later.",
    ),
    Attempt(
        number=2,
        started_at=ENDED,
        duration_ms=28.2,
        queue_ms=4.8,
        first_byte_ms=28.1,
        status_code=200,
        request_digest=DIGEST,
        response_headers={"server": "nginx", "content-type": "text/plain"},
        response_excerpt="ok",
    ),
)
STATE = EventState(
    id=EVENT_ID,
    type="order.paid",
    tenant="acme",
    timestamp=HAPPENED,
    status="succeeded",
    accepted_at=ACCEPTED,
    finished_at=ENDED,
    deliveries=(Delivery(id=WEBHOOK_ID, webhook_id=WEBHOOK_ID, target=URL, status="succeeded", attempts=ATTEMPTS),),
)
INPUT = EventInput(id=EVENT_ID, type="order.paid", tenant="acme", timestamp=HAPPENED, data=DATA, accepted_at=ACCEPTED)
ROW = row_of(STATE, ENDED, RUN_ID, INPUT)
EVENT = views.event(EventSnapshot(ROW, INPUT, STATE), LINKS)
DELIVERING = STATE.model_copy(update={"status": "delivering"})
ACCEPTED_EVENT = views.accepted(EventSnapshot(ROW, INPUT, DELIVERING), LINKS)
NO_TYPE = Invalid.field("type", "Field required")

RECOVERY = RecoveryState(
    id=f"rec_1b9d6f2a_{WEBHOOK_ID}",
    scope=RecoveryScope(
        tenant="acme",
        webhook_id=WEBHOOK_ID,
        since=HAPPENED.replace(minute=0, second=0, microsecond=0),
        until=DUE,
        began=DUE,
    ),
    rate=20,
    found=1200,
    done=340,
    skipped=2,
)

PLAN = SchedulePlan(
    id="daily-report",
    tenant="acme",
    name="Daily report",
    type="report.due",
    data={"report": "orders"},
    cron=("0 9 * * 1-5",),
    timezone="Europe/Berlin",
)
FIRING = FiringRun(
    time=DUE,
    started_at=DUE + timedelta(milliseconds=31),
    status="done",
    event_id="daily-report-20260102T080000Z",
    reason=None,
    workflow_id="firing-acme-daily-report-2026-01-02T08:00:00Z",
    run_id=RUN_ID,
)
SCHEDULE = views.schedule(
    ScheduleSnapshot(
        plan=PLAN,
        paused=False,
        note="",
        next=(DUE + timedelta(days=3), DUE + timedelta(days=4)),
        skipped=0,
        missed=0,
        created_at=CREATED,
        updated_at=None,
        firings=(FIRING,),
    ),
    LINKS,
)

KEY = KeyView(
    id="key_0123456789abcdef",
    name="Acme's backend",
    tenant="acme",
    scopes=["events:write", "events:read"],
    rate_limit=None,
    created_at=CREATED,
    last_used_at=HAPPENED.replace(second=0, microsecond=0),
    expires_at=None,
    revoked_at=None,
)

PORTAL_SESSION = PortalSessionView(
    id="prt_0123456789abcdef",
    tenant="acme",
    name="ann@acme.example",
    capabilities=["view", "redeliver"],
    status="open",
    path="/webhooks",
    frame_origins=["https://app.acme.example"],
    theme=ThemeView(name="Acme", mode="light", accent="#0f766e", accent_dark=None, has_logo=False),
    pages=["schedules"],
    language="de",
    key_id=KEY.id,
    created_at=CREATED,
    expires_at=CREATED + timedelta(minutes=10),
    opened_at=None,
    revoked_at=None,
)

MIDNIGHT, NEXT_MIDNIGHT = (datetime(2026, 1, day, tzinfo=UTC) for day in (2, 3))
COUNTED = Measures(
    {
        **{"deliveries_succeeded": 118, "deliveries_failed": 2},
        **{"attempts": 131, "succeeded": 118, "server_errors": 9, "timeouts": 4, "retries": 11, "requested": 1},
        **{"latency_2": 70, "latency_3": 40, "latency_5": 17, "latency_19": 4},
    }
)
STATISTICS = statistics(
    StatisticsQuery(MIDNIGHT, NEXT_MIDNIGHT, NEXT_MIDNIGHT, by="webhook", step=86_400),
    Statistics(
        since=MIDNIGHT,
        until=NEXT_MIDNIGHT,
        times=[MIDNIGHT],
        groups=[Group({"tenant": "acme", "webhook_id": WEBHOOK_ID}, COUNTED, [COUNTED], held=12, retrying=3)],
        waiting_capped=False,
    ),
)

ISSUE = IssueView(
    tenant="acme",
    webhook_id=WEBHOOK_ID,
    webhook_name=WEBHOOK.name,
    webhook_status="failing",
    error="http_503",
    status_code=503,
    text="no database",
    failed=2,
    retrying=3,
    since=MIDNIGHT,
    latest_at=ENDED,
    next_attempt_at=NEXT_MIDNIGHT,
)

SYSTEM = SystemView(
    as_of=ENDED,
    deliveries=WaitingDeliveries(oldest_pending=0.4, held=12, retrying=3, not_started=0),
    webhooks=WebhookCounts(new=3, healthy=83, slow=1, degraded=1, failing=2, paused=1, disabled=4),
    backlog=Backlog(main=5, retry=3, bulk=0),
)

DOCTOR = DoctorReport(
    status="warning",
    findings=[
        FindingView(level="well", check="registry", text="PostgreSQL 15.18, 0.4 ms a round trip", remedy=""),
        FindingView(level="warning", check="workers", text="no worker polls", remedy="start `hookkeeper worker`"),
    ],
)

LATEST = LatestResultView(
    delivery=WEBHOOK_ID,
    webhook_id=WEBHOOK_ID,
    webhook_name=WEBHOOK.name,
    channel="webhook",
    status="succeeded",
    reason=None,
    attempts=len(ATTEMPTS),
    status_code=ATTEMPTS[-1].status_code,
    error=ATTEMPTS[-1].error,
    next_attempt_at=None,
)

EXAMPLES: tuple[BaseModel, ...] = (
    views.webhook(WEBHOOK),
    views.webhook_with_secret(WEBHOOK),
    views.secret(WEBHOOK),
    PREVIEW,
    HeldCount(webhook_id=WEBHOOK_ID, held=12, counted_at=ENDED),
    QueueState(webhook_id=WEBHOOK_ID, waiting=3, head=EVENT_ID, stuck_since=None),
    WebhookDelivery.of(
        EVENT,
        id=WEBHOOK_ID,
        event_id=EVENT_ID,
        channel="webhook",
        reason=None,
        attempts=len(ATTEMPTS),
        status_code=ATTEMPTS[-1].status_code,
        error=ATTEMPTS[-1].error,
        next_attempt_at=None,
    ),
    ACCEPTED_EVENT,
    EventBatchResult(
        items=[
            EventBatchItem(status=202, event=ACCEPTED_EVENT),
            EventBatchItem(status=422, problem=document(Unprocessable(str(NO_TYPE), NO_TYPE.errors))),
        ]
    ),
    EVENT,
    RunsView(items=[RunView(workflow_id=WORKFLOW_ID, run_id=RUN_ID, status="COMPLETED", deliveries=EVENT.deliveries)]),
    EventSummary.of(EVENT, webhooks=[WEBHOOK_ID], needs_attention=[], latest=LATEST, channels=["project_1"]),
    EventCommandAccepted(id=EVENT_ID, command="retry", delivery=WEBHOOK_ID),
    ErasureAccepted(id=EVENT_ID, runs=1),
    STATISTICS,
    IssueList(items=[ISSUE]),
    SYSTEM,
    DOCTOR,
    views.recovery(RECOVERY),
    RecoveryCommandAccepted(id=RECOVERY.id, command="pause"),
    SCHEDULE,
    ScheduleSummary.of(SCHEDULE),
    ScheduleCommandAccepted(
        id=PLAN.id, command="backfill", events=["daily-report-20260101T080000Z", "daily-report-20260102T080000Z"]
    ),
    EventTypeView(
        name="order.paid",
        description="A customer has paid.",
        schema={"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}},
        examples=[{"order": 4711}],
        archived=False,
        search_keys=["order"],
        created_at=CREATED,
        updated_at=CREATED,
    ),
    TenantView(
        id="acme",
        name="Acme Ltd",
        rate_limit="100/second",
        suspended_at=None,
        created_at=CREATED,
        updated_at=CREATED,
        webhooks=3,
        events=4711,
    ),
    TenantSearchKeysView(tenant="acme", paths=["order_id", "customer.id"]),
    SuppressionView(
        tenant="acme",
        address="ann@acme.example",
        reason="bounced",
        detail="550 5.1.1 No such mailbox",
        created_at=CREATED,
    ),
    KEY,
    CreatedKey.of(KEY, key="hk_Y0pJ2nq7bV1xW5sT8uZ3aB6cD9eF4gH7iK0lM2oP5rQ1koztV"),
    CurrentKey(id=KEY.id, name=KEY.name, tenant=KEY.tenant, scopes=KEY.scopes),
    RevokedKey(id=KEY.id, schedules=[ScheduleOfKey(id=PLAN.id, tenant="acme", paused=True)]),
    PORTAL_SESSION,
    PortalLink.of(
        PORTAL_SESSION, url="https://hooks.acme.example/portal/Y0pJ2nq7bV1xW5sT8uZ3aB6cD9eF4gH7iK0lM2oP5rQ2hPN9v"
    ),
    AuditRecord(
        id="aud_7d2e7c559a3e4f1f3a0f2b61",
        at=CREATED,
        key_id=KEY.id,
        key_name=KEY.name,
        action="webhook.create",
        object_id=WEBHOOK_ID,
        tenant="acme",
        detail={"fields": ["events", "url"]},
    ),
    outgoing.EVENT,
    outgoing.ALERT,
)
"""They are not part of the models: FastAPI drops nulls from a model's examples."""
