"""One method for each operation of the API.

`make client` writes this file from the OpenAPI document.
"""

# mypy: disable-error-code="empty-body"

from datetime import datetime
from typing import Any, Literal, Unpack

from hookkeeper_client import models
from hookkeeper_client.base import Page, pages, route, stream


class Routes:
    """The methods of both clients. Those of `Client` return results, those of `AsyncClient` have to be awaited."""

    @route("POST", "/v1/events", own_id=True)
    def post_event(
        self, *, if_match: Literal["*"] | None = None, **body: Unpack[models.NewEvent]
    ) -> models.AcceptedEvent:
        """Accept an event and start delivering it."""

    @pages("GET", "/v1/events")
    def list_events(
        self,
        *,
        q: str | None = None,
        total: bool | None = None,
        limit: int | None = None,
        type: list[str] | None = None,
        status: list[models.EventStatus] | None = None,
        needs_attention: bool | None = None,
        acknowledged: bool | None = None,
        delivery_status: list[models.DeliveryStatus] | None = None,
        id_prefix: str | None = None,
        status_code: str | None = None,
        error: str | None = None,
        min_attempts: int | None = None,
        channel: models.Channel | None = None,
        in_channel: str | None = None,
        tenant: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        last: str | None = None,
        webhook: str | None = None,
    ) -> Page[models.EventSummary]:
        """List events, newest first."""

    @route("POST", "/v1/events/batch", own_id=True)
    def post_batch(
        self, *, if_match: Literal["*"] | None = None, **body: Unpack[models.EventBatch]
    ) -> models.EventBatchResult:
        """Accept up to 1,000 events."""

    @stream("GET", "/v1/events/stream")
    def stream_events(
        self,
        *,
        type: list[str] | None = None,
        status: list[models.EventStatus] | None = None,
        needs_attention: bool | None = None,
        acknowledged: bool | None = None,
        delivery_status: list[models.DeliveryStatus] | None = None,
        id_prefix: str | None = None,
        status_code: str | None = None,
        error: str | None = None,
        min_attempts: int | None = None,
        channel: models.Channel | None = None,
        tenant: str | None = None,
        webhook: str | None = None,
        last_event_id: str | None = None,
    ) -> models.EventChange:
        """Follow new events and the outcomes of attempts, as server-sent events, about a second behind."""

    @route("GET", "/v1/events/{event_id}")
    def show_event(self, event_id: str, /, *, tenant: str | None = None) -> models.EventView:
        """Show an event with its data, its deliveries and their attempts."""

    @route("GET", "/v1/events/{event_id}/run")
    def show_run(self, event_id: str, /, *, tenant: str | None = None) -> models.RunsView:
        """Ask the workflow that runs an event for its state, which needs Temporal, and a worker while the run is
        open."""

    @route("POST", "/v1/events/{event_id}/retry")
    def retry_event(
        self, event_id: str, /, *, tenant: str | None = None, **body: Unpack[models.EventCommandRequest]
    ) -> models.EventCommandAccepted:
        """Attempt one delivery now, or all that have not succeeded."""

    @route("POST", "/v1/events/{event_id}/cancel")
    def cancel_event(
        self, event_id: str, /, *, tenant: str | None = None, **body: Unpack[models.EventCommandRequest]
    ) -> models.EventCommandAccepted:
        """Cancel one delivery, or all."""

    @route("POST", "/v1/events/{event_id}/hold")
    def hold_event(
        self, event_id: str, /, *, tenant: str | None = None, **body: Unpack[models.EventCommandRequest]
    ) -> models.EventCommandAccepted:
        """Hold one delivery, or all, until it is released."""

    @route("POST", "/v1/events/{event_id}/release")
    def release_event(
        self, event_id: str, /, *, tenant: str | None = None, **body: Unpack[models.EventCommandRequest]
    ) -> models.EventCommandAccepted:
        """Continue one held delivery, or all."""

    @route("POST", "/v1/events/{event_id}/redeliver")
    def redeliver_event(
        self, event_id: str, /, *, tenant: str | None = None, **body: Unpack[models.EventCommandRequest]
    ) -> models.EventCommandAccepted:
        """Make one delivery again, or all, including those that succeeded."""

    @route("POST", "/v1/events/{event_id}/reschedule")
    def reschedule_event(
        self, event_id: str, /, *, tenant: str | None = None, **body: Unpack[models.RescheduleRequest]
    ) -> models.EventCommandAccepted:
        """Change the time of an event that is scheduled for later."""

    @route("POST", "/v1/events/{event_id}/acknowledge")
    def acknowledge_event(
        self, event_id: str, /, *, tenant: str | None = None, **body: Unpack[models.AcknowledgeRequest]
    ) -> models.EventCommandAccepted:
        """Take an event out of what needs attention, until a delivery of it fails again."""

    @route("POST", "/v1/events/{event_id}/unacknowledge")
    def unacknowledge_event(self, event_id: str, /, *, tenant: str | None = None) -> models.EventCommandAccepted:
        """Undo the acknowledgement of an event."""

    @route("DELETE", "/v1/events/{event_id}/data")
    def erase_event(self, event_id: str, /, *, tenant: str | None = None) -> models.ErasureAccepted:
        """Erase a finished event: its data, its deliveries and its log."""

    @route("POST", "/v1/webhooks/preview")
    def preview_webhook(self, *, tenant: str | None = None, **body: Unpack[models.PreviewRequest]) -> models.Preview:
        """Show what a webhook, registered or not, would send for an event."""

    @route("POST", "/v1/webhooks")
    def create_webhook(self, **body: Unpack[models.NewWebhook]) -> models.WebhookWithSecret:
        """Register a webhook."""

    @pages("GET", "/v1/webhooks")
    def list_webhooks(
        self,
        *,
        limit: int | None = None,
        event: str | None = None,
        enabled: bool | None = None,
        status: Literal["new", "healthy", "slow", "degraded", "failing", "paused", "disabled"] | None = None,
        tenant: str | None = None,
        q: str | None = None,
    ) -> Page[models.WebhookView]:
        """List webhooks, newest first."""

    @route("GET", "/v1/webhooks/{webhook_id}")
    def show_webhook(self, webhook_id: str, /, *, tenant: str | None = None) -> models.WebhookView:
        """Show a webhook, without its secret."""

    @route("PATCH", "/v1/webhooks/{webhook_id}")
    def change_webhook(
        self, webhook_id: str, /, *, tenant: str | None = None, **body: Unpack[models.WebhookChanges]
    ) -> models.WebhookView:
        """Change the fields that are sent."""

    @route("DELETE", "/v1/webhooks/{webhook_id}")
    def delete_webhook(self, webhook_id: str, /, *, tenant: str | None = None) -> None:
        """Remove a webhook."""

    @route("GET", "/v1/webhooks/{webhook_id}/secret")
    def show_secret(self, webhook_id: str, /, *, tenant: str | None = None) -> models.WebhookSecret:
        """Show the signing key, which can sign any request: `webhooks:read` is not enough."""

    @route("POST", "/v1/webhooks/{webhook_id}/rotate-secret")
    def rotate_secret(
        self, webhook_id: str, /, *, tenant: str | None = None, **body: Unpack[models.SecretRotation]
    ) -> models.WebhookSecret:
        """Set a new signing key."""

    @route("POST", "/v1/webhooks/{webhook_id}/test", own_id=True)
    def send_test(
        self, webhook_id: str, /, *, tenant: str | None = None, **body: Unpack[models.TestEventRequest]
    ) -> models.AcceptedEvent:
        """Send a real, signed event to this webhook only, even if it is disabled."""

    @route("POST", "/v1/webhooks/{webhook_id}/pause")
    def pause_webhook(self, webhook_id: str, /, *, tenant: str | None = None) -> models.WebhookView:
        """Hold deliveries until the webhook is resumed."""

    @route("POST", "/v1/webhooks/{webhook_id}/resume")
    def resume_webhook(self, webhook_id: str, /, *, tenant: str | None = None) -> models.WebhookView:
        """Resume a webhook."""

    @pages("GET", "/v1/webhooks/{webhook_id}/deliveries")
    def list_deliveries(
        self,
        webhook_id: str,
        /,
        *,
        total: bool | None = None,
        limit: int | None = None,
        type: list[str] | None = None,
        status: list[models.DeliveryStatus] | None = None,
        id_prefix: str | None = None,
        status_code: str | None = None,
        error: str | None = None,
        min_attempts: int | None = None,
        channel: models.Channel | None = None,
        tenant: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        last: str | None = None,
    ) -> Page[models.WebhookDelivery]:
        """List the deliveries of a webhook, newest event first."""

    @route("GET", "/v1/webhooks/{webhook_id}/held")
    def count_held(self, webhook_id: str, /, *, tenant: str | None = None) -> models.HeldCount:
        """Count the events with held deliveries: the webhook is paused or disabled, or a command holds them."""

    @route("GET", "/v1/webhooks/{webhook_id}/queue")
    def show_queue(self, webhook_id: str, /, *, tenant: str | None = None) -> models.QueueState:
        """Show the queue of an ordered webhook, and whether it is stuck."""

    @route("POST", "/v1/webhooks/{webhook_id}/recover")
    def recover_webhook(
        self, webhook_id: str, /, *, tenant: str | None = None, **body: Unpack[models.RecoveryRequest]
    ) -> models.RecoveryView:
        """Redeliver the failed deliveries of a webhook in the background, oldest first, at the given rate, or slower
        while Temporal or the workers are busy."""

    @route("POST", "/v1/recoveries")
    def recover_tenant(self, **body: Unpack[models.TenantRecoveryRequest]) -> models.RecoveryView:
        """Redeliver the failed deliveries of all webhooks of a tenant."""

    @pages("GET", "/v1/recoveries")
    def list_recoveries(
        self, *, limit: int | None = None, tenant: str | None = None, webhook: str | None = None
    ) -> Page[models.RecoveryView]:
        """List recoveries: open ones first, then finished ones, each newest first."""

    @route("POST", "/v1/bulk")
    def command_events(
        self,
        *,
        q: str | None = None,
        type: list[str] | None = None,
        status: list[models.EventStatus] | None = None,
        needs_attention: bool | None = None,
        acknowledged: bool | None = None,
        delivery_status: list[models.DeliveryStatus] | None = None,
        id_prefix: str | None = None,
        status_code: str | None = None,
        error: str | None = None,
        min_attempts: int | None = None,
        channel: models.Channel | None = None,
        in_channel: str | None = None,
        tenant: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        last: str | None = None,
        webhook: str | None = None,
        **body: Unpack[models.BulkRequest],
    ) -> models.RecoveryView:
        """Retry, cancel, redeliver or acknowledge all events that a filter matches, in the background, newest first."""

    @route("GET", "/v1/recoveries/{recovery_id}")
    def show_recovery(self, recovery_id: str, /) -> models.RecoveryView:
        """Show the progress or the result of a recovery."""

    @route("POST", "/v1/recoveries/{recovery_id}/pause")
    def pause_recovery(self, recovery_id: str, /) -> models.RecoveryCommandAccepted:
        """Pause a recovery until it is resumed."""

    @route("POST", "/v1/recoveries/{recovery_id}/resume")
    def resume_recovery(self, recovery_id: str, /) -> models.RecoveryCommandAccepted:
        """Continue a paused recovery."""

    @route("POST", "/v1/recoveries/{recovery_id}/cancel")
    def cancel_recovery(self, recovery_id: str, /) -> models.RecoveryCommandAccepted:
        """End a recovery."""

    @route("POST", "/v1/suppressions")
    def create_suppression(self, **body: Unpack[models.NewSuppression]) -> models.SuppressionView:
        """Suppress an address: it receives no more emails."""

    @pages("GET", "/v1/suppressions")
    def list_suppressions(
        self, *, address: str | None = None, limit: int | None = None, tenant: str | None = None
    ) -> Page[models.SuppressionView]:
        """List suppressed addresses, newest first."""

    @route("DELETE", "/v1/suppressions/{address}")
    def delete_suppression(self, address: str, /, *, tenant: str | None = None) -> None:
        """Let an address receive emails again."""

    @route("POST", "/v1/event-types")
    def create_event_type(self, **body: Unpack[models.NewEventType]) -> models.EventTypeView:
        """Add an event type."""

    @pages("GET", "/v1/event-types")
    def list_event_types(self, *, archived: bool | None = None, limit: int | None = None) -> Page[models.EventTypeView]:
        """List event types by name."""

    @route("GET", "/v1/event-types/{name}")
    def show_event_type(self, name: str, /) -> models.EventTypeView:
        """Show an event type."""

    @route("PATCH", "/v1/event-types/{name}")
    def change_event_type(self, name: str, /, **body: Unpack[models.EventTypeChanges]) -> models.EventTypeView:
        """Change the fields that are sent."""

    @route("DELETE", "/v1/event-types/{name}")
    def delete_event_type(self, name: str, /) -> None:
        """Remove an event type from the catalogue."""

    @pages("GET", "/v1/search-keys")
    def list_search_keys(
        self, *, limit: int | None = None, tenant: str | None = None
    ) -> Page[models.TenantSearchKeysView]:
        """List the search keys of tenants, by tenant."""

    @route("PUT", "/v1/search-keys")
    def set_search_keys(self, **body: Unpack[models.TenantSearchKeys]) -> models.TenantSearchKeysView:
        """Replace the search keys of a tenant: paths in the data of its events, of all types."""

    @route("GET", "/v1/stats")
    def show_statistics(
        self,
        *,
        by: Literal["total", "tenant", "webhook", "channel", "type"] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        step: int | None = None,
        type: str | None = None,
        channel: models.Channel | None = None,
        order: Literal["size", "failures"] | None = None,
        tenant: str | None = None,
        webhook: str | None = None,
    ) -> models.StatisticsView:
        """Count events, deliveries and attempts, by tenant, webhook, channel or event type, and over time."""

    @route("GET", "/v1/issues")
    def list_issues(
        self, *, state: Literal["open", "acknowledged", "closed"] | None = None, tenant: str | None = None
    ) -> models.IssueList:
        """List what fails or waits, grouped by webhook and error, each with its cause and what usually helps."""

    @route("POST", "/v1/tenants")
    def create_tenant(self, **body: Unpack[models.NewTenant]) -> models.TenantView:
        """Describe a tenant."""

    @pages("GET", "/v1/tenants")
    def list_tenants(self, *, limit: int | None = None, q: str | None = None) -> Page[models.TenantView]:
        """List tenants, newest first."""

    @route("GET", "/v1/tenants/{tenant_id}")
    def show_tenant(self, tenant_id: str, /) -> models.TenantView:
        """Show a tenant, with the number of its webhooks and of its events of the last 24 hours."""

    @route("PATCH", "/v1/tenants/{tenant_id}")
    def change_tenant(self, tenant_id: str, /, **body: Unpack[models.TenantChanges]) -> models.TenantView:
        """Change the fields that are sent."""

    @route("PUT", "/v1/tenants/{tenant_id}")
    def put_tenant(self, tenant_id: str, /, **body: Unpack[models.TenantChanges]) -> models.TenantView:
        """Add a tenant, also one that was deleted; or change the fields that are sent of the one that is there."""

    @route("DELETE", "/v1/tenants/{tenant_id}")
    def delete_tenant(self, tenant_id: str, /) -> models.RecoveryView:
        """Delete a tenant with all that it has, in the background: the answer is a recovery with the action `erase`."""

    @route("GET", "/v1/system")
    def show_system(self) -> models.SystemView:
        """Show what waits in the whole installation, and its webhooks by state."""

    @route("GET", "/v1/system/doctor")
    def show_doctor(self) -> models.DoctorReport:
        """Examine Temporal, the registry, workers, keys, clocks, certificates and outgoing connections as this API
        process sees them, as `hookkeeper doctor` does."""

    @route("POST", "/v1/schedules")
    def create_schedule(self, **body: Unpack[models.NewSchedule]) -> models.ScheduleView:
        """Create a schedule."""

    @pages("GET", "/v1/schedules")
    def list_schedules(self, *, limit: int | None = None, tenant: str | None = None) -> Page[models.ScheduleSummary]:
        """List schedules with their next times, newest first."""

    @route("GET", "/v1/schedules/{schedule_id}")
    def show_schedule(self, schedule_id: str, /, *, tenant: str | None = None) -> models.ScheduleView:
        """Show a schedule with its event, its next times and its latest results."""

    @route("PATCH", "/v1/schedules/{schedule_id}")
    def update_schedule(
        self, schedule_id: str, /, *, tenant: str | None = None, **body: Unpack[models.ScheduleChanges]
    ) -> models.ScheduleView:
        """Change the fields that are sent, from the next time on."""

    @route("DELETE", "/v1/schedules/{schedule_id}")
    def delete_schedule(self, schedule_id: str, /, *, tenant: str | None = None) -> None:
        """Remove a schedule."""

    @route("POST", "/v1/schedules/{schedule_id}/pause")
    def pause_schedule(
        self, schedule_id: str, /, *, tenant: str | None = None, **body: Unpack[models.ScheduleNote]
    ) -> models.ScheduleView:
        """Pause a schedule until it is resumed."""

    @route("POST", "/v1/schedules/{schedule_id}/resume")
    def resume_schedule(
        self, schedule_id: str, /, *, tenant: str | None = None, **body: Unpack[models.ScheduleNote]
    ) -> models.ScheduleView:
        """Resume a schedule from its next time on."""

    @route("POST", "/v1/schedules/{schedule_id}/trigger")
    def trigger_schedule(
        self, schedule_id: str, /, *, tenant: str | None = None, **body: Unpack[models.TriggerRequest]
    ) -> models.ScheduleCommandAccepted:
        """Post an event now, even if the schedule is paused, at most one a second."""

    @route("POST", "/v1/schedules/{schedule_id}/backfill")
    def backfill_schedule(
        self, schedule_id: str, /, *, tenant: str | None = None, **body: Unpack[models.BackfillRequest]
    ) -> models.ScheduleCommandAccepted:
        """Post the events of all times in a past period, about ten a second, even if the schedule is paused."""

    @route("POST", "/v1/portal-links")
    def create_portal_link(self, **body: Unpack[models.NewPortalLink]) -> models.PortalLink:
        """Make a single-use link to the dashboard for a customer without a key."""

    @pages("GET", "/v1/portal-sessions")
    def list_portal_sessions(
        self, *, limit: int | None = None, tenant: str | None = None
    ) -> Page[models.PortalSessionView]:
        """List links and the sessions that they began, newest first, including some that are over."""

    @route("DELETE", "/v1/portal-sessions/{session_id}")
    def revoke_portal_session(self, session_id: str, /) -> None:
        """Revoke a link, or end its session: at once in this API process, and within a second in others."""

    @route("GET", "/v1/keys/current")
    def show_current_key(self) -> models.CurrentKey:
        """Show the key that the request is made with."""

    @route("POST", "/v1/keys")
    def create_key(self, **body: Unpack[models.NewKey]) -> models.CreatedKey:
        """Create a key."""

    @pages("GET", "/v1/keys")
    def list_keys(self, *, limit: int | None = None, tenant: str | None = None) -> Page[models.KeyView]:
        """List keys, newest first, including revoked ones."""

    @route("DELETE", "/v1/keys/{key_id}")
    def revoke_key(self, key_id: str, /, *, pause_schedules: bool | None = None) -> models.RevokedKey:
        """Revoke a key."""

    @pages("GET", "/v1/audit")
    def list_audit_log(
        self,
        *,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
        tenant: str | None = None,
    ) -> Page[models.AuditRecord]:
        """List the changes of keys, webhooks, event types, suppressions and schedules, and the commands, newest
        first."""

    @route("GET", "/v1/catalogue")
    def export_catalogue(self, *, format: Literal["openapi", "asyncapi"] | None = None) -> dict[str, Any]:
        """Export the catalogue as an OpenAPI 3.1 or AsyncAPI 3 document, for the tools of your customers."""

    @route("POST", "/v1/forwards")
    def create_forward(self, *, tenant: str | None = None) -> models.ForwardAddress:
        """Make an address for a webhook whose receiver has no public address, as `hookkeeper forward` does."""

    @stream("GET", "/v1/forwards/{token}")
    def stream_forwards(self, token: str, /) -> models.ForwardRequest:
        """Take the requests to an address, as server-sent events."""

    @route("PATCH", "/v1/forwards/{token}")
    def answer_forward(self, token: str, /, **body: Unpack[models.ForwardAnswer]) -> None:
        """Answer a request that the stream has handed out."""
