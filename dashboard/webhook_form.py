"""The form of a webhook: register one or change one, with a preview of what it sends.

What the form has follows from `hookkeeper.services.webhooks.fields`. Secrets are masked in it as in the answers of the
API, and a mask that comes back means the known secret.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Request, Response

from api import views
from api.access import needs
from api.deps import CatalogueDep, KnownWebhook, SettingsDep, WebhooksDep
from api.problems import Conflicting, Forbidden, Problem
from api.requests import in_thread
from api.schemas.webhooks import TestEventRequest
from api.sessions import SESSION
from dashboard import forms
from dashboard.forms import REFUSED, FormRoute
from dashboard.rendering import problem_of, query, redirect, render
from dashboard.webhook import path_of
from dashboard.webhook_receiver import form_sample, test_saved
from hookkeeper.kinds import LISTS
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.webhooks.webhooks import WebhookExists
from hookkeeper.services import field_texts
from hookkeeper.services.errors import BadField
from hookkeeper.services.field_texts import by_path, fields_of, pattern_of
from hookkeeper.services.webhooks.fields import MAX_ITEMS, STEPS, NewWebhook, WebhookChanges, WebhookFields
from hookkeeper.services.webhooks.preview import Preview, SampleEvent
from hookkeeper.services.webhooks.targets import has_target
from hookkeeper.services.webhooks.webhooks import unmasked, webhook_id_of
from hookkeeper.times import rfc3339

MAX_TYPES = 100
"""Event types of the catalogue that the form offers; others are typed."""
SPARE_ITEMS = 2
"""Empty items that the form has of each list; of alerts one less."""
TYPE = "types."
"""Begins the name of a checkbox of an event type."""
SEEN = "seen"
"""The field of the form that has when the webhook that it shows was changed last."""
ONCE = "once"
"""The field of the form of a new webhook from which the webhook's id is made."""
NO_URL = "https://receiver.example/"
"""Stands for the URL in a preview until one is typed."""
LIST_PATHS = [path for path, field in by_path(WebhookFields).items() if field.is_list]
GIVEN_ONCE = NewWebhook.model_fields.keys() - WebhookFields.model_fields.keys()
"""Fields that only a new webhook is given."""
ALIASES = {"type": "sample.type", "data": "sample.data"}
_ITEM = re.compile(r"(?:\w+\.)+?\d{1,3}(?=\.)", re.ASCII)
_NAMED = re.compile(r"([\w.-]+): (.*)", re.DOTALL)


class FormPreview(NamedTuple):
    type: str
    shown: Preview
    errors: tuple[BadField, ...]
    """Why a part cannot be rendered for this event."""


router = APIRouter(
    prefix="/webhooks", include_in_schema=False, route_class=FormRoute, dependencies=[needs("webhooks:write")]
)


