"""Emails as tenants define them, and as they are rendered for an event; addresses with optional display names."""

import re
from typing import Annotated, Any, Self

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from hookkeeper.content import defaults, template_fields
from hookkeeper.content.context import Context
from hookkeeper.content.errors import BadTemplate
from hookkeeper.content.json_text import check_size
from hookkeeper.content.sizes import DEFAULT_LIMITS, RenderLimits, check_body, memory_of
from hookkeeper.content.text import LINES, check_line, is_line, truncate

MAX_NAME = 256
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
_QUOTED = re.compile(r'"(?P<name>(?:[^"\\]|\\.)*)"', re.DOTALL)


Line = Annotated[str, AfterValidator(check_line)]


class Mailbox(BaseModel):
    """An email address in ASCII (the domain in punycode) and a display name, both safe to use in a header."""

    model_config = ConfigDict(frozen=True)

    address: Line
    name: Line = ""


def parse_mailbox(text: str) -> Mailbox:
    """Read `a@b.example` or `Ann <a@b.example>`; raise ValueError unless it is exactly one mailbox.

    A name needs no quotes: `Smith, Ann <a@b.example>` can be read in one way only.
    """
    text = text.strip()
    named = _NAMED.fullmatch(text)
    name = named["name"].strip() if named else ""
    address = named["address"].strip() if named else text
    if "@" in name.rpartition(",")[0] or address.count("@") > 1:
        raise ValueError(f"{_shown(text)} contains more than one address: use one entry for each")
    return Mailbox(address=_address(address), name=_name(name))


def _address(text: str) -> str:
    """Return the address as it is sent, with the domain in punycode.

    The part before the @ must be ASCII: other characters need SMTPUTF8, which SendGrid and many servers lack.
    """
    try:
        valid = validate_email(text, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError as error:
        raise ValueError(f"{_shown(text)} is not an email address: {error}") from None
    if valid.ascii_email is None:
        raise ValueError(f"{_shown(text)} is not an ASCII email address")
    return valid.ascii_email


def _name(text: str) -> str:
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", quoted["name"], flags=re.DOTALL)
    if not is_line(text):
        raise ValueError(f"the name {_shown(text)} must be one line without control characters")
    if len(text) > MAX_NAME:
        raise ValueError(f"the name {_shown(text)} is longer than {MAX_NAME} characters")
    return text


def _shown(text: str) -> str:
    return repr(truncate(text, 64))


MAX_RECIPIENTS = 50
MAX_TEMPLATE = 64 * 1024
MAX_TEMPLATE_DATA = 16 * 1024
RESERVED = ("event", "webhook", "alert")
"""Names in the data of a provider's template that Hookkeeper sets."""

Entry = Annotated[str, Field(min_length=1, max_length=1024)]
"""An address or a template for one. `check_addresses` checks it when it is saved only, because that is expensive."""
Entries = Annotated[tuple[Entry, ...], Field(max_length=MAX_RECIPIENTS)]
Category = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(check_line)]


class Email(BaseModel):
    """An email. Templates (`{{ … }}`) are rendered for each event."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    to: Annotated[Entries, Field(min_length=1, examples=[["Ann <ann@acme.example>"]])]
    """`ann@acme.example`, `Ann <ann@acme.example>`, or a template that renders to one of these or to nothing."""
    cc: Entries = ()
    bcc: Entries = ()
    reply_to: Entry | None = None
    subject: str | None = Field(None, min_length=1, max_length=4096, examples=["Order {{ event.data.order }}"])
    """By default the type of the event. Truncated to 255 characters."""
    text: Annotated[str, LINES] | None = Field(None, min_length=1, max_length=MAX_TEMPLATE)
    html: Annotated[str, LINES] | None = Field(None, title="HTML", min_length=1, max_length=MAX_TEMPLATE)
    """Rendered values are escaped. Without text and html, the text shows the event."""
    template_id: str | None = Field(None, pattern=r"^d-[A-Za-z0-9]{1,64}$")
    """A dynamic template of SendGrid, which sets subject, text and html."""
    template_data: dict[str, Any] = Field(default_factory=dict)
    """Data for the dynamic template, besides `event` and `webhook`."""
    categories: tuple[Category, ...] = Field((), max_length=10)
    tracking: bool = Field(False, strict=True)
    """Wait for the provider's report that the email has arrived."""

    @field_validator("template_data")
    @classmethod
    def _small(cls, data: dict[str, Any]) -> dict[str, Any]:
        check_size(data, MAX_TEMPLATE_DATA)
        if taken := [name for name in RESERVED if name in data]:
            raise ValueError(f"{taken[0]} is set by Hookkeeper")
        return data

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.to) + len(self.cc) + len(self.bcc) > MAX_RECIPIENTS:
            raise ValueError(f"to, cc and bcc together may have at most {MAX_RECIPIENTS} entries")
        if self.template_id and (self.text or self.html):
            raise ValueError("give either template_id, or text and html: a dynamic template has its own text")
        if self.template_data and not self.template_id:
            raise ValueError("template_data needs a template_id")
        if len(set(self.categories)) < len(self.categories):
            raise ValueError("categories must be unique")
        return self

    @property
    def target(self) -> str:
        return ", ".join(self.to)

    @property
    def destination(self) -> tuple[Entries, ...]:
        return self.to, self.cc, self.bcc

    @property
    def address_count(self) -> int:
        """Addresses, each template counted as one."""
        return len(self.entries)

    @property
    def entries(self) -> list[tuple[str, str]]:
        """All addresses, and the name of each one's field: `to.0`."""
        own = [(f"{name}.{n}", entry) for name in ("to", "cc", "bcc") for n, entry in enumerate(getattr(self, name))]
        return [*own, ("reply_to", self.reply_to)] if self.reply_to is not None else own


