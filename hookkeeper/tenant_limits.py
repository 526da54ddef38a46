"""What a tenant may use at the same time, and how often: the slots and rates that constants bound.

Settings bound the rest (`hookkeeper.settings`), and so do counts in the registry and sizes of content, where they are
checked. docs/limits.md lists all of them; a test compares it with this table.
"""

from typing import Literal, NamedTuple

from hookkeeper.limits import UNLIMITED, TenantLimit

Scope = Literal["API process", "worker", "process"]
"""The bound is that of one such process."""


class Slots(NamedTuple):
    """Operations at the same time. A tenant has at most `per_tenant`, and as many as it leaves free of `total`."""

    what: str
    """As the first column of docs/limits.md begins."""
    scope: Scope
    excess: str
    """What happens with one more operation."""
    total: int = UNLIMITED
    per_tenant: int = UNLIMITED

    @property
    def most(self) -> int:
        """The most that one tenant has."""
        return min(self.per_tenant, (self.total + 1) // 2)

    def limit(self) -> TenantLimit:
        """Make the limit of a process."""
        return TenantLimit(self.total, per_tenant=self.per_tenant)


class Rate(NamedTuple):
    """Operations in a time."""

    what: str
    scope: Scope
    excess: str
    rate: str
    """As the package `limits` writes it."""


WAITS, GETS_429 = "waits", "429 with `Retry-After`"

POSTS = Slots("Posts of single events in progress with one key", "API process", "waits, then 503", 400)
"""These fill the starts of shared runs, and a next one. With as many as come, an overloaded process does a part of each
in time, and all of none."""
PARSES = Slots("Request bodies over 8 KiB and forms of webhooks being parsed", "API process", WAITS, 4)
RENDERS = Slots("Pages of the dashboard being rendered", "API process", WAITS, 4)
EXPORTS = Slots("[Lists exported]", "API process", "429", 4)
STATISTICS = Slots("Answers with statistics that are made at once", "API process", WAITS, 2)
SEARCHES = Slots("Searches, and pages of", "API process", WAITS, 4)
STREAMS = Slots("Streams of events and of forwarded deliveries", "API process", GETS_429, 200, 10)
"""A quarter of the connections of a process (`api.server.connections`)."""
RESUMES = Slots("Streams that are resumed", "API process", WAITS, 2, 1)
KEY_LOOKUPS = Slots("Keys and links that are looked up at once for an address over its rate", "API process", WAITS, 4)
"""They can be valid."""
SLOW_REFUSALS = Slots("Refusals of forms that wait", "API process", "the refusal is given at once", 100)
STARTS = Slots("Concurrent workflow starts", "process", WAITS, 32)
"""Own runs: a flood of one tenant does not delay others in Temporal. While Temporal is away, none waits, and as many
shared runs are being started: what exceeds them is started from its row."""
STARTS_IN_TROUBLE = Slots("Concurrent workflow starts", "process", WAITS, 1000)
"""Events of tenants in trouble that wait or are being started. Those of other tenants have no limit: the more of them
wait, the fewer runs they take."""
SANDBOX_CALLS = Slots("Concurrent sandbox calls", "process", WAITS, 3, 2)
NAME_LOOKUPS = Slots("Concurrent name lookups", "worker", "waits, then the delivery is deferred", per_tenant=50)
HANDSHAKES = Slots("Concurrent handshakes with receivers that have their own `tls`", "worker", WAITS, per_tenant=4)
BULK_RUNS = Slots("Runs that releases have in flight", "worker", WAITS, 20, 10)
"""More than the workers of a small installation do at the same time."""

FORMS = Rate("Forms without a session that begin none", "API process", GETS_429, "60/minute")
"""Of an address."""
KEPT_FORMS = Rate("Forms of the dashboard that are kept", "API process", "429", "10/minute")
"""Of a key, or of all portal sessions of a tenant."""
KEY_FAILURES = Rate("Requests without a valid key", "API process", "429 in place of 401", "20/minute")
"""With a key that is no longer valid, by key; with unknown keys, by address. A valid key passes in any case."""
FIRINGS = Rate("Events of triggers and backfills of schedules", "API process", GETS_429, "1000/100 second")
"""Temporal starts them without a limit of ours, ten a second for each schedule."""
INCIDENT_STARTS = Rate("Calls to Temporal about the failures of one webhook", "process", "left out", "1/minute")
INCIDENT_LOOKS = Rate("Calls to Temporal about the failures of one webhook", "process", "left out", "20/minute")
"""What is left out is made up for by the next attempt, or the next look."""
OPERATOR_ALERTS = Rate("Alerts to the operator", "worker", "only the owner is alerted", "60/hour")

TABLE: tuple[Slots | Rate, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Slots | Rate))
