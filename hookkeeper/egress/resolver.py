"""Name lookups of outgoing requests: asynchronous, with a timeout of their own, and few at once for each tenant.

c-ares looks names up (by aiodns). It reads /etc/resolv.conf with its search domains, and /etc/hosts; it keeps answers
for as long as their TTL allows. A lookup takes no thread, so that names whose servers do not answer hold up no others.
"""

import asyncio
import socket
from dataclasses import dataclass

import aiodns
from aiohttp.abc import AbstractResolver, ResolveResult
from pycares import errno

from hookkeeper.egress.addresses import ends_in_number, is_allowed
from hookkeeper.egress.link import Link, current_link
from hookkeeper.egress.network import EVERYWHERE, ForbiddenAddress, Networks
from hookkeeper.limits.tenant_limit import TenantLimit

QUERY_TIMEOUT = 1.0
"""Seconds until the first repetition of a query; each further one takes twice as long."""
QUERIES = 5
"""Queries sent at most. Where servers are usually fast, c-ares begins to repeat after 0.25 s: five cover 7.75 s."""
_OUR_ERRORS = frozenset({errno.ARES_ECONNREFUSED, errno.ARES_ENOMEM, errno.ARES_EDESTRUCTION, errno.ARES_ECANCELLED})


class ResolverUnavailable(RuntimeError):
    """No name server of ours can be reached: not the receiver's fault."""


@dataclass(frozen=True, slots=True)
class Lookups:
    """How names are looked up."""

    servers: tuple[str, ...] = ()
    """Name servers as `address` or `address:port`; without, those of /etc/resolv.conf."""
    timeout: float = 5.0
    """Seconds after which a name counts as one that cannot be resolved."""
    max_per_tenant: int = 50
    """Lookups under way for one tenant."""


class Resolver(AbstractResolver):
    """Looks names up, and leaves out the addresses that may not be reached.

    Each socket is judged, too; but there one forbidden address would hide what became of the others of its name.
    """

    def __init__(self, allowed: Networks, lookups: Lookups) -> None:
        """Needs a running event loop, and serves that one alone."""
        self._allowed = allowed
        self._timeout = lookups.timeout
        self._limit = TenantLimit("name lookups under way", lookups.max_per_tenant)
        self._dns = aiodns.DNSResolver(list(lookups.servers) or None, timeout=QUERY_TIMEOUT, tries=QUERIES)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give the addresses of a name, for the tenant of the current link.

        Raises gaierror where it has none or its servers do not answer, and ForbiddenAddress where all of them are
        forbidden. Raises LocalLimitReached or ResolverUnavailable where the lookup could not be made.
        """
        if ends_in_number(host):  # 0x7f.1 is an address to some parsers, and never a name
            raise ForbiddenAddress(f"{host} is not a valid address")
        async with (current_link.get() or Link()).place_in(self._limit):
            found = await self._look_up(host, family)
        allowed = EVERYWHERE if self._allowed.trust(host) else self._allowed
        addresses = [address for address in found if is_allowed(address, allowed)]
        if not addresses:
            raise ForbiddenAddress(f"no address of {host} is allowed")
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)
            for address in addresses
        ]

    async def close(self) -> None:
        await self._dns.close()

    async def _look_up(self, host: str, family: socket.AddressFamily) -> list[str]:
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._dns.getaddrinfo(host, family=family, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, f"the name servers of {host} do not answer") from None
        except UnicodeError as exc:  # a label that is empty or has more than 63 characters
            raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is not a host name") from exc
        except aiodns.error.DNSError as exc:
            if exc.args[0] in _OUR_ERRORS:
                raise ResolverUnavailable(f"{host} could not be looked up: {exc.args[1]}") from exc
            raise socket.gaierror(socket.EAI_NONAME, f"{host}: {exc.args[1]}") from exc
        return [_text(node.addr[0]) for node in found.nodes]


def _text(address: str | bytes) -> str:
    return address.decode() if isinstance(address, bytes) else address
