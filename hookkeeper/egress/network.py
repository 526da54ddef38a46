"""The judge of connections: asked of the very address that gets connected, just before it is. Pure.

What may be reached is said in `hookkeeper.egress.addresses`, which the API asks as well.
"""

from hookkeeper.egress.addresses import BAD_PORTS, EVERYWHERE, Networks, is_allowed, parse_networks

__all__ = ["EVERYWHERE", "ForbiddenAddress", "Networks", "judge", "parse_networks"]


class ForbiddenAddress(OSError):
    """The address is not an allowed address."""


def judge(address: str, port: int, allowed: Networks, *, trusted: bool = False) -> None:
    """Raise ForbiddenAddress unless a connection may be made.

    `trusted` says that the operator allows the name that led here, wherever it leads. Ports of other protocols are
    refused all the same.
    """
    if port in BAD_PORTS:
        raise ForbiddenAddress(f"port {port} belongs to another protocol than HTTP")
    if not is_allowed(address, EVERYWHERE if trusted else allowed):
        raise ForbiddenAddress(f"{address} is not an allowed address")
