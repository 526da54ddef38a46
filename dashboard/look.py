"""The look of the pages: ours, or what the theme of a portal link makes of it.

A theme has colours, a mode, a name and a logo. The Content-Security-Policy stays as it is: colours are a style sheet of
our own, whose address has them, and the logo is kept and served by us.
"""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Path, Request, Response

from dashboard.colours import accent_style
from hookkeeper.registry.portal import PortalSession

router = APIRouter(prefix="/theme", include_in_schema=False)
COLOURS = r"^[0-9a-f]{6}-[0-9a-f]{6}$"
KEPT_FOR_A_DAY = "public, max-age=86400"


class Look(NamedTuple):
    name: str = "Hookkeeper"
    mode: str = "auto"
    style: str | None = None
    """URL of the style sheet with the colours."""
    logo: str | None = None
    is_framable: bool = False


def look_of(session: PortalSession | None) -> Look:
    """Return the look of the pages of a link or session; without one, our own."""
    if session is None:
        return Look()
    theme = session.theme or {}
    accent = theme.get("accent")
    dark = theme.get("accent_dark") or accent
    return Look(
        theme.get("name") or Look().name,
        theme.get("mode", "auto"),
        f"/theme/{accent[1:]}-{dark[1:]}.css" if accent and dark else None,
        f"/logo?v={session.id}" if theme.get("logo") else None,
        bool(session.frame_origins),
    )


@router.get("/{colours}.css")
async def show_style(request: Request, colours: Annotated[str, Path(pattern=COLOURS)]) -> Response:
    """Serve the style sheet of two colours, for light and for dark."""
    light, dark = colours.split("-")
    headers = {
        "cache-control": KEPT_FOR_A_DAY,
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
    return Response(accent_style(f"#{light}", f"#{dark}"), media_type="text/css", headers=headers)
