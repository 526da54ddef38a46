"""The form of a webhook: register one or change one, with a preview of what it sends."""

import secrets
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api import views
from api.access import needs
from api.deps import CallerDep, CatalogueDep, KnownWebhook, SettingsDep, WebhooksDep
from api.errors import EXPECTED
from api.problems import Conflicting, Forbidden, Problem
from api.requests import in_thread
from api.schemas.webhooks import NewWebhook, TestEventRequest, WebhookChanges
from api.sessions import SESSION
from dashboard.form_preview import FormPreview, FormPreviewerDep
from dashboard.rendering import problem_of, query, redirect, render
from dashboard.routes import PageRoute
from dashboard.webhook_commands import form_sample, test_saved
from dashboard.webhook_fields import (
    LISTS,
    TYPE,
    changed_fields,
    errors_by_field,
    item_count,
    read_fields,
    texts_of,
    tidied,
)
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.webhooks import WebhookExists
from hookkeeper.services.caller import Caller
from hookkeeper.services.webhooks import webhook_id_of
from hookkeeper.times import rfc3339

MAX_TYPES = 100
"""Event types of the catalogue that the form offers; others are typed."""
SPARE = {"emails": 2, "notifications": 2, "on_failure.emails": 1, "on_failure.notifications": 1}
"""Empty items that the form has of each list."""
MAX_ITEMS = 10
SEEN = "seen"
"""The field of the form that has when the webhook that it shows was changed last."""
ONCE = "once"
"""The field of the form of a new webhook from which the webhook's id is made."""
REFUSED: tuple[type[Exception], ...] = (ValidationError, *EXPECTED, Problem)


class FormRoute(PageRoute):
    """A form with templates, as large as a request to the API."""

    max_form_bytes = 256 * 1024
    max_form_fields = 1000


router = APIRouter(
    prefix="/webhooks", include_in_schema=False, route_class=FormRoute, dependencies=[needs("webhooks:write")]
)


@router.get("/new")
async def show_new(request: Request, caller: CallerDep, catalogue: CatalogueDep) -> Response:
    """Show an empty form."""
    return await _form(request, {}, None, await _names(catalogue, caller))


@router.post("/new")
async def create_webhook(
    request: Request, caller: CallerDep, settings: SettingsDep, catalogue: CatalogueDep, webhooks: WebhooksDep
) -> Response:
    """Register a webhook, send it a test event if the form asks for one, and go to its page.

    The webhook's id follows from the form. So a form that is sent again, because its first answer was lost or a 503,
    registers no second one.
    """
    form, names = tidied(request.state.form), await _names(catalogue, caller)
    try:
        new = NewWebhook(**await in_thread(request, read_fields, form) | _chosen_once(form))
        test = await _test(request, form, new.events, names)
        given, new = new.model_fields_set, caller.with_tenant(new)
        once = f"webhook {new.tenant} {form[ONCE]}" if ONCE in form else None
        webhook_id = webhook_id_of(SESSION.proof(once, settings)) if once else None
        created = await webhooks.create(dict(new), given, webhook_id)
    except WebhookExists:
        return redirect(query(f"/webhooks/{webhook_id}", done="again"))
    except REFUSED as error:
        return await _form(request, form, None, names, problem=_problem(error))
    if test is None:
        return redirect(query(f"/webhooks/{created.id}", done="create"))
    return redirect(await test_saved(created, test, "create", webhooks))


@router.post("/new/preview")
async def preview_new(
    request: Request, caller: CallerDep, catalogue: CatalogueDep, previewer: FormPreviewerDep
) -> Response:
    """Show the form with what the webhook would send."""
    form, names = tidied(request.state.form), await _names(catalogue, caller)
    try:
        preview = await previewer.preview(form, None, names)
    except REFUSED as error:
        return await _form(request, form, None, names, problem=_problem(error), status=200)
    return await _form(request, form, None, names, preview=preview)


@router.get("/{webhook_id}/edit")
async def show_edit(request: Request, webhook: KnownWebhook, caller: CallerDep, catalogue: CatalogueDep) -> Response:
    """Show the form of a webhook."""
    names = await _names(catalogue, caller)
    form = texts_of(views.webhook(webhook))
    chosen = {name for name in names if name in webhook.events}
    form["events"] = (
        ", ".join(pattern for pattern in webhook.events if pattern not in chosen) if webhook.events != ["*"] else ""
    )
    return await _form(request, form | dict.fromkeys((f"{TYPE}{name}" for name in chosen), "true"), webhook, names)


