"""Make what a webhook would send for an event, and send nothing."""

from collections.abc import Callable, Iterable
from types import GenericAlias
from typing import Any

from pydantic import Field

from hookkeeper.content import filters
from hookkeeper.content.context import OutgoingEvent, context_of
from hookkeeper.content.errors import ContentError
from hookkeeper.content.headers import masked
from hookkeeper.content.payload import body_of
from hookkeeper.content.sizes import RenderLimits
from hookkeeper.content.templates import EXAMPLE_EVENT_ID
from hookkeeper.kind import Items, load
from hookkeeper.kinds import LISTS
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.webhooks.matching import hears, patterns_for
from hookkeeper.registry.webhooks.targets import items_of
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.fields import Channels, EventType, RequestModel, ResponseModel, with_examples
from hookkeeper.services.webhooks.requests import named_for
from hookkeeper.services.webhooks.targets import with_lists
from hookkeeper.times import utc_now


class SampleEvent(RequestModel):
    model_config = with_examples({"type": "order.paid", "data": {"order": 4711, "amount": "12.50"}})

    type: EventType = "hookkeeper.test"
    """By default the first type of the catalogue that the webhook gets and that has an example, unless data are
    given; else `hookkeeper.test`."""
    data: Any = Field(default_factory=lambda: {"message": "This is a test."})
    """By default the first example of the type in the catalogue."""
    channels: Channels = ()
    """By default those of the webhook."""

    async def for_(self, webhook: Webhook, catalogue: Catalogue) -> "SampleEvent":
        """Return the event for a webhook, with what was not given filled in."""
        type_, data = self.type, self.data
        if self.model_fields_set.isdisjoint(("type", "data")):
            known_types = await catalogue.matching(webhook.events, 1)
            type_ = next((name for name, has_example in known_types if has_example), type_)
        if "data" not in self.model_fields_set and (known := await catalogue.get(type_)) and known.examples:
            data = known.examples[0]
        channels = self.channels if "channels" in self.model_fields_set else webhook.channels
        return SampleEvent.model_construct(type=type_, data=data, channels=channels)


class RequestPreview(ResponseModel):
    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    """Without `webhook-timestamp` and `webhook-signature`, which differ for each attempt."""
    body: str | None = None
    problem: str | None = None
    """Why nothing can be sent: the delivery would fail as `bad_template`."""


@with_lists(lambda items: (GenericAlias(list, load(items.preview)), ...))
class Preview(ResponseModel):
    type: str
    """The type of the event."""
    matches: bool
    """Whether the webhook's patterns, channels and filter match the event."""
    filter_error: str | None = None
    request: RequestPreview | None = None


class Previewer:
    """Makes what a webhook would send to each of its targets for one event."""

    def __init__(self, sandbox: Sandbox, webhook: Webhook, sample: SampleEvent, limits: RenderLimits) -> None:
        self._sandbox = sandbox.for_(webhook.tenant)
        self._webhook = webhook
        self._event = OutgoingEvent(
            EXAMPLE_EVENT_ID, sample.type, webhook.tenant, utc_now(), sample.data, sample.channels
        )
        self._context = context_of(self._event, webhook.context)
        self._limits = limits

    async def preview(self) -> Preview:
        matches, filter_error = await self._filtered()
        listens = not set(patterns_for(self._event.type)).isdisjoint(self._webhook.events)
        listens = listens and hears(self._webhook.channels, self._event.channels)
        return Preview(
            type=self._event.type,
            matches=matches and listens,
            filter_error=filter_error,
            request=await self._request() if self._webhook.url else None,
            **{kind.field: await self._of(items, items_of(self._webhook, kind)) for kind, items in LISTS},
        )

    async def _filtered(self) -> tuple[bool, str | None]:
        if self._webhook.filter is None:
            return True, None
        try:
            return await self._sandbox.call(filters.matches, self._webhook.filter, self._event.shown()), None
        except ContentError as error:
            return False, str(error)

    async def _request(self) -> RequestPreview:
        body, problem = await self._made(body_of, self._webhook.payload)
        if body is None:
            return RequestPreview(url=self._webhook.target, problem=problem)
        headers = masked(self._webhook.headers) | body.headers
        headers |= named_for(self._webhook, {"webhook-id": EXAMPLE_EVENT_ID})
        return RequestPreview(url=self._webhook.target, headers=headers, body=body.content.decode())

    async def _of(self, items: Items, targets: Iterable[Any]) -> list[Any]:
        """Make the previews of a kind."""
        preview, render = load(items.preview), load(items.render)
        return [preview.made(target, *await self._made(render, target)) for target in targets]

    async def _made(self, make: Callable[[Any, Any, RenderLimits], Any], element: Any) -> tuple[Any, str | None]:
        try:
            return await self._sandbox.call(make, element, self._context, self._limits), None
        except ContentError as error:
            return None, str(error)
