"""The forms on the page of a webhook."""

from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api import views
from api.access import needs
from api.deps import KnownWebhook, RecoveriesDep, WebhooksDep
from api.problems import Problem, ServiceUnavailable
from api.requests import in_thread
from api.schemas.webhooks import TestEventRequest
from dashboard.recoveries import problem_of, since_of
from dashboard.rendering import query, redirect
from dashboard.routes import PageRoute
from dashboard.samples import answer_url, at_its_field, post_test, read_test
from dashboard.webhook import mark_of, show_again
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.webhooks import ChangedMeanwhile
from hookkeeper.services.errors import Invalid, NotPossible
from hookkeeper.services.preview import SampleEvent
from hookkeeper.services.recoveries import RecoveryRequest
from hookkeeper.services.webhooks import WebhookService, found
from hookkeeper.temporal.error_translation import Conflict

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)
_WRITES = [needs("webhooks:write")]
COMMANDS: dict[str, Callable[[WebhookService, Webhook], Awaitable[Any]]] = {
    "pause": lambda webhooks, webhook: webhooks.pause(webhook),
    "resume": lambda webhooks, webhook: webhooks.resume(webhook),
    "disable": lambda webhooks, webhook: webhooks.change(webhook.id, {"enabled": False}),
    "enable": lambda webhooks, webhook: webhooks.change(webhook.id, {"enabled": True}),
}
"""A webhook that a probe would enable can be disabled too."""


def _add_command(command: str) -> None:
    async def act(webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
        await COMMANDS[command](webhooks, webhook)
        return _done(webhook.id, command)

    router.add_api_route(
        f"/{{webhook_id}}/{command}", act, methods=["POST"], name=f"{command}_webhook_page", dependencies=_WRITES
    )


for _command in COMMANDS:
    _add_command(_command)


@router.post("/{webhook_id}/delete", dependencies=_WRITES)
async def delete_webhook(webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Delete a webhook, and go to the list."""
    await webhooks.delete(webhook)
    return redirect("/webhooks?done=delete")


@router.post("/{webhook_id}/test", dependencies=_WRITES)
async def send_test(request: Request, webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Send a test event; the answer appears on the page of the webhook."""
    form: dict[str, str] = request.state.form
    try:
        event_id = await post_test(webhook, TestEventRequest(**await in_thread(request, read_test, form)), webhooks)
    except ServiceUnavailable:
        raise
    except (Problem, Invalid, ValidationError) as error:
        problem = at_its_field(problem_of(error))
        return await show_again(request, webhook, webhooks, problem=problem, form=form, is_test=True)
    return redirect(answer_url(webhook, event_id))


@router.post("/{webhook_id}/preview", dependencies=[needs("webhooks:read")])
async def preview(request: Request, webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Show what the webhook would send for an event."""
    form: dict[str, str] = request.state.form
    try:
        read = await in_thread(request, read_test, form)
        sample = SampleEvent(**{name: value for name, value in read.items() if name != "id"})
        shown = await webhooks.preview(webhook, sample)
    except (Problem, Invalid, ValidationError) as error:
        return await show_again(request, webhook, webhooks, problem=problem_of(error), form=form, is_test=True)
    return await show_again(request, webhook, webhooks, preview=shown, form=form)


@router.post("/{webhook_id}/secret", dependencies=[needs("webhooks:secrets", "webhooks:write")])
async def show_secret(request: Request, webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Show the signing key, and record that it was shown."""
    await webhooks.note_shown(webhook)
    return await show_again(request, webhook, webhooks, secret=views.secret(webhook))


@router.post("/{webhook_id}/rotate-secret", dependencies=_WRITES)
async def rotate_secret(request: Request, webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Set a new signing key and show it. For a day, the previous one signs too; the page says which one this ends.

    The form names the key that it replaces: sent again, by a second click or a reload, it shows the key that it made.
    """
    form: dict[str, str] = request.state.form
    notice = ""
    try:
        if not compare_digest(mark_of(webhook.secret).encode(), form.get("replaces", "").encode()):
            raise ChangedMeanwhile
        webhook = await webhooks.rotate_secret(webhook, {"end_previous"}, end_previous=True)
    except ChangedMeanwhile:
        notice = "The key was rotated already. Nothing has changed."
        webhook = found(await webhooks.store.webhooks.get(webhook.id, webhooks.caller.tenant))
        await webhooks.note_shown(webhook)
    return await show_again(request, webhook, webhooks, secret=views.secret(webhook), notice=notice)


@router.post("/{webhook_id}/recover", dependencies=[needs("events:write")])
async def recover_webhook(
    request: Request, webhook: KnownWebhook, webhooks: WebhooksDep, recoveries: RecoveriesDep
) -> Response:
    """Count the failed deliveries of a time; in a second step, with the time that was shown, make them again."""
    form: dict[str, str] = request.state.form
    is_confirmed = "since" in form
    try:
        given = {"since": form["since"] if is_confirmed else since_of(form), "dry_run": not is_confirmed}
        state = await recoveries.of_webhook(webhook, RecoveryRequest.model_validate(given))
    except (Problem, ValidationError, Conflict, NotPossible) as error:
        return await show_again(request, webhook, webhooks, problem=problem_of(error))
    if is_confirmed:
        return _done(webhook.id, "recover")
    return await show_again(request, webhook, webhooks, recovery=views.recovery(state))


def _done(webhook_id: str, what: str) -> Response:
    return redirect(query(f"/webhooks/{webhook_id}", done=what))
