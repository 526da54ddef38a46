"""Which addresses may be reached: a table, and whatever Python itself does not call global."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cases import each
from hookkeeper.addresses import (
    EVERYWHERE,
    ForbiddenAddress,
    Networks,
    check_connection,
    is_allowed,
    parse_networks,
)

REACHABLE = """
1.1.1.1 8.8.8.8 93.184.216.34 172.15.255.255 172.32.0.1 192.167.255.255 192.169.0.1 100.63.255.255 100.128.0.1
169.253.255.255 169.255.0.1 11.0.0.1 126.255.255.255 128.0.0.1 223.255.255.255
2606:4700:4700::1111 2a00:1450:4001:831::200e 2001:4860:4860::8888 2620:fe::fe
::ffff:8.8.8.8 64:ff9b::8.8.8.8
""".split()  # noqa: SIM905 (a table to read)

REFUSED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.255
168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.9 192.0.0.192 192.0.2.1
192.88.99.1 192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
:: ::1 ::2 100::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 ff0e::1 2001:db8::1 3fff::1 5f00::1 4000::1 1::1
::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:0 ::127.0.0.1 ::8.8.8.8
64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b::224.0.0.1
64:ff9b:1::10.0.0.1 64:ff9b:1::8.8.8.8 ::ffff:0:10.0.0.1 ::ffff:0:8.8.8.8
2002:7f00:1::1 2002:a00:1::1 2002:a9fe:a9fe::1 2002:808:808::1 2001:0:808:808::f5ff:fffe 2001::1 2001:20::1
""".split()  # noqa: SIM905

NO_ADDRESS = [
    *("", "localhost", "acme.example", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "1.2.3", "1.2.3.4.5"),
    *("8.8.8.8 ", "8.8.8.8:80", "8.8.8.8/32", "[2606:4700::1111]", "１.1.1.1", "2606:4700::1111%1", "fe80::1%eth0"),
]


@each("address", REACHABLE)
def test_global_unicast_may_be_reached(address: str) -> None:
    assert is_allowed(address, Networks())


@each("address", REFUSED)
def test_other_addresses_may_not_be_reached(address: str) -> None:
    assert not is_allowed(address, Networks())


@each("address", NO_ADDRESS)
def test_a_text_that_is_no_plain_address_is_refused_even_if_all_is_allowed(address: str) -> None:
    assert not is_allowed(address, parse_networks(["0.0.0.0/0", "::/0"]))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
@example(ip_address("100.64.0.1"))
def test_what_python_does_not_call_global_is_refused(ip: IPv4Address | IPv6Address) -> None:
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if is_allowed(str(ip), Networks()):
        assert ip.is_global
        assert not (ip.is_multicast or ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_unspecified)


def forms(ip: IPv4Address) -> dict[str, IPv6Address]:
    """Return the IPv6 addresses by which traffic gets to an IPv4 address."""
    value = int(ip)
    return {
        "mapped": IPv6Address(0xFFFF << 32 | value),
        "compatible": IPv6Address(value),
        "translated": IPv6Address(0xFFFF << 48 | value),
        "NAT64": IPv6Address(int(IPv6Address("64:ff9b::")) | value),
        "local NAT64": IPv6Address(int(IPv6Address("64:ff9b:1::")) | value),
        "6to4": IPv6Address(0x2002 << 112 | value << 80 | 1),
        "Teredo": IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | value ^ 0xFFFF_FFFF),
    }


@given(st.ip_addresses(v=4))
@example(IPv4Address("127.0.0.1"))
@example(IPv4Address("169.254.169.254"))
def test_no_form_of_ipv6_gets_to_an_ipv4_address_that_is_refused(ip: IPv4Address) -> None:
    for name, form in forms(ip).items():
        everywhere = parse_networks(["::/0"])
        if not is_allowed(str(ip), Networks()):
            assert not is_allowed(str(form), Networks()), name
            # Who allows all of IPv6 has not allowed what lies behind it. (0.0.0.0 and 0.0.0.1 are :: and ::1.)
            assert int(form) < 2 or not is_allowed(str(form), everywhere), name
        else:
            assert is_allowed(str(form), Networks()) == (name in ("mapped", "NAT64")), name
            assert is_allowed(str(form), everywhere)


@each(
    ("address", "network", "allowed"),
    [
        ("127.0.0.1", "127.0.0.0/8", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.2.2.3", "10.1.0.0/16", False),
        ("::1", "127.0.0.0/8", False),
        ("::1", "::1/128", True),
        ("fd00::1", "fd00::/8", True),
        ("fd00::1", "10.0.0.0/8", False),
        ("::ffff:10.1.2.3", "10.1.0.0/16", True),
        ("64:ff9b::10.1.2.3", "10.1.0.0/16", True),
        ("2002:a01:203::1", "10.1.0.0/16", False),
        ("8.8.8.8", "10.0.0.0/8", True),
        ("169.254.169.254", "10.0.0.0/8", False),
    ],
)
def test_the_allow_list_adds_to_what_may_be_reached(address: str, network: str, allowed: bool) -> None:
    assert is_allowed(address, parse_networks([network])) == allowed


def test_an_allow_list_is_read_as_it_is_written() -> None:
    networks = parse_networks([" 10.0.0.0/8 ", "fd00::/8", "192.168.1.7", "Hooks.Internal", "redis", "a_b.example."])
    assert [str(cidr) for cidr in networks.cidrs] == ["10.0.0.0/8", "fd00::/8", "192.168.1.7/32"]
    assert networks.names == {"hooks.internal", "redis", "a_b.example"}
    assert parse_networks([]) == Networks()


@each(
    ("host", "trusted"),
    [
        ("hooks.internal", True),
        ("HOOKS.internal.", True),
        ("x.hooks.internal", False),
        ("internal", False),
        ("hooks.internal.example", False),
        ("", False),
    ],
)
def test_a_name_is_allowed_as_it_is_and_no_other(host: str, trusted: bool) -> None:
    assert parse_networks(["hooks.internal"]).trust(host) == trusted


def test_a_name_that_is_allowed_leads_anywhere_but_to_another_protocol() -> None:
    check_connection("169.254.169.254", 80, Networks(), trusted=True)
    for address, port in (("127.0.0.1", 22), ("8.8.8.8", 0), ("fe80::1%eth0", 80), ("hooks.internal", 80)):
        with pytest.raises(ForbiddenAddress):
            check_connection(address, port, Networks(), trusted=True)
    with pytest.raises(ForbiddenAddress):
        check_connection("8.8.8.8", 6667, EVERYWHERE)


@each(
    ("text", "why"),
    [
        ("", "'' is neither a network such as"),
        ("10.0.0.0/33", "is neither a network"),
        ("10.0.0.0/8,11.0.0.0/8", "is neither a network"),
        ("010.0.0.0/8", "is neither a network"),
        ("0x7f.1", "is neither a network such as 10.0.0.0/8 or fd00::/8 nor a host name"),
        ("*.internal", "nor a host name"),
        ("a..b", "nor a host name"),
        ("internal:80", "nor a host name"),
        ("http://internal", "nor a host name"),
        ("10.0.0.1/8", "'10.0.0.1/8' has bits set after its prefix; the network is 10.0.0.0/8"),
        ("fe80::%eth0/64", "zone id"),
    ],
)
def test_garbage_in_an_allow_list_is_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_networks(["10.0.0.0/8", text])


def test_a_forbidden_address_is_an_os_error() -> None:
    assert issubclass(ForbiddenAddress, OSError)  # so aiohttp takes it for a failed connect and tries the next address
