"""What the API gives of statistics."""

from pydantic import Field

from hookkeeper.kinds import Channel
from hookkeeper.registry.events.statistics import GroupBy
from hookkeeper.services.fields import ResponseModel, Time


class AttemptOutcomes(ResponseModel):
    """Attempts by their outcome."""

    succeeded: int
    client_errors: int
    """Answered with a 4xx, or another status that is neither 2xx nor 5xx."""
    server_errors: int
    """Answered with a 5xx."""
    timeouts: int
    connection_errors: int
    """The name was not found, the connection was refused or reset, TLS failed, or the answer was not HTTP."""
    other_errors: int
    """Not sent, such as for a template that failed, or an error of an email provider."""


class LatencyPercentiles(ResponseModel):
    """Milliseconds of attempts, failed ones included. Interpolated in a histogram that ends at 30 s."""

    p50: float
    p95: float
    p99: float


class StatisticsCounts(ResponseModel):
    events: int | None
    """Accepted events. Null by webhook or channel, and with a filter by one of them: those have deliveries."""
    no_webhook: int | None
    """Those of `events` that no webhook gets. Null where `events` is."""
    deliveries_succeeded: int
    """Deliveries that succeeded in this time."""
    deliveries_failed: int
    """Deliveries that finally failed in this time. A redelivered one does not count until it finishes again."""
    deliveries_cancelled: int
    success_rate: float | None = Field(ge=0, le=1)
    """The share of deliveries that succeeded: `deliveries_succeeded` / (`deliveries_succeeded` + `deliveries_failed` +
    `retrying`). `retrying` counts in a period until now, and not in a step. Cancelled and held deliveries do not count.
    Null if there are none."""
    error_rate: float | None = Field(ge=0, le=1)
    """The share of attempts that failed, also of those that a later attempt made good. Null if there were none."""
    attempts: int
    """Attempts that began in this time."""
    outcomes: AttemptOutcomes
    retries: int
    """Attempts that were not the first of their delivery."""
    requested: int
    """Attempts that were made by a command."""
    latency: LatencyPercentiles | None
    """Null if there were no attempts."""


class StatisticsStep(StatisticsCounts):
    at: Time
    """When the step begins."""


class StatisticsGroup(StatisticsCounts):
    tenant: str | None
    """Null for all tenants. `(other)`: tenants that are not named."""
    webhook_id: str | None
    """Null for all webhooks. `(other)`: webhooks that are not named."""
    channel: Channel | None
    """Null for all channels."""
    type: str | None
    """Null for all event types. `(other)`: types that are not named, because there are very many."""
    held: int
    """Deliveries that are held now."""
    retrying: int
    """Deliveries that wait for a retry now."""
    steps: list[StatisticsStep]
    """One for each step, also if it has nothing. Empty without `step`."""


class StatisticsView(ResponseModel):
    by: GroupBy
    since: Time
    """When the first counter begins: `since`, rounded down to a whole step or counter."""
    until: Time
    """When the last counter ends: `until`, rounded up."""
    step: int | None
    items: list[StatisticsGroup]
    """One for each tenant, webhook, channel or type that has something to count; by `total`, one. Of more than 100, the
    largest, and one with the name `(other)` for the rest."""
    waiting_capped: bool
    """There are too many held and retrying deliveries to count: `held` and `retrying` are minimums."""
