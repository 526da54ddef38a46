"""What one needs to build a webhook's receiver: a test event with its answer, and programs that verify requests."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from api import views
from api.access import needs
from api.deps import KnownWebhook, LinksDep, WebhooksDep
from api.errors import naming_event
from api.problems import Problem, ServiceUnavailable
from api.requests import in_thread
from api.schemas.events import DeliveryView
from api.schemas.webhooks import TestEventRequest
from api.sessions import portal_of
from api.strict_json import fault_of, parse
from dashboard.rendering import problem_of, redirect
from dashboard.routes import PageRoute
from dashboard.webhook import DONE, path_of, show_tab
from hookkeeper.content.headers import MASK
from hookkeeper.content.json_text import readable
from hookkeeper.crypto.signing_keys import PUBLIC, Scheme, is_asymmetric, public_key
from hookkeeper.links import LinkBuilder
from hookkeeper.registry.models import Webhook
from hookkeeper.services.errors import BadField, Invalid
from hookkeeper.services.events.new_event import new_event_id
from hookkeeper.services.events.reads import read_event
from hookkeeper.services.fields import EVENT_ID
from hookkeeper.services.webhooks.preview import SampleEvent
from hookkeeper.services.webhooks.webhooks import WebhookService
from hookkeeper.temporal.server.error_translation import UnknownEvent
from hookkeeper.wording import N_

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)
MAX_TYPES = 100
"""Event types that the form for tests offers; others are typed."""
MAX_DATA_IN_FORM = 16 * 1024
"""Characters of an event's data that the form for the next test has."""
LANGUAGES = {"Python": "py", "JavaScript": "mjs", "Go": "go", "Ruby": "rb", "PHP": "php", "Java": "java"}
"""Each language, and what its files end with."""
KEY = "_KEY"
"""Stands in a program for what follows the key's prefix."""
SCHEMES: tuple[Scheme, ...] = ("v1", "v1a")
PROGRAMS = {
    scheme: {
        name: files("dashboard").joinpath("snippets", f"verify_{scheme}.{suffix}").read_text()
        for name, suffix in LANGUAGES.items()
    }
    for scheme in SCHEMES
}
"""Programs that verify the requests of a webhook. Tests run those whose language is installed."""


class Answer(NamedTuple):
    """A test event and its deliveries. Without deliveries, `text` says why."""

    event_id: str
    text: str = ""
    status: str = ""
    type: str = ""
    data: str = ""
    deliveries: tuple[DeliveryView, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether a receiver has not answered yet."""
        return any(not delivery.attempts and delivery.status == "pending" for delivery in self.deliveries)


class Snippet(NamedTuple):
    """A program for the receivers of a webhook."""

    language: str
    suffix: str
    code: str


@router.get("/{webhook_id}/test", dependencies=[needs("webhooks:read")])
async def show_test(
    request: Request,
    webhook: KnownWebhook,
    webhooks: WebhooksDep,
    links: LinksDep,
    done: str = "",
    test: Annotated[str | None, Query(pattern=EVENT_ID)] = None,
) -> Response:
    """Show the form for a test event, and what came of the one before."""
    answer = await _answer(test, webhook, webhooks, links) if test else None
    form = {"type": answer.type, "data": answer.data} if answer and answer.type else None
    return await _show(request, webhook, webhooks, form=form, answer=answer, notice=DONE.get(done, ""))


@router.post("/{webhook_id}/test", dependencies=[needs("webhooks:write")])
async def send_test(request: Request, webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Send a test event, and go to the page with its answer."""
    form: dict[str, str] = request.state.form
    try:
        event_id = await post_test(webhook, TestEventRequest(**await in_thread(request, read_test, form)), webhooks)
    except ServiceUnavailable:
        raise
    except (Problem, Invalid, ValidationError) as error:
        return await _show(request, webhook, webhooks, problem=_at_its_field(problem_of(error)), form=form)
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
        return await _show(request, webhook, webhooks, problem=problem_of(error), form=form)
    return await _show(request, webhook, webhooks, preview=shown, form=form)


@router.get("/{webhook_id}/verify", dependencies=[needs("webhooks:read")])
async def show_verify(request: Request, webhook: KnownWebhook) -> Response:
    """Show programs that verify the webhook's requests."""
    return await show_tab(request, "verify", webhook, snippets=snippets_for(webhook.secret))


async def _show(
    request: Request,
    webhook: Webhook,
    webhooks: WebhookService,
    *,
    form: dict[str, str] | None = None,
    **context: Any,
) -> Response:
    types = await webhooks.store.catalogue.matching(webhook.events, MAX_TYPES)
    in_portal = portal_of(request) is not None
    names = [name for name, _ in types] or [SampleEvent().type]
    first = names[0] if in_portal or (types and types[0][1]) else SampleEvent().type
    return await show_tab(
        request,
        "test",
        webhook,
        **{
            "form": {"id": new_event_id(), "type": first} | (form or {}),
            "types": names if in_portal else list(dict.fromkeys([*names, SampleEvent().type])),
            "preview": None,
            "answer": None,
            **context,
        },
    )


async def _answer(event_id: str, webhook: Webhook, webhooks: WebhookService, links: LinkBuilder) -> Answer | None:
    """Return what came of a test event; None if there is none of this id."""
    if "events:read" not in webhooks.caller.scopes:
        return Answer(event_id, N_("The test event was accepted."))
    try:
        snapshot = await read_event(webhooks.store.rows, webhook.tenant, event_id)
    except UnknownEvent:
        return None
    event = views.event(snapshot, links)
    data = readable(snapshot.event.data, MAX_DATA_IN_FORM + 1)  # no more than is shown
    return Answer(
        event_id,
        status=event.status,
        type=event.type,
        data=data if len(data) <= MAX_DATA_IN_FORM else "",
        deliveries=tuple(delivery for delivery in event.deliveries if delivery.webhook_id == webhook.id),
    )


def snippets_for(secret: str) -> list[Snippet]:
    """Return the programs for the scheme of a signing key, which is masked; a public key is no secret."""
    scheme: Scheme = "v1a" if is_asymmetric(secret) else "v1"
    shown = public_key(secret).removeprefix(PUBLIC) if scheme == "v1a" else MASK
    return [
        Snippet(name, LANGUAGES[name], code.replace(KEY, f"_{shown}", 1)) for name, code in PROGRAMS[scheme].items()
    ]


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
        return path_of(webhook, "test", done="untested")


def answer_url(webhook: Webhook, event_id: str, done: str = "") -> str:
    """Return the URL at which the answer to a test event appears."""
    return path_of(webhook, "test", done=done, test=event_id) + "#answer"


def _at_its_field(problem: Problem) -> Problem:
    """Put errors inside the data, such as `data/order/total`, at the field of the form that has them."""
    for n, error in enumerate(problem.errors):
        name, _, inside = error.path.partition("/")
        if inside:
            problem.errors[n] = BadField(path=name, detail=f"{inside}: {error.detail}")
    return problem
