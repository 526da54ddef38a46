"""What the webhook of a form would send for an event: rendered as one types, and nothing is sent."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request

from api.caller import Caller
from api.deps import CallerDep, CatalogueDep, SandboxDep, SettingsDep, ValidatorDep
from api.requests import in_thread
from api.routes.webhooks import sample_data
from api.schemas.webhooks import NewWebhook, SampleEvent, WebhookFields
from dashboard.samples import form_sample
from dashboard.webhook_fields import read_fields
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.models import Webhook
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.errors import BadField
from hookkeeper.services.masks import unmasked
from hookkeeper.services.preview import Preview, Previewer, unsaved
from hookkeeper.services.webhook_validator import WebhookValidator
from hookkeeper.settings import Settings

NO_URL = "https://receiver.example/"
"""Stands for the URL until one is typed."""


class FormPreview(NamedTuple):
    type: str
    shown: Preview
    errors: tuple[BadField, ...]
    """Why a part cannot be rendered for this event."""


class FormPreviewer:
    """Previews forms. A tenant's calls have its share of the sandbox, as those of the API."""

    def __init__(
        self,
        request: Request,
        caller: Caller,
        sandbox: Sandbox,
        validator: WebhookValidator,
        settings: Settings,
        catalogue: Catalogue,
    ) -> None:
        self._request = request
        self._caller = caller
        self._sandbox = sandbox
        self._validator = validator
        self._settings = settings
        self._catalogue = catalogue

    async def preview(self, form: Mapping[str, str], known: Webhook | None, names: Sequence[str]) -> FormPreview:
        """Return what the form's webhook sends. Raises ValidationError, Invalid, Problem, SandboxUnavailable."""
        fields = await in_thread(self._request, read_fields, form)
        given = dict(WebhookFields(**fields))
        tenant = known.tenant if known else self._tenant(form)
        given |= unmasked(given, known) | {"tenant": tenant}
        if not (given["emails"] or given["notifications"]):
            given["url"] = given["url"] or NO_URL
        await self._validator.for_(tenant).check(given)
        event = SampleEvent(**await in_thread(self._request, form_sample, form, given["events"], names))
        webhook = unsaved(given)
        webhook.id = known.id if known else webhook.id
        data = await sample_data(event, self._catalogue)
        shown = await Previewer(self._sandbox, webhook, event.type, data, self._settings.render_limits).preview()
        return FormPreview(event.type, shown, tuple(_errors(shown)))

    def _tenant(self, form: Mapping[str, str]) -> str:
        """Return the tenant of a new webhook. Raises Forbidden, ValidationError."""
        named: dict[str, Any] = {"tenant": form["tenant"].strip()} if form.get("tenant", "").strip() else {}
        return self._caller.with_tenant(NewWebhook(**{"url": NO_URL} | named)).tenant


async def _previewer(
    request: Request,
    caller: CallerDep,
    sandbox: SandboxDep,
    validator: ValidatorDep,
    settings: SettingsDep,
    catalogue: CatalogueDep,
) -> FormPreviewer:
    return FormPreviewer(request, caller, sandbox, validator, settings, catalogue)


FormPreviewerDep = Annotated[FormPreviewer, Depends(_previewer)]


def _errors(preview: Preview) -> Iterator[BadField]:
    parts: list[tuple[str, Any]] = [("filter", preview.filter_error)]
    parts += [("payload", preview.request.problem if preview.request else None)]
    parts += [(f"emails.{n}", email.problem) for n, email in enumerate(preview.emails)]
    parts += [(f"notifications.{n}", notification.problem) for n, notification in enumerate(preview.notifications)]
    return (BadField(path=path, detail=problem) for path, problem in parts if problem)