class RenderedEmail(BaseModel):
    """A rendered email, ready to be sent."""

    model_config = ConfigDict(frozen=True)

    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: Mailbox | None = None
    subject: str
    text: str | None = None
    html: str | None = None
    template_id: str | None = None
    template_data: dict[str, Any] = Field(default_factory=dict)
    categories: tuple[str, ...] = ()
    tracking: bool = False

    @property
    def recipients(self) -> tuple[str, ...]:
        """All addresses in lower case, without duplicates."""
        return tuple(dict.fromkeys(mailbox.address.lower() for mailbox in (*self.to, *self.cc, *self.bcc)))

    @property
    def size(self) -> int:
        """Bytes of its texts, and of its data in memory."""
        return _size(self.text) + _size(self.html) + memory_of(self.template_data)


def faults(email: Email, _: object) -> list[tuple[str, str]]:
    """Return field and error of what no template decides."""
    return check_addresses(email)


def check_addresses(email: Email) -> list[tuple[str, str]]:
    """Return field and error of each invalid address. Takes some milliseconds, so do not call it on an event loop."""
    errors = []
    for field, entry in email.entries:
        try:
            if not template_fields.is_template(entry):
                parse_mailbox(entry)
        except ValueError as error:
            errors.append((field, str(error)))
    return errors


def check(email: Email) -> None:
    """Raise BadTemplate, with the field's name, for an invalid template."""
    for field, entry in email.entries:
        if template_fields.is_template(entry):
            template_fields.check(field, entry)
    for name in ("subject", "text", "html"):
        template_fields.check(name, getattr(email, name))


def render_email(email: Email, context: Context, limits: RenderLimits = DEFAULT_LIMITS) -> RenderedEmail:
    """Render an email for an event. Raises a `ContentError` if a field cannot be rendered."""
    seen: set[str] = set()
    to, cc, bcc = (_mailboxes(name, getattr(email, name), context, seen) for name in ("to", "cc", "bcc"))
    if not to:
        raise BadTemplate("to: has no address for this event")
    text, html = _texts(email, context)
    if email.text or email.html:
        check_body("text and html", _size(text) + _size(html), limits.body_bytes)
    return RenderedEmail(
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=_mailbox("reply_to", email.reply_to, context) if email.reply_to else None,
        subject=_subject(email, context),
        text=text,
        html=html,
        template_id=email.template_id,
        template_data=_template_data(email, context),
        categories=email.categories,
        tracking=email.tracking,
    )


def _mailboxes(name: str, entries: tuple[str, ...], context: Context, seen: set[str]) -> tuple[Mailbox, ...]:
    """Return the mailboxes of a field, except those in `seen`: providers reject duplicate addresses."""
    mailboxes = []
    for index, entry in enumerate(entries):
        mailbox = _mailbox(f"{name}.{index}", entry, context)
        if mailbox and mailbox.address.lower() not in seen:
            seen.add(mailbox.address.lower())
            mailboxes.append(mailbox)
    return tuple(mailboxes)


def _mailbox(field: str, entry: str, context: Context) -> Mailbox | None:
    """Return the mailbox of an entry; None if its template renders to nothing."""
    if template_fields.is_template(entry):
        entry = template_fields.fill(field, entry, context).strip()
    with template_fields.named(field):
        return parse_mailbox(entry) if entry else None


def _subject(email: Email, context: Context) -> str:
    if email.subject is None:
        return defaults.subject(context)
    subject = template_fields.fill_line("subject", email.subject, context).strip()
    if not subject:
        raise BadTemplate("subject: is empty for this event")
    return truncate(subject, defaults.MAX_LINE)


def _texts(email: Email, context: Context) -> tuple[str | None, str | None]:
    """Return text and html; empty ones are omitted, but one of them is required."""
    if email.template_id:
        return None, None
    if email.text is None and email.html is None:
        return defaults.text(context), defaults.html(context)
    text = template_fields.fill("text", email.text, context) if email.text else ""
    html = template_fields.fill("html", email.html, context, "html") if email.html else ""
    if not text.strip() and not html.strip():
        raise BadTemplate(f"{'html' if email.html else 'text'}: the email is empty for this event")
    return text if text.strip() else None, html if html.strip() else None


def _size(text: str | None) -> int:
    return len((text or "").encode())


def _template_data(email: Email, context: Context) -> dict[str, Any]:
    if not email.template_id:
        return {}
    return {**email.template_data, **{name: context[name] for name in RESERVED if name in context}}
