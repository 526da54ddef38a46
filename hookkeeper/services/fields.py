"""Types of the fields of requests and answers: bounded, strict, and described once."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    computed_field,
    field_validator,
    model_validator,
)

from hookkeeper import causes
from hookkeeper.content.headers import check_headers
from hookkeeper.content.search_terms import KEY_PATH
from hookkeeper.content.text import LINES, WORD, is_visible_line
from hookkeeper.content.urls import MAX_URL, check_url
from hookkeeper.crypto.signing_keys import check_secret
from hookkeeper.filters import ERROR_PATTERN, STATUS_CODE_PATTERN
from hookkeeper.ids import is_webhook_id
from hookkeeper.services.counts import check_field, check_fields
from hookkeeper.settings import RATE
from hookkeeper.statuses import ERRORS
from hookkeeper.times import rfc3339

TENANT_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
MAX_EVENT_TYPE = 128
"""Characters of an event type or a pattern."""
_GROUPS = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"
EVENT_TYPE = rf"^{_GROUPS}$"
EVENT_PATTERN = rf"^({_GROUPS}(\.\*)?|\*)$"
EVENT_ID = r"^[A-Za-z0-9_-]{1,128}$"
AGE = r"^[1-9][0-9]{0,3}[mhd]$"
COLOUR = r"^#[0-9A-Fa-f]{6}$"
PAGE_PATH = r"^/[A-Za-z0-9/_-]*$"
SCHEDULE_ID = r"^[A-Za-z0-9_-]{1,100}$"
"""A time is added to it, to name the events that the schedule makes."""
_NAME_RULE = "letters, digits, `_` or `-`"
PATTERN_RULES = {
    TENANT_PATTERN: f"must be 1 to 64 {_NAME_RULE}",
    EVENT_ID: f"must be 1 to 128 {_NAME_RULE}",
    EVENT_TYPE: "must be words of letters, digits, `_` and `-`, joined by dots, such as `order.paid`",
    EVENT_PATTERN: "must be an event type such as `order.paid`, a group of them such as `order.*`, or `*`",
    AGE: "must be a number of minutes, hours or days, such as `15m`, `24h` or `7d`",
    STATUS_CODE_PATTERN: "must be a status code such as `503`, or a class such as `5xx`",
    ERROR_PATTERN: f"must be `http_<status>`, `smtp_<code>`, {', '.join(ERRORS[:-1])} or {ERRORS[-1]}",
    COLOUR: "must be a colour such as `#0f766e`",
    PAGE_PATH: "must be the path of a page, without a query, such as `/webhooks`",
    SCHEDULE_ID: f"must be 1 to 100 {_NAME_RULE}",
    KEY_PATH: "must be names of letters, digits, `_`, `-`, `$` and `@`, joined by dots, such as `customer.id`",
    RATE: "must be a number a second, minute, hour or day, such as `100/second`",
}
"""What a text of each pattern must be, as errors say it."""
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _rfc3339(value: object) -> object:
    """Refuse what Pydantic accepts as well: numbers, numbers in a string, dates."""
    if isinstance(value, datetime):  # of our own: JSON has none
        return value
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise ValueError("must be a string: RFC 3339 with a time zone, such as 2026-01-02T03:04:05Z")
    return value


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is before year 1 or after year 9999") from None


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    return text


def _visible_line(text: str) -> str:
    if not is_visible_line(text):
        raise ValueError("must be one line without control, bidirectional or other invisible characters")
    return text


def _no_webhook_id(uid: str) -> str:
    if is_webhook_id(uid):
        raise ValueError("must not begin with `wh_`, as ids of webhooks do")
    return uid


def _usable_secret(secret: str) -> str:
    check_secret(secret)
    return secret


AS_TEXT = PlainSerializer(
    rfc3339, return_type=Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})], when_used="json"
)
Time = Annotated[datetime, AS_TEXT]
GivenTime = Annotated[AwareDatetime, BeforeValidator(_rfc3339), AfterValidator(_utc)]
TenantName = Annotated[str, Field(pattern=TENANT_PATTERN, description="The customer that the object belongs to")]
EventType = Annotated[str, Field(pattern=EVENT_TYPE, max_length=MAX_EVENT_TYPE)]
EventPattern = Annotated[str, Field(pattern=EVENT_PATTERN, max_length=MAX_EVENT_TYPE), WORD]
ChannelName = Annotated[str, Field(pattern=EVENT_TYPE, max_length=MAX_EVENT_TYPE), WORD]
Channels = Annotated[tuple[ChannelName, ...], Field(max_length=10, examples=[["project_1"]])]
EventId = Annotated[str, Field(pattern=EVENT_ID)]
Text = Annotated[str, AfterValidator(_storable), LINES]
Line = Annotated[str, AfterValidator(_visible_line)]
"""A text of one line, such as a name or a note."""
Secret = Annotated[
    str, Field(max_length=256, json_schema_extra={"pattern": "^wh(sec|sk)_"}), AfterValidator(_usable_secret)
]
Url = Annotated[
    str,
    Field(max_length=MAX_URL, json_schema_extra={"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}),  # JSON Schema has no flags
    AfterValidator(check_url),
]
Uid = Annotated[str, Field(pattern=EVENT_ID), AfterValidator(_no_webhook_id)]
Headers = Annotated[dict[str, str], AfterValidator(check_headers)]
MetadataText = Annotated[str, Field(max_length=512)]
Item = TypeVar("Item")


class RequestModel(BaseModel):
    """Base of the models of requests."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: Any) -> Any:
        if isinstance(value, dict):
            check_fields(value)
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _few_members(cls, value: Any, info: ValidationInfo) -> Any:
        check_field(cls, info.field_name or "", value)
        return value


