"""The form of a webhook: register one, and change what most webhooks have. The API changes everything else."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api.access import needs
from api.deps import CallerDep, GatewayDep, KnownWebhook, SettingsDep, StoreDep, ValidatorDep
from api.errors import as_problem, from_validation
from api.pages.durations import read_durations, write_durations
from api.pages.rendering import query, redirect, render
from api.pages.routes import PageRoute
from api.problems import Forbidden, Problem
from api.routes import webhooks as api
from api.schemas.webhooks import NewWebhook, WebhookChanges
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import ChangedMeanwhile, TooManyWebhooks
from hookkeeper.services.errors import Invalid

router = APIRouter(
    prefix="/webhooks", include_in_schema=False, route_class=PageRoute, dependencies=[needs("webhooks:write")]
)
REFUSED = (ValidationError, Invalid, Problem, TooManyWebhooks, ChangedMeanwhile)
NEW: dict[str, str] = {"events": "*", "timeout": "15"}


@router.get("/new")
async def show_new(request: Request, caller: CallerDep) -> Response:
    """Show an empty form."""
    return await _form(request, caller.tenant, NEW)


@router.post("/new")
async def create_webhook(
    request: Request, store: StoreDep, caller: CallerDep, validator: ValidatorDep, settings: SettingsDep
) -> Response:
    """Register a webhook, and go to its page."""
    form: dict[str, str] = request.state.form
    try:
        tenant = {"tenant": form["tenant"].strip()} if form.get("tenant", "").strip() else {}
        given = {name: value for name, value in _fields(form).items() if value}
        new = NewWebhook(**given | tenant)
        created = await api.create_webhook(new, store, caller, validator, settings)
    except REFUSED as error:
        return await _form(request, caller.tenant, form, problem=_problem(error))
    return redirect(query(f"/webhooks/{created.id}", done="create"))


@router.get("/{webhook_id}/edit")
async def show_edit(request: Request, webhook: KnownWebhook, caller: CallerDep) -> Response:
    """Show the form of a webhook."""
    return await _form(request, caller.tenant, _texts(webhook), webhook)


@router.post("/{webhook_id}/edit")
async def change_webhook(
    request: Request,
    webhook: KnownWebhook,
    store: StoreDep,
    caller: CallerDep,
    gateway: GatewayDep,
    validator: ValidatorDep,
) -> Response:
    """Change what differs, and go back to the page of the webhook."""
    form: dict[str, str] = request.state.form
    before = _texts(webhook)
    try:
        changed = {name for name in before if _text(form, name) != before[name].strip()}
        given = {name: value for name, value in _fields(form).items() if name in changed}
        if given:
            changes = WebhookChanges(**given)
            await api.change_webhook(webhook.id, changes, store, caller, gateway, validator)
    except REFUSED as error:
        return await _form(request, caller.tenant, form, webhook, _problem(error))
    return redirect(query(f"/webhooks/{webhook.id}", done="change"))


def _fields(form: dict[str, str]) -> dict[str, Any]:
    """Read the form as the fields of the API. Raises Invalid."""
    text = {name: _text(form, name) for name in form}
    schedule = text.get("retry", "")
    return {
        "name": text.get("name", ""),
        "description": text.get("description", ""),
        "url": text.get("url") or None,
        "events": text.get("events", "").replace(",", " ").split() or ["*"],
        "filter": text.get("filter") or None,
        "retry": {"schedule": read_durations(schedule, "retry")} if schedule else None,
        "timeout": _number(text.get("timeout") or "15", "timeout"),
        "rate_limit": _number(text["rate_limit"], "rate_limit") if text.get("rate_limit") else None,
        "ordered": text.get("ordered") == "true",
    }


def _texts(webhook: Webhook) -> dict[str, str]:
    """Return the fields of a webhook as the form has them. An exponential policy is left to the API."""
    texts = {
        "name": webhook.name,
        "description": webhook.description,
        "url": webhook.url,
        "events": ", ".join(webhook.events),
        "filter": webhook.filter or "",
        "timeout": f"{webhook.timeout:g}",
        "rate_limit": f"{webhook.rate_limit:g}" if webhook.rate_limit else "",
        "ordered": "true" if webhook.ordered else "",
    }
    if webhook.retry is None:
        return texts | {"retry": ""}
    schedule = webhook.retry.schedule
    return texts if schedule is None else texts | {"retry": write_durations(schedule)}


def _text(form: dict[str, str], name: str) -> str:
    """Return a field without the line ends that browsers make."""
    return form.get(name, "").replace("\r\n", "\n").strip()


def _number(text: str, field: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Invalid.field(field, "must be a number") from None


def _problem(error: Exception) -> Problem:
    if isinstance(error, Forbidden):
        raise error
    return from_validation(error.errors()) if isinstance(error, ValidationError) else as_problem(error)


async def _form(
    request: Request,
    tenant: str | None,
    form: dict[str, str],
    webhook: Webhook | None = None,
    problem: Problem | None = None,
) -> Response:
    has_schedule = webhook is None or "retry" in _texts(webhook)
    return await render(
        request,
        "webhook_form.html",
        problem.status_code if problem else 200,
        form=form,
        webhook=webhook and {"id": webhook.id, "name": webhook.name},
        has_schedule=has_schedule,
        problem=problem,
        all_tenants=tenant is None,
    )
