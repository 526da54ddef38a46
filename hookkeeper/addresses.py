"""Rules for allowed addresses. The API checks webhook URLs with them, and the worker each connection. Pure.

Global unicast addresses are allowed, and what the operator allows in addition. An IPv6 address that embeds an IPv4
address is allowed only if both are.
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
"""0, and ports of other protocols, which could misread an HTTP request as their own (Fetch, "Port blocking")."""


class ForbiddenAddress(OSError):
    """The address is not allowed."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What the operator allows in addition to global unicast addresses."""

    cidrs: tuple[_Network, ...] = ()
    names: frozenset[str] = frozenset()
    """Host names in lower case, allowed whatever address they resolve to."""

    def trust(self, host: str) -> bool:
        """Return whether the operator allows this host name."""
        return host.lower().rstrip(".") in self.names


EVERYWHERE = Networks((IPv4Network("0.0.0.0/0"), IPv6Network("::/0")))
"""For addresses in the operator's own settings, such as a mail server in the local network."""

_NAT64 = IPv6Network("64:ff9b::/96")
_EMBED_IN_LAST_32_BITS = (
    _NAT64,
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("::/96"),
)
"""RFC 6052, RFC 8215 (a /96 within it), RFC 2765, and the IPv4-compatible form of RFC 4291."""

_GLOBAL_IPV6 = (IPv6Network("2000::/3"), _NAT64)
"""IANA allocates global unicast addresses from the first only; the second is IPv4 behind NAT64."""

# Global according to Python 3.11, but special-purpose according to IANA, or without webhook receivers.
_NOT_FOR_RECEIVERS = (
    IPv4Network("168.63.129.16/32"),  # Azure's host agent
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.88.99.0/24"),  # 6to4 relays, deprecated
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    IPv6Network("2002::/16"),  # 6to4, deprecated
    IPv6Network("3fff::/20"),  # documentation
)


def parse_networks(texts: Iterable[str]) -> Networks:
    """Parse CIDRs, addresses and host names. Raises ValueError."""
    parts = [text.strip() for text in texts]
    names = [part for part in parts if _NAME.fullmatch(part) and not ends_in_number(part)]
    cidrs = [_parse(part) for part in parts if part not in names]
    return Networks(tuple(cidrs), frozenset(name.lower().rstrip(".") for name in names))


def ends_in_number(host: str) -> bool:
    """Return whether a host is an IPv4 address in any notation (URL standard, "Host parsing")."""
    return _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]) is not None


def is_allowed(address: str, allowed: Networks) -> bool:
    """Return whether a numeric address is allowed. Invalid addresses and zone ids are not."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return _may_reach(ip, allowed)
    if ip.scope_id is not None:
        return False
    if ip.ipv4_mapped is not None:  # another notation of the IPv4 address
        return _may_reach(ip.ipv4_mapped, allowed)
    embedded = _embedded(ip)
    return _may_reach(ip, allowed) and (embedded is None or _may_reach(embedded, allowed))


def check_connection(address: str, port: int, allowed: Networks, *, trusted: bool = False) -> None:
    """Raise ForbiddenAddress for an address or port that is not allowed.

    `trusted`: the operator allows the host name, so any address is allowed. The port is still checked.
    """
    if port in BAD_PORTS:
        raise ForbiddenAddress(f"port {port} belongs to another protocol than HTTP")
    if not is_allowed(address, EVERYWHERE if trusted else allowed):
        raise ForbiddenAddress(f"{address} is not an allowed address")


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


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that traffic to this IPv6 address reaches, or None."""
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip.teredo is not None:
        return ip.teredo[1]
    if _in(ip, _EMBED_IN_LAST_32_BITS) and not (ip.is_loopback or ip.is_unspecified):
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return None


def _in(ip: IPv4Address | IPv6Address, networks: Iterable[_Network]) -> bool:
    return any(ip in network for network in networks)
