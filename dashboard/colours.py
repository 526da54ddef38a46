"""Colours of a theme, with the contrast that WCAG 2.2 demands of texts (success criterion 1.4.3). Pure."""

from collections.abc import Sequence

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
