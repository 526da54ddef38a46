"""May this address be reached from here? Pure judgement: the API asks it of what people write, the worker of each
connection that it makes.

Only global unicast may, and what the operator allowed. An IPv6 address that carries an IPv4 address is judged by
both.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_Network = IPv4Network | IPv6Network
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)

# fmt: off
BAD_PORTS = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531,
    532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060,
    5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
})
# fmt: on
"""0, and ports of other protocols, which could take an HTTP request for one of theirs (Fetch, "Port blocking")."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What the operator allows although it is not global unicast."""

    cidrs: tuple[_Network, ...] = ()
    names: frozenset[str] = frozenset()
    """Hosts, in lower case: each may be whatever its name leads to."""

    def trust(self, host: str) -> bool:
        """Tell whether the operator allows this very name."""
        return host.lower().rstrip(".") in self.names


EVERYWHERE = Networks((IPv4Network("0.0.0.0/0"), IPv6Network("::/0")))
"""For what the operator has set: a mail provider on the machine next door is the operator's own affair."""

_NAT64 = IPv6Network("64:ff9b::/96")
_CARRY_IN_LAST_32_BITS = (
    _NAT64,
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("::/96"),
)
"""RFC 6052, RFC 8215 (in the /96 that operators carve out of it), RFC 2765, the IPv4-compatible form of RFC 4291."""

_GLOBAL_IPV6 = (IPv6Network("2000::/3"), _NAT64)
"""IANA hands out global unicast from the first alone; the second is that of IPv4, seen from IPv6."""

# What Python 3.11 calls global, and IANA's special-purpose registries do not or nobody receives webhooks there.
_NOT_FOR_RECEIVERS = (
    IPv4Network("168.63.129.16/32"),  # on Azure, the agent of the machine's own host
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.88.99.0/24"),  # 6to4 relays, deprecated
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    IPv6Network("2002::/16"),  # 6to4, deprecated
    IPv6Network("3fff::/20"),  # documentation
)


def parse_networks(texts: Iterable[str]) -> Networks:
    """Read a list of CIDRs, addresses (each a network of one) and host names. Raises ValueError: which, and why."""
    parts = [text.strip() for text in texts]
    names = [part for part in parts if _NAME.fullmatch(part) and not ends_in_number(part)]
    cidrs = [_parse(part) for part in parts if part not in names]
    return Networks(tuple(cidrs), frozenset(name.lower().rstrip(".") for name in names))


def ends_in_number(host: str) -> bool:
    """Tell whether a host can be nothing but an IPv4 address, in whatever notation (URL standard, "Host parsing")."""
    return _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]) is not None


def is_allowed(address: str, allowed: Networks) -> bool:
    """Judge an address in its numeric form. What is no address, or carries a zone id, is refused."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return _may_reach(ip, allowed)
    if ip.scope_id is not None:
        return False
    if ip.ipv4_mapped is not None:  # only another spelling: the IPv4 address is what gets connected
        return _may_reach(ip.ipv4_mapped, allowed)
    carried = _carried(ip)
    return _may_reach(ip, allowed) and (carried is None or _may_reach(carried, allowed))


def _parse(text: str) -> _Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither a network such as 10.0.0.0/8 or fd00::/8 nor a host name") from None
    if "%" in text:
        raise ValueError(f"{text!r} has a zone id, which is never allowed")
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} has bits set after its prefix; the network is {network}") from None


def _may_reach(ip: IPv4Address | IPv6Address, allowed: Networks) -> bool:
    return _in(ip, allowed.cidrs) or _is_global_unicast(ip)


def _is_global_unicast(ip: IPv4Address | IPv6Address) -> bool:
    if not ip.is_global or ip.is_multicast or _in(ip, _NOT_FOR_RECEIVERS):
        return False
    return isinstance(ip, IPv4Address) or _in(ip, _GLOBAL_IPV6)


def _carried(ip: IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address where traffic to this IPv6 address ends, if it is such a one."""
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip.teredo is not None:
        return ip.teredo[1]
    if _in(ip, _CARRY_IN_LAST_32_BITS) and not (ip.is_loopback or ip.is_unspecified):
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return None


def _in(ip: IPv4Address | IPv6Address, networks: Iterable[_Network]) -> bool:
    return any(ip in network for network in networks)
