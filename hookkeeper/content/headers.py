"""Rules for webhooks' headers. Values can be secrets, so they are masked when read."""

import re
from collections.abc import Collection, Mapping

NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?", re.ASCII)
MAX_HEADERS, MAX_VALUE = 30, 4096
MASK = "********"
SIGNATURE = "webhook-signature"

RESERVED = frozenset(
    {
        "accept-encoding",
        "connection",
        "cookie",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
RESERVED_PREFIXES = ("ce-", "content-", "proxy-", "svix-", "webhook-")
FORGED = frozenset({"forwarded", "metadata", "metadata-flavor", "via", "x-real-ip"})
FORGED_PREFIXES = ("x-forwarded-", "x-aws-ec2-metadata-", "x-aliyun-ecs-metadata-", "x-google-metadata-")
"""They would forge the origin of a request, or give access to a cloud's metadata service."""


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers, or raise ValueError."""
    check_names(headers)
    check_origin(headers)
    for name, value in headers.items():
        check_value(name, value)
    return dict(headers)


def check_total(headers: Mapping[str, str], max_bytes: int) -> None:
    """Raise ValueError for headers that are too large together. Applies to new values, not to stored ones."""
    size = sum(len(name) + len(value) for name, value in headers.items())
    if size > max_bytes:
        raise ValueError(f"names and values of all headers are {size} bytes, and may be {max_bytes} together")


def check_origin(names: Collection[str]) -> None:
    """Raise ValueError for names that forge an origin. Applies to new values, not to stored ones."""
    for name in names:
        if name.lower() in FORGED or name.lower().startswith(FORGED_PREFIXES):
            raise ValueError(f"{name} is reserved for proxies and cloud services")


def check_names(names: Collection[str], free: Collection[str] = ()) -> None:
    """Raise ValueError for reserved names, except those in `free` (lower case)."""
    if len(names) > MAX_HEADERS:
        raise ValueError(f"at most {MAX_HEADERS} headers")
    if len({name.lower() for name in names}) < len(names):
        raise ValueError("two headers differ only in case")
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:64]!r} is not the name of a header")
        if name.lower() not in free and (name.lower() in RESERVED or name.lower().startswith(RESERVED_PREFIXES)):
            raise ValueError(f"{name} is set by Hookkeeper or by HTTP itself")


def check_value(name: str, value: str) -> None:
    """Raise ValueError for an invalid header value."""
    if not VALUE.fullmatch(value) or len(value) > MAX_VALUE:
        raise ValueError(f"the value of {name} must be 1 to {MAX_VALUE} printable ASCII characters")


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    return dict.fromkeys(headers, MASK)


def masked_values(headers: Mapping[str, str]) -> dict[str, str]:
    """Mask all but a content-type, which is no secret, and decides how the body is written."""
    return {name: value if name.lower() == "content-type" else MASK for name, value in headers.items()}


def unmasked(given: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """Replace masks by the known values.

    Raises ValueError for a mask without a known value, since asterisks are no credential.
    """
    values = {name.lower(): value for name, value in known.items()}
    for name, value in given.items():
        if value == MASK and name.lower() not in values:
            raise ValueError(f"{name} has the mask of a secret as its value, but no secret is stored")
    return {name: values[name.lower()] if value == MASK else value for name, value in given.items()}
