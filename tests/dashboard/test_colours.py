"""The colours of a theme can be read, whatever the colours that were given."""

import random
import re

import pytest

from dashboard.look import DARK_CARD, DARK_PAGE, LIGHT_PAGE, WHITE, Colour, accent_style, contrast

PAIR = re.compile(r"--([a-z-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\);")


def read(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


def test_contrast_is_that_of_wcag() -> None:
    assert contrast((0, 0, 0), WHITE) == pytest.approx(21)
    assert contrast((0x77, 0x77, 0x77), WHITE) == pytest.approx(4.48, abs=0.01)


def test_a_readable_colour_stays_as_it_is() -> None:
    style = accent_style("#4338ca", "#a9a5ff")
    assert "--accent: light-dark(#4338ca, #a9a5ff);" in style
    assert "--accent: light-dark(#4338ca, #a9a5ff);" not in accent_style("#a9a5ff", "#4338ca")


def test_every_text_has_enough_contrast() -> None:
    chosen = random.Random(40)
    given = ["#000000", "#ffffff", "#ffff00", "#0000ff", *(f"#{chosen.randrange(2**24):06x}" for _ in range(300))]
    for colour in given:
        found = {name: (read(light), read(dark)) for name, light, dark in PAIR.findall(accent_style(colour, colour))}
        assert found.keys() == {"accent", "on-accent", "accent-soft"}
        for mode, grounds in enumerate(((WHITE, LIGHT_PAGE), (DARK_PAGE, DARK_CARD))):
            accent = found["accent"][mode]
            for other in (*grounds, found["on-accent"][mode], found["accent-soft"][mode]):
                assert contrast(accent, other) >= 4.5, (colour, mode, other)
