"""What the webhook of a form would send for an event: rendered as one types, and nothing is sent."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request

from api.deps import WebhooksDep
from api.requests import in_thread
from api.schemas.webhooks import NewWebhook, WebhookFields
from dashboard.webhook_commands import form_sample
from dashboard.webhook_fields import read_fields
from hookkeeper.registry.models import Webhook
from hookkeeper.services.errors import BadField
from hookkeeper.services.masks import unmasked
from hookkeeper.services.preview import Preview, SampleEvent
from hookkeeper.services.webhooks import WebhookService

NO_URL = "https://receiver.example/"
"""Stands for the URL until one is typed."""


class FormPreview(NamedTuple):
    type: str
    shown: Preview
    errors: tuple[BadField, ...]
    """Why a part cannot be rendered for this event."""


class FormPreviewer:
    """Previews forms. A tenant's calls have its share of the sandbox, as those of the API."""

    def __init__(self, request: Request, webhooks: WebhookService) -> None:
        self._request = request
        self._webhooks = webhooks

    async def preview(self, form: Mapping[str, str], known: Webhook | None, names: Sequence[str]) -> FormPreview:
        """Return what the form's webhook sends. Raises ValidationError, Invalid, Problem, SandboxUnavailable."""
        fields = await in_thread(self._request, read_fields, form)
        given = dict(WebhookFields(**fields))
        tenant = known.tenant if known else self._tenant(form)
        given |= unmasked(given, known) | {"tenant": tenant}
        if not (given["emails"] or given["notifications"]):
            given["url"] = given["url"] or NO_URL
        webhook = await self._webhooks.draft(given)
        webhook.id = known.id if known else webhook.id
        event = SampleEvent(**await in_thread(self._request, form_sample, form, given["events"], names))
        shown = await self._webhooks.preview(webhook, event)
        return FormPreview(event.type, shown, tuple(_errors(shown)))

    def _tenant(self, form: Mapping[str, str]) -> str:
        """Return the tenant of a new webhook. Raises NotAllowed, ValidationError."""
        named: dict[str, Any] = {"tenant": form["tenant"].strip()} if form.get("tenant", "").strip() else {}
        return self._webhooks.caller.with_tenant(NewWebhook(**{"url": NO_URL} | named)).tenant


async def _previewer(request: Request, webhooks: WebhooksDep) -> FormPreviewer:
    return FormPreviewer(request, webhooks)


FormPreviewerDep = Annotated[FormPreviewer, Depends(_previewer)]


def _errors(preview: Preview) -> Iterator[BadField]:
    parts: list[tuple[str, Any]] = [("filter", preview.filter_error)]
    parts += [("payload", preview.request.problem if preview.request else None)]
    parts += [(f"emails.{n}", email.problem) for n, email in enumerate(preview.emails)]
    parts += [(f"notifications.{n}", notification.problem) for n, notification in enumerate(preview.notifications)]
    return (BadField(path=path, detail=problem) for path, problem in parts if problem)