@router.post("/{webhook_id}/edit")
async def change_webhook(
    request: Request, webhook: KnownWebhook, caller: CallerDep, catalogue: CatalogueDep, webhooks: WebhooksDep
) -> Response:
    """Change what differs, send a test event if the form asks for one, and go to the page of the webhook.

    A change made elsewhere since the form was opened would be undone: the form then asks first.
    """
    known = views.webhook(webhook)
    form, names = tidied(request.state.form, known), await _names(catalogue, caller)
    try:
        given = await in_thread(request, changed_fields, form, known)
        test = await _test(request, form, given.get("events", known.events), names)
        if given and form.get(SEEN, rfc3339(webhook.updated_at)) != rfc3339(webhook.updated_at):
            form.pop(SEEN)
            raise _changed_meanwhile(given)
        if given:
            changes = WebhookChanges(**given)
            await webhooks.change(webhook.id, {name: getattr(changes, name) for name in changes.model_fields_set})
    except REFUSED as error:
        return await _form(request, form, webhook, names, problem=_problem(error))
    if test is None:
        return redirect(query(f"/webhooks/{webhook.id}", done="change"))
    return redirect(await test_saved(webhook, test, "change", webhooks))


@router.post("/{webhook_id}/edit/preview")
async def preview_change(
    request: Request, webhook: KnownWebhook, caller: CallerDep, catalogue: CatalogueDep, previewer: FormPreviewerDep
) -> Response:
    """Show the form with what the changed webhook would send."""
    form, names = tidied(request.state.form, views.webhook(webhook)), await _names(catalogue, caller)
    try:
        preview = await previewer.preview(form, webhook, names)
    except REFUSED as error:
        return await _form(request, form, webhook, names, problem=_problem(error), status=200)
    return await _form(request, form, webhook, names, preview=preview)


def _changed_meanwhile(given: Mapping[str, Any]) -> Problem:
    return Conflicting(
        f"The webhook was changed since this form was opened. Saving again sets {', '.join(sorted(given))} to what is"
        " here. To see what it has now, cancel and open the form again."
    )


def _chosen_once(form: dict[str, str]) -> dict[str, Any]:
    """Return what only a new webhook is given."""
    return {name: form[name].strip() for name in ("tenant", "secret", "signature_scheme") if form.get(name, "").strip()}


async def _test(request: Request, form: dict[str, str], events: list[str], names: list[str]) -> TestEventRequest | None:
    """Return the test event to send once the webhook is saved, if the button for that was pressed."""
    if form.get("then") != "test":
        return None
    return TestEventRequest(**await in_thread(request, form_sample, form, events, names))


async def _names(catalogue: Catalogue, caller: Caller) -> list[str]:
    """Return event types to choose from; none for a key that may not read them, or without the registry."""
    if not caller.scopes & {"events:read", "webhooks:read"}:
        return []
    try:
        return await catalogue.names(MAX_TYPES)
    except RegistryUnavailable:
        return []


def _shown_items(count: int, spare: int) -> int:
    return max(count, min(count + spare, MAX_ITEMS))


def _problem(error: Exception) -> Problem:
    problem = problem_of(error)
    if isinstance(problem, Forbidden):
        raise problem
    return problem


async def _form(
    request: Request,
    form: dict[str, str],
    webhook: Webhook | None,
    names: list[str],
    *,
    problem: Problem | None = None,
    preview: FormPreview | None = None,
    status: int | None = None,
) -> Response:
    caller: Caller = request.state.caller
    counts = {list_: item_count(form, list_) for list_ in LISTS}
    errors: Any = problem.errors if problem else preview.errors if preview else ()
    return await render(
        request,
        "webhook_form.html",
        status or (problem.status_code if problem else 200),
        form=form,
        types={name: f"{TYPE}{name}" in form for name in names},
        webhook=webhook and {"id": webhook.id, "name": webhook.name},
        once=form.get(ONCE) or secrets.token_hex(8),
        seen=form.get(SEEN) or (webhook and rfc3339(webhook.updated_at)),
        counts={list_: _shown_items(count, SPARE[list_]) for list_, count in counts.items()},
        spare={list_: _shown_items(count, SPARE[list_]) - count for list_, count in counts.items()},
        problem=problem,
        errors=errors_by_field(errors),
        preview=preview,
        all_tenants=caller.tenant is None,
        action=f"/webhooks/{webhook.id}/edit" if webhook else "/webhooks/new",
        scheme=views.webhook(webhook).signature_scheme if webhook else None,
    )
