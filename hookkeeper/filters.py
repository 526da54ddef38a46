"""The filters of lists of events and deliveries, each described once.

The API's parameters, the options of the command line, the tools of agents and the labels of the pages are made of this.
What a filter means for a row is in `hookkeeper.registry.events.conditions`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from hookkeeper.kinds import LISTS, Channel
from hookkeeper.statuses import ERRORS, DeliveryStatus, EventStatus
from hookkeeper.wording import N_

OWN_ERRORS = [error for _, items in LISTS for error in items.errors]
STATUS_CODE_PATTERN = r"^([1-5]xx|[1-5][0-9]{2})$"
ERROR_PATTERN = rf"^(http_[0-9]{{3}}|smtp_[45][0-9]{{2}}|{'|'.join((*ERRORS, *OWN_ERRORS))})$"


class Filter(NamedTuple):
    """A filter of a list."""

    name: str
    """Of the parameter and of the option."""
    help: str
    label: str
    """On pages."""
    type: Any = str
    """Of a value."""
    is_repeatable: bool = False
    example: str = ""
    bounds: Mapping[str, Any] = MappingProxyType({})
    """What the API checks: arguments of `fastapi.Query`."""
    field: str = ""
    """The field of `Search`, if it has another name."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The values, if there are few."""
        return tuple(get_args(self.type))


TYPE = Filter(
    "type",
    "Events of exactly this type",
    N_("type"),
    is_repeatable=True,
    example="order.paid",
    field="types",
)
STATUS = Filter("status", "Events with this status", N_("status"), EventStatus, is_repeatable=True, field="statuses")
NEEDS_ATTENTION = Filter(
    "needs_attention",
    "True: only events with a delivery that has failed, or has been retrying for over 15 minutes. False: only events"
    " without one that is retrying, held or failed, and acknowledged ones",
    N_("needs attention"),
    bool,
)
ACKNOWLEDGED = Filter("acknowledged", "Only events that are (or are not) acknowledged", N_("acknowledged"), bool)
DELIVERY_STATUS = Filter(
    "delivery_status",
    "Events with a delivery of this status",
    N_("delivery"),
    DeliveryStatus,
    is_repeatable=True,
    field="delivery_statuses",
)
STATUS_OF_DELIVERY = DELIVERY_STATUS._replace(name="status", help="Deliveries with this status", label=N_("status"))
IN_CHANNEL = Filter(
    "in_channel",
    "Events of one tenant that name this channel",
    N_("in channel"),
    example="project_1",
    field="keys",
)
ID_PREFIX = Filter("id_prefix", "The event's id begins with this text", N_("id begins with"), example="evt_")
STATUS_CODE = Filter(
    "status_code",
    "Status code of the latest attempt, such as `503`, or its class, such as `5xx`",
    N_("status code"),
    example="5xx",
    bounds={"pattern": STATUS_CODE_PATTERN},
    field="status_codes",
)
ERROR = Filter(
    "error",
    "Error of the latest attempt, such as `timeout`, `dns` or `http_503`",
    N_("error"),
    example="timeout",
    bounds={"pattern": ERROR_PATTERN},
)
MIN_ATTEMPTS = Filter(
    "min_attempts", "At least this many attempts", N_("attempts from"), int, bounds={"ge": 1, "le": 10_000}
)
CHANNEL = Filter("channel", "Kind of target", N_("channel"), Channel)

OF_ATTEMPTS = (STATUS_CODE, ERROR, MIN_ATTEMPTS, CHANNEL)
"""Conditions on a delivery and its latest attempt."""
OF_STREAMS = (TYPE, STATUS, NEEDS_ATTENTION, ACKNOWLEDGED, DELIVERY_STATUS, ID_PREFIX, *OF_ATTEMPTS)
"""Filters of streams of events. All conditions on a delivery have to be met by a single one."""
OF_EVENTS = (*OF_STREAMS, IN_CHANNEL)
OF_DELIVERIES = (TYPE, STATUS_OF_DELIVERY, ID_PREFIX, *OF_ATTEMPTS)
LABELS = {each.name: each.label for each in OF_EVENTS} | {
    "tenant": "tenant",
    "q": N_("search"),
    "webhook": N_("webhook"),
    "since": N_("from"),
    "until": N_("until"),
    "last": N_("last"),
    "event": N_("gets events of type"),
}
"""What pages call the parts of a filter."""
