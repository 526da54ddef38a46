"""The forms on the page of a webhook."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from hmac import compare_digest
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api import views
from api.access import needs
from api.deps import KnownWebhook, RecoveriesDep, WebhooksDep
from api.errors import naming_event
from api.problems import Problem, ServiceUnavailable
from api.requests import in_thread
from api.schemas.webhooks import TestEventRequest
from api.strict_json import fault_of, parse
from dashboard.recoveries import since_of
from dashboard.rendering import problem_of, query, redirect
from dashboard.routes import PageRoute
from dashboard.webhook import mark_of, show_again
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.webhooks import ChangedMeanwhile
from hookkeeper.services.errors import BadField, Invalid, NotPossible
from hookkeeper.services.new_event import new_event_id
from hookkeeper.services.preview import SampleEvent
from hookkeeper.services.recoveries import RecoveryRequest
from hookkeeper.services.webhooks import WebhookService, require
from hookkeeper.temporal.server.error_translation import Conflict

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)
_WRITES = [needs("webhooks:write")]
Switch = Literal["pause", "resume", "disable", "enable"]
SWITCHES: dict[Switch, Callable[[WebhookService, Webhook], Awaitable[Webhook]]] = {
    "pause": WebhookService.pause,
    "resume": WebhookService.resume,
    "disable": lambda webhooks, webhook: webhooks.change(webhook.id, {"enabled": False}),
    "enable": lambda webhooks, webhook: webhooks.change(webhook.id, {"enabled": True}),
}
"""A webhook that a probe would enable can be disabled too."""


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
        webhook = require(await webhooks.store.webhooks.get(webhook.id, webhooks.caller.tenant))
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


@router.post("/{webhook_id}/{command}", dependencies=_WRITES)  # the last: it matches the paths above
async def switch_webhook(webhook: KnownWebhook, command: Switch, webhooks: WebhooksDep) -> Response:
    """Pause, resume, disable or enable a webhook."""
    await SWITCHES[command](webhooks, webhook)
    return _done(webhook.id, command)


def _done(webhook_id: str, what: str) -> Response:
    return redirect(query(f"/webhooks/{webhook_id}", done=what))


def read_sample(form: Mapping[str, str]) -> dict[str, Any]:
    """Read an event of a form: id, type and data. Raises Problem, Invalid. Without data, the type's example is sent."""
    given = {name: form[name].strip() for name in ("id", "type") if form.get(name, "").strip()}
    text = form.get("data", "").strip()
    return given | ({"data": parse(text.encode())} if text else {})


def read_test(form: Mapping[str, str]) -> dict[str, Any]:
    """Read the event of the form for tests. Raises Invalid."""
    try:
        return read_sample(form)
    except Problem as error:
        raise Invalid.field("data", fault_of(error)) from None


def at_its_field(problem: Problem) -> Problem:
    """Put errors inside the data, such as `data/order/total`, at the field of the form that has them."""
    for n, error in enumerate(problem.errors):
        name, _, inside = error.path.partition("/")
        if inside:
            problem.errors[n] = BadField(path=name, detail=f"{inside}: {error.detail}")
    return problem


def form_sample(form: Mapping[str, str], patterns: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Read the event of a webhook's form, by default one that the webhook gets. Raises Invalid."""
    given = {name: form.get(f"sample.{name}", "") for name in ("type", "data")}
    try:
        return {"type": suggested_type(patterns, names)} | read_sample(given)
    except Problem as error:
        raise Invalid.field("sample.data", fault_of(error)) from None


def suggested_type(patterns: Sequence[str], names: Sequence[str]) -> str:
    """Return a type that a webhook with these patterns gets, of the catalogue if it has one."""
    for pattern in patterns:
        if not pattern.endswith("*"):
            return pattern
        if known := next((name for name in names if name.startswith(pattern[:-1])), None):
            return known
    own = next((pattern for pattern in patterns if pattern != "*"), None)
    return own.removesuffix("*") + "example" if own else SampleEvent().type


async def post_test(webhook: Webhook, test: TestEventRequest, webhooks: WebhookService) -> str:
    """Send a test event; return its id, which a problem names too."""
    event_id = test.id or new_event_id()
    with naming_event(event_id):
        await webhooks.send_test(webhook, test, event_id)
    return event_id


async def test_saved(webhook: Webhook, test: TestEventRequest, done: str, webhooks: WebhookService) -> str:
    """Send a test event to a webhook that was just saved; return the URL of the page with the answer.

    If the event is not accepted, the page says that the webhook is saved.
    """
    try:
        return answer_url(webhook, await post_test(webhook, test, webhooks), done)
    except Problem:
        return query(f"/webhooks/{webhook.id}", done="untested")


def answer_url(webhook: Webhook, event_id: str, done: str = "") -> str:
    """Return the URL at which the answer to a test event appears."""
    return query(f"/webhooks/{webhook.id}", done=done, test=event_id) + "#answer"
