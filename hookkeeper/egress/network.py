"""Checks the address of each connection just before it is made. Pure."""

from hookkeeper.egress.addresses import BAD_PORTS, EVERYWHERE, Networks, is_allowed, parse_networks

__all__ = ["EVERYWHERE", "ForbiddenAddress", "Networks", "check_connection", "parse_networks"]


class ForbiddenAddress(OSError):
    """The address is not allowed."""


def check_connection(address: str, port: int, allowed: Networks, *, trusted: bool = False) -> None:
    """Raise ForbiddenAddress for an address or port that is not allowed.

    `trusted`: the operator allows the host name, so any address is allowed. The port is still checked.
    """
    if port in BAD_PORTS:
        raise ForbiddenAddress(f"port {port} belongs to another protocol than HTTP")
    if not is_allowed(address, EVERYWHERE if trusted else allowed):
        raise ForbiddenAddress(f"{address} is not an allowed address")
