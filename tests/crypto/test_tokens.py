"""Tokens are recognised by their form and checksum."""

from cases import each
from hookkeeper.crypto.tokens import is_token, new_token

KEY = "hk_Y0pJ2nq7bV1xW5sT8uZ3aB6cD9eF4gH7iK0lM2oP5rQ1koztV"
LINK = "Y0pJ2nq7bV1xW5sT8uZ3aB6cD9eF4gH7iK0lM2oP5rQ2hPN9v"


def test_a_new_token_is_random_and_recognised() -> None:
    made = [new_token(prefix) for prefix in ("hk_", "") for _ in range(100)]
    assert len(set(made)) == 200
    assert [is_token(token, "hk_") for token in made] == [True] * 100 + [False] * 100
    assert [is_token(token) for token in made] == [False] * 100 + [True] * 100


@each(
    ("text", "prefix", "expected"),
    [
        (KEY, "hk_", True),
        (LINK, "", True),
        (KEY, "", False),
        (LINK, "hk_", False),
        (f"hk_{LINK}", "hk_", False),
        (KEY.swapcase(), "hk_", False),
        (KEY[:-1], "hk_", False),
        (KEY[:-1] + "W", "hk_", False),
        ("hk_Z" + KEY[4:], "hk_", False),
        (KEY + "\n", "hk_", False),
        (KEY[:-1] + "é", "hk_", False),
        (KEY[:-1] + "-", "hk_", False),
        ("hk_", "hk_", False),
        ("", "", False),
    ],
)
def test_a_text_is_a_token_if_form_and_checksum_are_right(text: str, prefix: str, expected: bool) -> None:
    assert is_token(text, prefix) is expected
