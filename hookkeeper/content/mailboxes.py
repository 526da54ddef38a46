"""Email addresses with optional display names."""

import re
from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict

from hookkeeper.content.text import check_line, is_line, truncate

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