def with_examples(*examples: dict[str, Any]) -> ConfigDict:
    """Make the configuration of a model that has these examples in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class ResponseModel(BaseModel):
    """Base of the models of answers."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)

    @classmethod
    def of(cls, source: object, **others: Any) -> Self:
        """Make one from the attributes of `source` that are named as the fields are; `others` has the other fields."""
        names = {field.alias or name for name, field in cls.model_fields.items()}
        return cls(**{name: getattr(source, name) for name in names - others.keys()}, **others)


class Explained(ResponseModel):
    """A result whose error is explained by the table of `hookkeeper.causes`. It has `error` and `status_code`, and the
    text of the attempt as `text` or `response_excerpt`, if it has one.
    """

    @computed_field  # type: ignore[prop-decorator]
    @property
    def error_text(self) -> str | None:
        """Why the attempt failed, in a sentence, such as `There is no such host: nowhere.example`; null without
        an error.
        """
        return self.sentence()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def remedy(self) -> str | None:
        """What usually helps; null without an error."""
        return causes.remedy_of(self._of("error"), self._text)

    def sentence(self, translated: Callable[[str], str] = str) -> str | None:
        """Return `error_text`, translated."""
        return causes.sentence_of(self._of("error"), self._of("status_code"), self._text, translated)

    @property
    def _text(self) -> str:
        return self._of("text") or self._of("response_excerpt") or ""

    def _of(self, name: str) -> Any:
        return getattr(self, name, None)


class Owned(BaseModel):
    """What comes first in an answer."""

    id: str
    tenant: str


class Shown(ResponseModel):
    """An answer with the fields of a request. What was stored is not validated again."""

    @classmethod
    def of(cls, source: object, **others: Any) -> Self:
        """Make one from the attributes of `source`, as any answer."""
        names = cls.model_fields.keys() - others.keys()
        return cls.model_construct(**{name: getattr(source, name) for name in names}, **others)  # type: ignore[return-value]


SHOWN_AS_GIVEN = ConfigDict(extra="ignore", json_schema_serialization_defaults_required=True)
"""The configuration of such an answer, whose fields are always there."""


class Page(BaseModel, Generic[Item]):  # no attribute docstrings: Pydantic fails to find those of generic models
    items: list[Item]
    next_cursor: str | None = Field(
        None, description="Pass it as `cursor` to get the next page; null on the last page."
    )


class CountedPage(Page[Item], Generic[Item]):
    total: int | None = Field(
        None,
        description="Number of all matches, if `total=true` was requested. Null above 1,000, and if too many others "
        "would have to be read to count them.",
    )
