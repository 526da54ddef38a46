"""The check of HOOKKEEPER_DATABASE_URL. What it says contains no part of the URL that may be secret."""

from collections.abc import Iterable

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

OPTIONS = frozenset(
    {
        *("host", "port", "ssl", "direct_tls", "passfile", "target_session_attrs", "krbsrvname", "gsslib"),
        *("command_timeout", "prepared_statement_cache_size"),
    }
)
"""Options after `?` that asyncpg, or SQLAlchemy for it, takes as text. Others raise a TypeError at each connection."""
MAX_PORT = 65535


def check_database_url(text: str) -> str:
    """Return the URL, or raise ValueError."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("is not a URL such as postgresql+asyncpg://user:password@host:5432/database") from None
    if "@" in (url.host or ""):
        raise ValueError("has more than one @: write %40 for one in the password, and %2F for a /")
    if url.port is not None and not 1 <= url.port <= MAX_PORT:
        raise ValueError(f"the port is not between 1 and {MAX_PORT}")
    if url.get_backend_name() == "postgresql":
        _check_options(url.query)
    return text


def _check_options(names: Iterable[str]) -> None:
    """Refuse options of other drivers: `sslmode` is in the URLs that many providers show."""
    if unknown := sorted({*names} - OPTIONS):
        hint = "; write ssl=require in place of sslmode=require" if "sslmode" in unknown else ""
        raise ValueError(f"the driver asyncpg has no option {', '.join(unknown)}{hint}")
