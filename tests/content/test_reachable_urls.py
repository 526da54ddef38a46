"""What the text of a URL alone shows: hosts and ports that no attempt would reach."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from cases import each
from forbidden import BAD_PORTS, LOOPBACK, NO_HOSTS, PRIVATE
from hookkeeper.addresses import EVERYWHERE, Networks, parse_networks
from hookkeeper.content.urls import check_reachable, check_url

NOWHERE = Networks()


def refused(url: str, allowed: Networks = NOWHERE) -> str | None:
    """Say why a URL may not be registered, or None."""
    try:
        check_reachable(check_url(url), allowed)
    except ValueError as error:
        return str(error)
    return None


@each("host", [*LOOPBACK, *PRIVATE, *NO_HOSTS, *BAD_PORTS])
@each("scheme", ["http", "HTTPS"])
def test_every_way_to_write_a_forbidden_host_is_refused(scheme: str, host: str) -> None:
    assert refused(f"{scheme}://{host}/hook?a=b") is not None
    assert host in BAD_PORTS or refused(f"{scheme}://{host}:8443") is not None


@each(
    "host",
    [
        *("8.8.8.8", "172.32.0.1", "169.255.1.1", "[2606:4700:4700::1111]", "[::ffff:8.8.8.8]", "[64:ff9b::808:808]"),
        *("acme.example", "ACME.example.", "xn--bcher-kva.example", "127.0.0.1.acme.example", "localhost.example"),
        *("internal.example", "notlocal", "my-internal", "10.example", "0x7f.example", "a.0xg", "acme.example:8443"),
    ],
)
def test_other_hosts_are_accepted(host: str) -> None:
    assert refused(f"https://{host}/hook") is None


@each("host", ["127.1", "0", "2130706433", "0x7f.1", "127.000.000.001", "8.8.8.8.", "010.8.8.8"])
def test_an_ipv4_address_has_one_notation_whatever_is_allowed(host: str) -> None:
    assert refused(f"http://{host}/", EVERYWHERE) == "must write an IPv4 address as four decimal numbers"


@each("host", ["127.0.0.1", "10.0.0.1", "[::1]", "[fd00:ec2::254]", "localhost", "db.internal"])
def test_any_host_is_accepted_if_everything_is_allowed(host: str) -> None:
    assert refused(f"http://{host}/", EVERYWHERE) is None


@each(
    ("host", "allowed", "fine"),
    [
        ("127.0.0.1", "127.0.0.0/8", True),
        ("localhost", "127.0.0.0/8", True),
        ("a.localhost", "::1", True),
        ("localhost", "10.0.0.0/8", False),
        ("localhost", "localhost", True),
        ("db.internal", "127.0.0.0/8,::1/128", False),
        ("db.internal", "10.0.0.0/8", True),
        ("db.internal", "db.internal", True),
        ("DB.internal.", "db.INTERNAL", True),
        ("other.internal", "db.internal", False),
        ("10.0.0.1", "db.internal", False),
        ("10.0.0.1", "10.0.0.0/8", True),
        ("[64:ff9b::a00:1]", "10.0.0.0/8", True),
        ("[2002:a00:1::1]", "10.0.0.0/8", False),
        ("db.internal:25", "db.internal", False),
        ("10.0.0.1:6000", "10.0.0.0/8", False),
    ],
)
def test_a_host_in_an_allowed_network_is_accepted(host: str, allowed: str, fine: bool) -> None:
    assert (refused(f"http://{host}/", parse_networks(allowed.split(","))) is None) == fine


def notations(ip: IPv4Address) -> list[str]:
    """Return ways to write an IPv4 address that some parser takes."""
    value, parts = int(ip), ip.packed
    return [
        str(ip),
        f"{ip}.",
        str(value),
        hex(value),
        f"0{value:o}",
        ".".join(map(hex, parts)),
        ".".join(f"0{part:o}" for part in parts),
        f"{parts[0]}.{value & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{value & 0xFFFF}",
        f"[::ffff:{ip}]",
        f"[::{ip}]",
        f"[64:ff9b::{ip}]",
        f"[{IPv6Address(0x2002 << 112 | value << 80 | 1)}]",
        f"[{IPv6Address(0x20010000 << 96 | value ^ 0xFFFF_FFFF)}]",
    ]


@given(st.ip_addresses(v=4), st.booleans())
def test_no_notation_hides_an_address_that_python_does_not_call_global(ip: IPv4Address, upper: bool) -> None:
    for host in notations(ip):
        if not ip.is_global:
            assert refused(f"http://{host.upper() if upper else host}/") is not None, host


@given(st.ip_addresses(v=6))
def test_no_notation_hides_an_ipv6_address_that_python_does_not_call_global(ip: IPv6Address) -> None:
    judged = ip.ipv4_mapped or ip
    if not judged.is_global:
        assert refused(f"http://[{ip.exploded}]/") is not None
