"""Addresses with and without names: each entry is one mailbox, or an error says why it is not."""

import pytest

from cases import each
from hookkeeper.content.emails import Mailbox, parse_mailbox


@each(
    ("text", "name", "address"),
    [
        ("ann@acme.com", "", "ann@acme.com"),
        ("<ann@acme.com>", "", "ann@acme.com"),
        ("  ann@acme.com\n", "", "ann@acme.com"),
        ("Ann <ann@acme.com>", "Ann", "ann@acme.com"),
        ("Ann<ann@acme.com>", "Ann", "ann@acme.com"),
        ("Zoë Müller <zoe@acme.com>", "Zoë Müller", "zoe@acme.com"),
        ("Smith, Ann <ann@acme.com>", "Smith, Ann", "ann@acme.com"),
        ('"Smith, \\"A\\" Ann" <ann@acme.com>', 'Smith, "A" Ann', "ann@acme.com"),
        ("ann@acme.com <ann@acme.com>", "ann@acme.com", "ann@acme.com"),
        ("Ann.Lee+x@ACME.com", "", "Ann.Lee+x@acme.com"),
        ("ann@bücher.de", "", "ann@xn--bcher-kva.de"),
    ],
)
def test_a_mailbox_has_an_address_and_maybe_a_name(text: str, name: str, address: str) -> None:
    assert parse_mailbox(text) == Mailbox(address=address, name=name)


@each(
    ("text", "sentence"),
    [
        ("", "'' is not an email address"),
        ("ann", "'ann' is not an email address: An email address must have an @-sign"),
        ("ann@acme", "should have a period"),
        ("ann@localhost", "should have a period"),
        ("ann@acme.test", "special-use"),
        ("jürgen@acme.com", "Internationalized characters before the @-sign are not supported"),
        ("ann@[127.0.0.1]", "bracketed IP address"),
        ("a@b.com, c@d.com", "more than one address: use one entry for each"),
        ("a@b.com, Ann <c@d.com>", "more than one address"),
        ("Ann <a@b.com>, Bob <c@d.com>", "more than one address"),
        ("Ann <a@b.com> <c@d.com>", "more than one address"),
        ("Ann <a@b.com", "is not an email address"),
        ("Ann\r\nBcc: x@y.com <a@b.com>", "must be one line"),
        ("Ann\u2028Lee <a@b.com>", "must be one line"),
        ('"A\\\nB" <a@b.com>', "must be one line"),
        ("a@b.com\0", "is not an email address"),
        ("a\r\n@b.com", "is not an email address"),
        (f"{'x' * 257} <a@b.com>", "longer than 256 characters"),
        (f"{'x' * 255}@b.com", "is not an email address"),
    ],
)
def test_a_text_that_is_not_one_mailbox_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as raised:
        parse_mailbox(text)
    assert len(str(raised.value)) < 300
