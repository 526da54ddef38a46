"""The forms on the page of a webhook. They call what the routes of the API call."""

from hmac import compare_digest

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api.access import needs
from api.deps import (
    AuditDep,
    CallerDep,
    CatalogueDep,
    GatewayDep,
    IngestDep,
    KnownWebhook,
    LinksDep,
    SandboxDep,
    SettingsDep,
    StoreDep,
    ValidatorDep,
)
from api.pages.recoveries import problem_of, since_of
from api.pages.rendering import query, redirect
from api.pages.routes import PageRoute
from api.pages.samples import answer_url, at_its_field, read_test
from api.pages.webhook import mark_of, show_again
from api.problems import Problem, ServiceUnavailable
from api.requests import in_thread
from api.routes import recoveries
from api.routes import webhooks as api
from api.schemas.recoveries import RecoveryRequest
from hookkeeper.registry.webhooks import ChangedMeanwhile
from hookkeeper.services.errors import Invalid
from hookkeeper.services.webhook_fields import (
    PreviewRequest,
    SampleEvent,
    SecretRotation,
    TestEventRequest,
    WebhookChanges,
)
from hookkeeper.services.webhooks import found
from hookkeeper.temporal.error_translation import Conflict

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)
_WRITES = [needs("webhooks:write")]


@router.post("/{webhook_id}/pause", dependencies=_WRITES)
async def pause_webhook(webhook: KnownWebhook, store: StoreDep, caller: CallerDep) -> Response:
    """Pause a webhook."""
    await api.pause_webhook(webhook, store, caller)
    return _done(webhook.id, "pause")


@router.post("/{webhook_id}/resume", dependencies=_WRITES)
async def resume_webhook(webhook: KnownWebhook, store: StoreDep, gateway: GatewayDep, caller: CallerDep) -> Response:
    """Resume a webhook."""
    await api.resume_webhook(webhook, store, gateway, caller)
    return _done(webhook.id, "resume")


@router.post("/{webhook_id}/disable", dependencies=_WRITES)
async def disable_webhook(
    webhook: KnownWebhook, store: StoreDep, gateway: GatewayDep, caller: CallerDep, validator: ValidatorDep
) -> Response:
    """Disable a webhook, also one that a probe would enable."""
    await api.change_webhook(webhook.id, WebhookChanges(enabled=False), store, caller, gateway, validator)
    return _done(webhook.id, "disable")


@router.post("/{webhook_id}/enable", dependencies=_WRITES)
async def enable_webhook(
    webhook: KnownWebhook, store: StoreDep, gateway: GatewayDep, caller: CallerDep, validator: ValidatorDep
) -> Response:
    """Enable a webhook that was disabled, for failures or by a person."""
    await api.change_webhook(webhook.id, WebhookChanges(enabled=True), store, caller, gateway, validator)
    return _done(webhook.id, "enable")


@router.post("/{webhook_id}/delete", dependencies=_WRITES)
async def delete_webhook(webhook: KnownWebhook, store: StoreDep, gateway: GatewayDep, caller: CallerDep) -> Response:
    """Delete a webhook, and go to the list."""
    await api.delete_webhook(webhook, store, caller, gateway)
    return redirect("/webhooks?done=delete")


@router.post("/{webhook_id}/test", dependencies=_WRITES)
async def send_test(
    request: Request,
    webhook: KnownWebhook,
    store: StoreDep,
    caller: CallerDep,
    catalogue: CatalogueDep,
    ingest: IngestDep,
    links: LinksDep,
) -> Response:
    """Send a test event; the answer appears on the page of the webhook."""
    form: dict[str, str] = request.state.form
    try:
        accepted = await api.send_test(
            webhook,
            Response(),
            catalogue,
            ingest,
            links,
            TestEventRequest(**await in_thread(request, read_test, form)),
        )
    except ServiceUnavailable:
        raise
    except (Problem, Invalid, ValidationError) as error:
        problem = at_its_field(problem_of(error))
        return await show_again(request, webhook, store, caller, problem=problem, form=form, is_test=True)
    return redirect(answer_url(webhook, accepted.id))


@router.post("/{webhook_id}/preview", dependencies=[needs("webhooks:read")])
async def preview(
    request: Request,
    webhook: KnownWebhook,
    store: StoreDep,
    caller: CallerDep,
    sandbox: SandboxDep,
    validator: ValidatorDep,
    settings: SettingsDep,
) -> Response:
    """Show what the webhook would send for an event."""
    form: dict[str, str] = request.state.form
    try:
        read = await in_thread(request, read_test, form)
        sample = SampleEvent(**{name: value for name, value in read.items() if name != "id"})
        wanted = PreviewRequest(webhook_id=webhook.id, event=sample)
        shown = await api.preview_webhook(wanted, store, caller, sandbox, validator, settings)
    except (Problem, Invalid, ValidationError) as error:
        return await show_again(request, webhook, store, caller, problem=problem_of(error), form=form, is_test=True)
    return await show_again(request, webhook, store, caller, preview=shown, form=form)


@router.post("/{webhook_id}/secret", dependencies=[needs("webhooks:secrets", "webhooks:write")])
async def show_secret(
    request: Request, webhook: KnownWebhook, store: StoreDep, caller: CallerDep, audit: AuditDep
) -> Response:
    """Show the signing key, and record that it was shown."""
    secret = await api.show_secret(webhook, audit, caller)
    return await show_again(request, webhook, store, caller, secret=secret)


@router.post("/{webhook_id}/rotate-secret", dependencies=_WRITES)
async def rotate_secret(
    request: Request, webhook: KnownWebhook, store: StoreDep, caller: CallerDep, audit: AuditDep
) -> Response:
    """Set a new signing key and show it. For a day, the previous one signs too; the page says which one this ends.

    The form names the key that it replaces: sent again, by a second click or a reload, it shows the key that it made.
    """
    form: dict[str, str] = request.state.form
    notice = ""
    try:
        if not compare_digest(mark_of(webhook.secret).encode(), form.get("replaces", "").encode()):
            raise ChangedMeanwhile
        secret = await api.rotate_secret(webhook, store, caller, SecretRotation(end_previous=True))
        webhook = found(await store.webhooks.get(webhook.id, caller.tenant))
    except ChangedMeanwhile:
        notice = "The key was rotated already. Nothing has changed."
        webhook = found(await store.webhooks.get(webhook.id, caller.tenant))
        secret = await api.show_secret(webhook, audit, caller)
    return await show_again(request, webhook, store, caller, secret=secret, notice=notice)


@router.post("/{webhook_id}/recover", dependencies=[needs("events:write")])
async def recover_webhook(
    request: Request, webhook: KnownWebhook, gateway: GatewayDep, store: StoreDep, audit: AuditDep, caller: CallerDep
) -> Response:
    """Count the failed deliveries of a time; in a second step, with the time that was shown, make them again."""
    form: dict[str, str] = request.state.form
    is_confirmed = "since" in form
    try:
        wanted = RecoveryRequest(since=form["since"] if is_confirmed else since_of(form), dry_run=not is_confirmed)
        state = await recoveries.recover_webhook(webhook, wanted, gateway, store, audit, caller, Response())
    except (Problem, ValidationError, Conflict) as error:
        return await show_again(request, webhook, store, caller, problem=problem_of(error))
    if is_confirmed:
        return _done(webhook.id, "recover")
    return await show_again(request, webhook, store, caller, recovery=state)


def _done(webhook_id: str, what: str) -> Response:
    return redirect(query(f"/webhooks/{webhook_id}", done=what))
