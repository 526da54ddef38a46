"""Examples for the OpenAPI document. All belong to one story: tenant acme, webhook Orders, order 4711."""

from typing import Any

from pydantic import ConfigDict

Example = dict[str, Any]


def shows(*examples: Example) -> ConfigDict:
    """Make the configuration of a model that has these examples."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


WEBHOOK_ID, EVENT_ID, RECOVERY_ID = (
    "wh_7w1gq0f3k2xd",
    "evt_5c1d0e6a2f7b4d3890ab12cd",
    "rec_1b9d6f2ac0e4_wh_7w1gq0f3k2xd",
)
WORKFLOW_ID, RUN_ID = f"event-acme-{EVENT_ID}", "019b7c3a-7d2e-7c55-9a3e-4f1f3a0f2b61"
HAPPENED, ACCEPTED, ENDED = "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.702Z", "2026-01-02T03:04:11.020Z"
CREATED = "2026-01-01T09:00:00.000Z"
DATA = {"order": 4711, "amount": "12.50"}
PUBLIC_URL, UI_URL = "https://hooks.acme.example", "https://temporal.acme.example/namespaces/default"
LINKS: Example = {
    "self": f"{PUBLIC_URL}/v1/events/{EVENT_ID}?tenant=acme",
    "temporal": f"{UI_URL}/workflows/{WORKFLOW_ID}/{RUN_ID}/timeline",
}

WEBHOOK: Example = {
    "id": WEBHOOK_ID,
    "tenant": "acme",
    "name": "Orders",
    "description": "",
    "url": "https://acme.example/hook",
    "events": ["order.*"],
    "filter": "event.data.amount != '0.00'",
    "filter_errors": 0,
    "filter_error": None,
    "payload": None,
    "emails": [],
    "notifications": [],
    "on_failure": None,
    "headers": {"x-shop": "********"},
    "tls": None,
    "signature_scheme": "v1",
    "retry": {"schedule": [5, 300]},
    "timeout": 15,
    "rate_limit": None,
    "ordered": False,
    "order_policy": "block",
    "disable_after": None,
    "health": {
        "status": "healthy",
        "failing_since": None,
        "failures": 0,
        "last_success_at": "2026-01-02T03:04:00.000Z",
        "throttled_until": None,
    },
    "enabled": True,
    "disabled_reason": None,
    "disabled_at": None,
    "paused_at": None,
    "metadata": {"team": "billing"},
    "created_at": CREATED,
    "updated_at": CREATED,
}
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"  # noqa: S105 - of an example
WEBHOOK_SECRET: Example = {"secret": SECRET, "public_key": None, "previous_secret_expires_at": None}
PREVIEW: Example = {
    "matches": True,
    "filter_error": None,
    "request": {
        "url": "https://acme.example/hook",
        "headers": {"content-type": "application/json", "webhook-id": "evt_example", "x-shop": "********"},
        "body": '{"id":"evt_example","type":"order.paid","timestamp":"2026-01-02T03:04:05.678Z","data":{"order":4711}}',
        "problem": None,
    },
    "emails": [],
    "notifications": [],
}
WEBHOOK_DELIVERY: Example = {
    "event_id": EVENT_ID,
    "type": "order.paid",
    "tenant": "acme",
    "status": "succeeded",
    "accepted_at": ACCEPTED,
    "finished_at": ENDED,
    "workflow_id": WORKFLOW_ID,
    "run_id": RUN_ID,
    "links": LINKS,
}
HELD_COUNT: Example = {"webhook_id": WEBHOOK_ID, "held": 12, "counted_at": ENDED}
QUEUE_STATE: Example = {"webhook_id": WEBHOOK_ID, "waiting": 3, "head": EVENT_ID, "stuck_since": None}

DELIVERY_HEAD: Example = {"id": WEBHOOK_ID, "webhook_id": WEBHOOK_ID, "channel": "webhook"}
ACCEPTED_EVENT: Example = {
    "id": EVENT_ID,
    "type": "order.paid",
    "tenant": "acme",
    "status": "delivering",
    "duplicate": False,
    "workflow_id": WORKFLOW_ID,
    "run_id": RUN_ID,
    "deliveries": [DELIVERY_HEAD],
    "links": LINKS,
}
PROBLEM: Example = {
    "type": "urn:hookkeeper:problem:invalid",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "The request is invalid: see errors.",
    "errors": [{"path": "type", "detail": "Field required"}],
}
BATCH_ANSWERS: Example = {
    "items": [
        {"status": 202, "event": ACCEPTED_EVENT, "problem": None},
        {"status": 422, "event": None, "problem": PROBLEM},
    ]
}
EVENT_HEAD: Example = {
    "id": EVENT_ID,
    "type": "order.paid",
    "tenant": "acme",
    "status": "succeeded",
    "accepted_at": ACCEPTED,
    "finished_at": ENDED,
    "deliver_at": None,
    "workflow_id": WORKFLOW_ID,
    "run_id": RUN_ID,
    "links": LINKS,
}
EVENT_ROW: Example = EVENT_HEAD | {"webhooks": [WEBHOOK_ID], "needs_attention": []}
ATTEMPT: Example = {
    "number": 1,
    "trigger": "scheduled",
    "started_at": "2026-01-02T03:04:05.731Z",
    "duration_ms": 41.7,
    "status_code": 503,
    "error": "http_503",
    "response_excerpt": "Try again later.",
}
SECOND_ATTEMPT: Example = ATTEMPT | {
    "number": 2,
    "started_at": "2026-01-02T03:04:10.962Z",
    "status_code": 200,
    "error": None,
    "response_excerpt": "ok",
}
EVENT: Example = EVENT_HEAD | {
    "timestamp": HAPPENED,
    "data": DATA,
    "deliveries": [
        DELIVERY_HEAD
        | {
            "target": "https://acme.example/hook",
            "status": "succeeded",
            "reason": None,
            "next_attempt_at": None,
            "attempts": [ATTEMPT, SECOND_ATTEMPT],
            "attempts_omitted": 0,
            "awaiting": [],
            "receipts": [],
        }
    ],
}
COMMAND: Example = {"id": EVENT_ID, "command": "retry", "delivery": WEBHOOK_ID}
ERASED: Example = {"id": EVENT_ID, "runs": 1}

RECOVERY: Example = {
    "id": RECOVERY_ID,
    "tenant": "acme",
    "webhook_id": WEBHOOK_ID,
    "status": "running",
    "found": 1200,
    "redelivered": 340,
    "failed": 0,
    "skipped": 2,
    "since": "2026-01-02T03:00:00.000Z",
    "until": "2026-01-02T09:00:00.000Z",
    "types": [],
    "wanted": "failed",
    "rate": 20,
    "started_at": "2026-01-02T09:00:00.000Z",
    "finished_at": None,
}
RECOVERY_COMMAND: Example = {"id": RECOVERY_ID, "command": "pause"}

SCHEDULE_HEAD: Example = {
    "id": "daily-report",
    "tenant": "acme",
    "name": "Daily report",
    "type": "report.due",
    "cron": ["0 9 * * 1-5"],
    "every": None,
    "offset": 0,
    "timezone": "Europe/Berlin",
    "overlap": "skip",
    "start_at": None,
    "end_at": None,
    "paused": False,
    "note": "",
    "next": ["2026-01-05T08:00:00.000Z", "2026-01-06T08:00:00.000Z"],
    "links": {"self": f"{PUBLIC_URL}/v1/schedules/daily-report?tenant=acme", "temporal": None},
}
SCHEDULE: Example = SCHEDULE_HEAD | {
    "event": {"type": "report.due", "data": {"report": "orders"}},
    "catchup_window": 31536000,
    "jitter": 0,
    "recent": [
        {
            "time": "2026-01-02T08:00:00.000Z",
            "started_at": "2026-01-02T08:00:00.031Z",
            "status": "done",
            "event_id": "daily-report-20260102T080000Z",
            "reason": None,
            "links": {
                "event": f"{PUBLIC_URL}/v1/events/daily-report-20260102T080000Z?tenant=acme",
                "temporal": None,
            },
        }
    ],
    "skipped": 0,
    "missed": 0,
    "created_at": CREATED,
    "updated_at": None,
}
SCHEDULE_COMMAND: Example = {
    "id": "daily-report",
    "command": "backfill",
    "events": ["daily-report-20260101T080000Z", "daily-report-20260102T080000Z"],
}

EVENT_TYPE: Example = {
    "name": "order.paid",
    "description": "A customer has paid.",
    "schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}},
    "examples": [{"order": 4711}],
    "archived": False,
    "created_at": CREATED,
    "updated_at": CREATED,
}
SUPPRESSION: Example = {
    "tenant": "acme",
    "address": "ann@acme.example",
    "reason": "bounced",
    "detail": "550 5.1.1 No such mailbox",
    "created_at": CREATED,
}
KEY: Example = {
    "id": "key_0123456789abcdef",
    "name": "Acme's backend",
    "tenant": "acme",
    "scopes": ["events:write", "events:read"],
    "rate_limit": None,
    "created_at": CREATED,
    "last_used_at": "2026-01-02T03:04:00.000Z",
    "expires_at": None,
    "revoked_at": None,
}
NEW_KEY: Example = KEY | {"last_used_at": None, "key": "hk_Y0pJ2nq7bV1xW5sT8uZ3aB6cD9eF4gH7iK0lM2oP5rQ"}
REVOKED_KEY: Example = {"id": KEY["id"], "schedules": [{"id": "daily-report", "tenant": "acme", "paused": True}]}
AUDIT_RECORD: Example = {
    "id": "aud_7d2e7c559a3e4f1f3a0f2b61",
    "at": CREATED,
    "key_id": KEY["id"],
    "key_name": KEY["name"],
    "action": "webhook.create",
    "object_id": WEBHOOK_ID,
    "tenant": "acme",
    "detail": {"fields": ["events", "url"]},
}

ANSWERS: dict[str, Example] = {
    "AcceptedEvent": ACCEPTED_EVENT,
    "AuditRecord": AUDIT_RECORD,
    "BatchAnswers": BATCH_ANSWERS,
    "Erased": ERASED,
    "Event": EVENT,
    "EventRow": EVENT_ROW,
    "EventTypeEntry": EVENT_TYPE,
    "Fired": SCHEDULE_COMMAND,
    "HeldCount": HELD_COUNT,
    "KeyEntry": KEY,
    "KeyWithText": NEW_KEY,
    "CommandAccepted": COMMAND,
    "Preview": PREVIEW,
    "QueueState": QUEUE_STATE,
    "Recovery": RECOVERY,
    "RevokedKey": REVOKED_KEY,
    "Schedule": SCHEDULE,
    "ScheduleHead": SCHEDULE_HEAD,
    "Steered": RECOVERY_COMMAND,
    "SuppressionEntry": SUPPRESSION,
    "Webhook": WEBHOOK,
    "WebhookDelivery": WEBHOOK_DELIVERY,
    "WebhookSecret": WEBHOOK_SECRET,
    "WebhookWithSecret": WEBHOOK | {"secret": SECRET, "public_key": None},
}
"""By the name of their schema. They are not part of the models: FastAPI drops nulls from a model's examples."""
