"""The look of the pages: ours, or what the theme of a portal link makes of it.

A theme has colours, a mode, a name and a logo. The Content-Security-Policy stays as it is: colours are a style sheet of
our own, whose address has them, and the logo is kept and served by us.
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Path, Request, Response

from hookkeeper.registry.tenants.portal import PortalSession
from hookkeeper.services.errors import NotFound

router = APIRouter(include_in_schema=False)
COLOURS = r"^[0-9a-f]{6}-[0-9a-f]{6}$"
KEPT_FOR_A_DAY = "public, max-age=86400"
Colour = tuple[int, int, int]
"""Red, green and blue, from 0 to 255."""
CONTRAST = 4.5
STEPS = 50
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
LIGHT_PAGE = (0xF5, 0xF6, 0xF9)
DARK_PAGE, DARK_CARD = (0x0E, 0x11, 0x16), (0x17, 0x1B, 0x22)
"""As in `pages.css`. Accents are texts on these, and on a soft shade of themselves."""
SOFT = 0.88
"""Share of the card in a soft shade."""
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
ASSET_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
A_YEAR = "public, max-age=31536000, immutable"
_contents = {
    file.name: file.read_bytes()
    for file in files("dashboard").joinpath("static").iterdir()
    if file.name.rpartition(".")[2] in TYPES
}
_versions = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in _contents.items()}


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


@router.get("/theme/{colours}.css")
async def show_style(request: Request, colours: Annotated[str, Path(pattern=COLOURS)]) -> Response:
    """Serve the style sheet of two colours, for light and for dark."""
    light, dark = colours.split("-")
    headers = ASSET_HEADERS | {"cache-control": KEPT_FOR_A_DAY}
    return Response(accent_style(f"#{light}", f"#{dark}"), media_type="text/css", headers=headers)


def accent_style(light: str, dark: str) -> str:
    """Write the style sheet of an accent colour for light pages and one for dark pages, given as `#rrggbb`."""
    on_light, soft_on_light = _readable(_read(light), BLACK, WHITE, (LIGHT_PAGE, WHITE))
    on_dark, soft_on_dark = _readable(_read(dark), WHITE, DARK_CARD, (DARK_PAGE, DARK_CARD))
    return (
        f":root {{\n  --accent: light-dark({_written(on_light)}, {_written(on_dark)});\n"
        f"  --on-accent: light-dark({_written(WHITE)}, {_written(DARK_PAGE)});\n"
        f"  --accent-soft: light-dark({_written(soft_on_light)}, {_written(soft_on_dark)});\n}}\n"
    )


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast ratio of two colours, from 1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _readable(accent: Colour, toward: Colour, card: Colour, grounds: Sequence[Colour]) -> tuple[Colour, Colour]:
    """Return the accent and its soft shade; the accent is mixed with black or white until it can be read on each."""
    for step in range(STEPS + 1):
        colour = _mixed(accent, toward, step / STEPS)
        soft = _mixed(colour, card, SOFT)
        if all(contrast(colour, ground) >= CONTRAST for ground in (*grounds, soft)):
            return colour, soft
    raise AssertionError("black and white can be read on each ground")


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _read(text: str) -> Colour:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _written(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def versioned(name: str) -> str:
    """Return the URL of a file, which changes with its content."""
    return f"/static/{name}?v={_versions[name]}"


@router.get("/static/{asset}")
async def show_asset(asset: Annotated[str, Path()], request: Request) -> Response:
    """Serve a file. A browser keeps what it has by its version for a year, and asks again for others."""
    if asset not in _contents:
        raise NotFound("There is no such file.")
    is_current = request.query_params.get("v") == _versions[asset]
    kept = A_YEAR if is_current else "no-cache"
    headers = ASSET_HEADERS | {"cache-control": kept, "etag": f'"{_versions[asset]}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(_contents[asset], media_type=TYPES[asset.rpartition(".")[2]], headers=headers)
