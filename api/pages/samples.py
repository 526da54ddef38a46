"""Events to try a webhook with: the fields of a form, and the page that shows what came of a test."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Response

from api.pages.rendering import query
from api.problems import Problem
from api.routes import webhooks as api
from api.strict_json import fault_of, parse
from hookkeeper.links import LinkBuilder
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.models import Webhook
from hookkeeper.services.errors import BadField, Invalid, ServiceError
from hookkeeper.services.ingest import EventIngest
from hookkeeper.services.webhook_fields import SampleEvent, TestEventRequest
from hookkeeper.temporal.error_translation import GatewayError


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


async def send_test(
    webhook: Webhook,
    test: TestEventRequest,
    done: str,
    catalogue: Catalogue,
    ingest: EventIngest,
    links: LinkBuilder,
) -> str:
    """Send a test event to a webhook that was just saved; return the URL of the page with the answer.

    If the event is not accepted, the page says that the webhook is saved.
    """
    try:
        accepted = await api.send_test(webhook, Response(), catalogue, ingest, links, test)
    except (Problem, Invalid, ServiceError, GatewayError):
        return query(f"/webhooks/{webhook.id}", done="untested")
    return answer_url(webhook, accepted.id, done)


def answer_url(webhook: Webhook, event_id: str, done: str = "") -> str:
    """Return the URL at which the answer to a test event appears."""
    return query(f"/webhooks/{webhook.id}", done=done, test=event_id) + "#answer"
