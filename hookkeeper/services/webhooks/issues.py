"""Issues: what fails, grouped by webhook and cause. Their events are open, or acknowledged; an incident that has ended
is closed.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from hookkeeper.policy import HealthStatus
from hookkeeper.registry.events.issues import Issue
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.health import FILTER, health_status
from hookkeeper.services.caller import Caller
from hookkeeper.services.fields import Explained, Time
from hookkeeper.times import utc_now

IssueState = Literal["open", "acknowledged", "closed"]
MAX_WEBHOOKS = 100
UNNAMED: dict[str, str | None] = {"webhook_name": None, "webhook_status": None}


class IssueView(Explained):
    """Deliveries of one webhook that fail for the same reason."""

    tenant: str
    webhook_id: str
    webhook_name: str | None
    """Its name, or its URL without the query. Null without `webhooks:read`, and if the webhook was deleted."""
    webhook_status: HealthStatus | None
    error: str | None = None
    """Such as `timeout`, `dns` or `http_503`; null for deliveries without an attempt, which are held."""
    status_code: int | None = None
    text: str = ""
    """What the latest of these attempts was answered; empty if the webhook fails for another reason meanwhile."""
    failed: int = 0
    """Deliveries that have failed for good. At most 10,000 events are counted, the latest ones."""
    retrying: int = 0
    held: int = 0
    left_out: int = 0
    """Events that the webhook did not get because its filter failed."""
    since: Time | None
    """When the first of these events was accepted; if closed, when the failures began."""
    latest_at: Time | None
    """When the latest of them was; if closed, when the webhook worked again."""
    next_attempt_at: Time | None = None


async def read_issues(store: Store, caller: Caller, tenant: str | None, state: IssueState) -> list[IssueView]:
    """Return the issues of a tenant, or of all, those with the most deliveries first.

    Raises RegistryUnavailable.
    """
    if state == "closed":
        found = [_closed(webhook) for webhook in await store.webhooks.recovered(tenant, MAX_WEBHOOKS)]
    else:
        issues = await store.index.issues(tenant, acknowledged=state == "acknowledged")
        webhooks = (await store.webhooks.many({issue.webhook_id for issue in issues})).readable
        found = [_view(issue, webhooks.get(issue.webhook_id)) for issue in issues]
        if state == "open":
            found += _left_out(await store.webhooks.in_trouble(tenant, MAX_WEBHOOKS))
    return found if "webhooks:read" in caller.scopes else [issue.model_copy(update=UNNAMED) for issue in found]


def _view(issue: Issue, webhook: Webhook | None) -> IssueView:
    failures = webhook.failing.values() if webhook else ()
    text = next((failure.text for failure in failures if failure.error == issue.error), "")
    return IssueView.of(issue, text=text, left_out=0, **_named(webhook))


def _left_out(webhooks: Iterable[Webhook]) -> Iterator[IssueView]:
    """Yield the issues of filters. The events are not sent, so there are no deliveries."""
    for webhook in webhooks:
        if failure := webhook.failing.get(FILTER):
            numbers = {"left_out": webhook.filter_errors or 0, "since": failure.since, "latest_at": failure.at}
            yield _of(webhook, error=failure.error, text=failure.text, **numbers)


def _closed(webhook: Webhook) -> IssueView:
    assert webhook.incident is not None, "only such webhooks are read"
    return _of(webhook, since=webhook.incident.since, latest_at=webhook.incident.at)


def _of(webhook: Webhook, **fields: Any) -> IssueView:
    return IssueView(tenant=webhook.tenant, webhook_id=webhook.id, **_named(webhook), **fields)


def _named(webhook: Webhook | None) -> dict[str, str | None]:
    if webhook is None:
        return UNNAMED
    return {
        "webhook_name": webhook.name or webhook.target or webhook.id,
        "webhook_status": health_status(webhook, utc_now()),
    }