@dataclass
class Editor:
    """What the form is read, shown and saved with."""

    request: Request
    webhooks: WebhooksDep
    catalogue: CatalogueDep
    settings: SettingsDep

    def form(self, known: Webhook | None = None) -> dict[str, str]:
        """Return the texts that were sent, without the items that are to be removed."""
        return field_texts.tidied(WebhookFields, self.request.state.form, _texts_of(known) if known else {})

    async def read(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Read a form as the fields of the API, in a thread. Raises Invalid."""
        return await forms.read(self.request, WebhookFields, _with_types(form))

    async def test(self, form: dict[str, str], events: list[str]) -> TestEventRequest | None:
        """Return the test event to send once the webhook is saved, if the button for that was pressed."""
        if form.get("then") != "test":
            return None
        return TestEventRequest(**await in_thread(self.request, form_sample, form, events, await self.names()))

    async def names(self) -> list[str]:
        """Return event types to choose from; none for a key that may not read them, or without the registry."""
        if not self.webhooks.caller.scopes & {"events:read", "webhooks:read"}:
            return []
        try:
            return await self.catalogue.names(MAX_TYPES)
        except RegistryUnavailable:
            return []

    async def saved(self, webhook: Webhook, test: TestEventRequest | None, done: str) -> Response:
        """Send the test event and go to the page of the webhook."""
        if test is None:
            return redirect(path_of(webhook, done=done))
        return redirect(await test_saved(webhook, test, done, self.webhooks))

    async def preview(self, form: Mapping[str, str], known: Webhook | None) -> Response:
        """Show the form with what its webhook would send: rendered as one types, and nothing is sent."""
        try:
            preview = await self._preview(form, known)
        except REFUSED as error:
            return await self.show(form, known, error=error, status=200)
        return await self.show(form, known, preview=preview)

    async def _preview(self, form: Mapping[str, str], known: Webhook | None) -> FormPreview:
        given = dict(WebhookFields(**await self.read(form)))
        tenant = known.tenant if known else self._tenant(form)
        given |= unmasked(given, known) | {"tenant": tenant}
        if not has_target(given):
            given["url"] = NO_URL
        webhook = await self.webhooks.draft(given)
        webhook.id = known.id if known else webhook.id
        event = SampleEvent(**await in_thread(self.request, form_sample, form, given["events"], await self.names()))
        shown = await self.webhooks.preview(webhook, event)
        return FormPreview(event.type, shown, tuple(_faults(shown)))

    def _tenant(self, form: Mapping[str, str]) -> str:
        """Return the tenant of a new webhook. Raises NotAllowed, ValidationError."""
        named: dict[str, Any] = {"tenant": form["tenant"].strip()} if form.get("tenant", "").strip() else {}
        return self.webhooks.caller.with_tenant(NewWebhook(**{"url": NO_URL} | named)).tenant

    async def show(
        self,
        form: Mapping[str, str],
        webhook: Webhook | None,
        *,
        error: Exception | None = None,
        preview: FormPreview | None = None,
        status: int | None = None,
    ) -> Response:
        """Show the form with what is wrong, or what it would send. Raises Forbidden."""
        problem = problem_of(error) if error else None
        if isinstance(problem, Forbidden):
            raise problem
        counts = {list_: field_texts.item_count(form, list_) for list_ in LIST_PATHS}
        shown = {list_: min(count + SPARE_ITEMS - ("." in list_), MAX_ITEMS) for list_, count in counts.items()}
        fields = fields_of(NewWebhook)
        hidden = GIVEN_ONCE if webhook else {"tenant"} if self.webhooks.caller.tenant else set()
        return await render(
            self.request,
            "webhook_form.html",
            status,
            form=form,
            steps={step: [fields[name] for name in names if name not in hidden] for step, names in STEPS.items()},
            types={name: f"{TYPE}{name}" in form for name in await self.names()},
            webhook=webhook and {"id": webhook.id, "name": webhook.name},
            once=form.get(ONCE) or secrets.token_hex(8),
            seen=form.get(SEEN) or (webhook and rfc3339(webhook.updated_at)),
            counts={list_: max(count, shown[list_]) for list_, count in counts.items()},
            filled=counts,
            problem=problem,
            errors=errors_by_field(problem.errors if problem else preview.errors if preview else ()),
            preview=preview,
            action=f"/webhooks/{webhook.id}/edit" if webhook else "/webhooks/new",
        )


EditorDep = Annotated[Editor, Depends()]


@router.get("/new")
async def show_new(editor: EditorDep) -> Response:
    """Show an empty form."""
    return await editor.show({}, None)


@router.post("/new")
async def create_webhook(editor: EditorDep) -> Response:
    """Register a webhook, send it a test event if the form asks for one, and go to its page.

    The webhook's id follows from the form. So a form that is sent again, because its first answer was lost or a 503,
    registers no second one.
    """
    form = editor.form()
    try:
        once = {name: form[name].strip() for name in GIVEN_ONCE if form.get(name, "").strip()}
        new = NewWebhook(**await editor.read(form) | once)
        test = await editor.test(form, new.events)
        given, new = new.model_fields_set, editor.webhooks.caller.with_tenant(new)
        proof = SESSION.proof(f"webhook {new.tenant} {form[ONCE]}", editor.settings) if ONCE in form else None
        webhook_id = webhook_id_of(proof) if proof else None
        created = await editor.webhooks.create(dict(new), given, webhook_id)
    except WebhookExists:
        return redirect(query(f"/webhooks/{webhook_id}", done="again"))
    except REFUSED as error:
        return await editor.show(form, None, error=error)
    return await editor.saved(created, test, "create")


@router.post("/new/preview")
async def preview_new(editor: EditorDep) -> Response:
    """Show the form with what the webhook would send."""
    return await editor.preview(editor.form(), None)


@router.get("/{webhook_id}/edit")
async def show_edit(editor: EditorDep, webhook: KnownWebhook) -> Response:
    """Show the form of a webhook."""
    form, chosen = _texts_of(webhook), [name for name in await editor.names() if name in webhook.events]
    form["events"] = ", ".join(pattern for pattern in webhook.events if pattern not in chosen)
    return await editor.show(form | {f"{TYPE}{name}": "true" for name in chosen}, webhook)


@router.post("/{webhook_id}/edit")
async def change_webhook(editor: EditorDep, webhook: KnownWebhook) -> Response:
    """Change what differs, send a test event if the form asks for one, and go to the page of the webhook.

    A change made elsewhere since the form was opened would be undone: the form then asks first.
    """
    form, before = editor.form(webhook), _texts_of(webhook)
    try:
        given = await forms.changes(editor.request, WebhookFields, _with_types(form), before)
        if set(given.get("events", webhook.events)) == set(webhook.events):
            given.pop("events", None)
        test = await editor.test(form, given.get("events", webhook.events))
        if given and form.get(SEEN, rfc3339(webhook.updated_at)) != rfc3339(webhook.updated_at):
            form.pop(SEEN)
            raise _changed_meanwhile(given)
        if given:
            changes = WebhookChanges(**given)
            await editor.webhooks.change(
                webhook.id, {name: getattr(changes, name) for name in changes.model_fields_set}
            )
    except REFUSED as error:
        return await editor.show(form, webhook, error=error)
    return await editor.saved(webhook, test, "change")


@router.post("/{webhook_id}/edit/preview")
async def preview_change(editor: EditorDep, webhook: KnownWebhook) -> Response:
    """Show the form with what the changed webhook would send."""
    return await editor.preview(editor.form(webhook), webhook)


def errors_by_field(errors: Iterable[BadField]) -> dict[str, list[str]]:
    """Return errors by the field or the part of the form that they are about; those of none have an empty name.

    An item with a bad field is there too, so that the page can open it.
    """
    found: dict[str, list[str]] = {}
    for error in errors:
        field, detail = _placed(error)
        found.setdefault(field, []).append(detail)
        if item := _ITEM.match(field):
            found.setdefault(item[0], [])
    return found


def _placed(error: BadField) -> tuple[str, str]:
    """Return field and text of an error. Templates name their field in the text: `subject: unknown filter`."""
    if match := _NAMED.fullmatch(error.detail):
        path = match[1] if match[1].startswith(f"{error.path}.") else f"{error.path}.{match[1]}"
        if (named := by_path(NewWebhook).get(pattern_of(field := _field_at(path)))) and named.codec:
            return field, match[2]
    field = _field_at(error.path)
    return (field, error.detail) if field in ALIASES.values() else forms.placed(NewWebhook, error)


def _field_at(path: str) -> str:
    """Return the field or group of a path, which can name a part of it; empty if there is none."""
    alias = ALIASES.get(path, path)
    return alias if alias in ALIASES.values() else forms.field_at(NewWebhook, path)


def _texts_of(webhook: Webhook) -> dict[str, str]:
    """Write a webhook as the form has it."""
    return field_texts.write_fields(WebhookFields, views.webhook(webhook).model_dump(exclude_unset=True))


def _with_types(form: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of a form with the chosen types among the events."""
    chosen = [name.removeprefix(TYPE) for name in form if name.startswith(TYPE)]
    return {**form, "events": ", ".join([form.get("events", ""), *chosen])} if chosen else dict(form)


def _changed_meanwhile(given: Mapping[str, Any]) -> Problem:
    return Conflicting(
        f"The webhook was changed since this form was opened. Saving again sets {', '.join(sorted(given))} to what is"
        " here. To see what it has now, cancel and open the form again."
    )


def _faults(preview: Preview) -> Iterator[BadField]:
    parts: list[tuple[str, Any]] = [("filter", preview.filter_error)]
    parts += [("payload", preview.request.problem if preview.request else None)]
    for kind, _ in LISTS:
        parts += [(f"{kind.field}.{n}", each.problem) for n, each in enumerate(getattr(preview, kind.field))]
    return (BadField(path=path, detail=problem) for path, problem in parts if problem)
