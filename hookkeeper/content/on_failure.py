"""The recipients of alerts."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hookkeeper.content.emails import Email
from hookkeeper.content.notifications import Notification

MAX_EACH = 10


class OnFailure(BaseModel):
    """Emails and notifications for alerts. Their templates have `alert` besides `event`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    emails: tuple[Email, ...] = Field((), max_length=MAX_EACH)
    notifications: tuple[Notification, ...] = Field((), max_length=MAX_EACH)

    @model_validator(mode="after")
    def _has_a_recipient(self) -> Self:
        if not self.emails and not self.notifications:
            raise ValueError("needs at least one email or notification")
        return self
