"""The policies of a webhook: retries, order, and when it counts as failing.

The rule that reads a retry policy is `workflows.retry.next_delay`.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from hookkeeper.content.text import SECONDS
from hookkeeper.wording import write_durations

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MAX_ATTEMPTS = 50
Delay = Annotated[float, Field(ge=0, le=7 * DAY, allow_inf_nan=False, strict=True), SECONDS]

DEFAULT_SCHEDULE = (
    5.0,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
"""Seconds before attempts 2 to 10: ten attempts in a little over three days."""

OrderPolicy = Literal["block", "skip"]
"""The effect of a failing event on later events of an ordered webhook: `block` delays them until it is final, `skip`
only until its first failed attempt."""


class OrderKey(BaseModel):
    """The key within which events are ordered. Events of different keys are sent in parallel."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    key: str = Field(min_length=1, max_length=4096, examples=["event.data.customer_id"])
    """A CEL expression on `event`. A value that is no text counts as its JSON. A missing one is a key of its own."""


def _order(value: object) -> "bool | OrderKey":
    if isinstance(value, bool | OrderKey):
        return value
    if not isinstance(value, dict):
        raise ValueError('must be true, false, or an object with a key, such as {"key": "event.data.customer_id"}')
    return OrderKey.model_validate(value)


Order = Annotated[bool | OrderKey, WrapValidator(lambda value, _: _order(value))]
"""Whether a webhook is ordered, and by which key."""


class RetryPolicy(BaseModel):
    """Either a `schedule` (seconds before each further attempt; `[]` means one attempt) or an exponential backoff."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: tuple[Delay, ...] | None = Field(
        None,
        max_length=MAX_ATTEMPTS - 1,
        examples=[[5, 300, 3600]],
        description="Seconds to wait before attempt 2, 3, …; none at all means one attempt.",
    )
    initial: Delay = Field(5.0, description="Exponential: seconds before attempt 2.")
    coefficient: float = Field(2.0, ge=1, le=10, strict=True, description="Exponential: growth of each further wait.")
    maximum: Delay = Field(HOUR, description="Exponential: the longest wait in seconds.")
    attempts: int = Field(
        10, ge=1, le=MAX_ATTEMPTS, strict=True, description="Exponential: attempts in all, the first one included."
    )

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if self.schedule is not None and self.model_fields_set - {"schedule"}:
            raise ValueError("give either schedule or exponential fields (initial, coefficient, …), not both")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit unset fields, so that a policy that was read can be sent again."""
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set}

    @property
    def delays(self) -> tuple[float, ...]:
        """Seconds before attempt 2, 3, …; one fewer than there are attempts."""
        if self.schedule is not None:
            return self.schedule
        return tuple(min(self.maximum, self.initial * self.coefficient**n) for n in range(self.attempts - 1))


HealthStatus = Literal["new", "healthy", "slow", "degraded", "failing", "paused", "disabled"]
"""The health of a webhook. `new`: no attempt was made yet. `slow`: requests take longer than its `slow_after`.
`degraded`: the latest attempt of a target has failed. `failing`: its `alert_after` is reached. `paused` and
`disabled` take the place of the others."""


class AlertAfter(BaseModel):
    """How long a target may fail until its webhook is `failing`. If both are given, the first that applies counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    attempts: int | None = Field(None, ge=1, le=1000, strict=True, examples=[5])
    """Failed attempts in a row."""
    seconds: Annotated[float, SECONDS] | None = Field(
        None, ge=1, le=30 * DAY, allow_inf_nan=False, strict=True, examples=[900]
    )
    """Time since the first failed attempt."""

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.attempts is None and self.seconds is None:
            raise ValueError("needs attempts, seconds, or both")
        return self

    def __str__(self) -> str:
        attempts = [f"{self.attempts} attempts"] if self.attempts else []
        return ", ".join(attempts + ([write_durations([self.seconds])] if self.seconds else []))

    def reached_at(self, since: datetime, failures: int) -> datetime | None:
        """Return from when on failures in a row since this time count as failing; None if more are needed."""
        if self.attempts is not None and failures >= self.attempts:
            return since
        return None if self.seconds is None else since + timedelta(seconds=self.seconds)


DEFAULT_ALERT_AFTER = AlertAfter(attempts=5, seconds=15 * MINUTE)


class HealthDefaults(NamedTuple):
    """The operator's settings, for webhooks without their own."""

    alert_after: AlertAfter = DEFAULT_ALERT_AFTER
    disable_after: float | None = None
    """Seconds; None or 0 is never."""
