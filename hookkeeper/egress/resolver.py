"""Asynchronous name lookups with their own timeout and a limit for each tenant.

Uses c-ares (aiodns), which reads /etc/resolv.conf and /etc/hosts and caches answers for their TTL. A lookup needs no
thread, so unresponsive name servers do not delay other lookups.
"""

import asyncio
import socket
from dataclasses import dataclass

import aiodns
from aiohttp.abc import AbstractResolver, ResolveResult
from pycares import errno

from hookkeeper.addresses import EVERYWHERE, ForbiddenAddress, Networks, ends_in_number, is_allowed
from hookkeeper.egress.request_state import RequestState, current_request
from hookkeeper.limits import TenantLimit
from hookkeeper.tenant_limits import NAME_LOOKUPS

QUERY_TIMEOUT = 1.0
"""Seconds until a query is repeated; doubled for each further one."""
MAX_QUERIES = 5
"""With fast servers, c-ares repeats after 0.25 s: five queries cover 7.75 s."""
_LOCAL_ERRORS = frozenset({errno.ARES_ECONNREFUSED, errno.ARES_ENOMEM, errno.ARES_EDESTRUCTION, errno.ARES_ECANCELLED})


class ResolverUnavailable(RuntimeError):
    """No name server can be reached. It does not count as an attempt."""


@dataclass(frozen=True, slots=True)
class Lookups:
    """Settings for name lookups."""

    servers: tuple[str, ...] = ()
    """Name servers as `address` or `address:port`; by default those of /etc/resolv.conf."""
    timeout: float = 5.0
    """Seconds after which a lookup fails."""
    max_per_tenant: int = NAME_LOOKUPS.per_tenant
    """Concurrent lookups of one tenant."""


class Resolver(AbstractResolver):
    """Resolves names to allowed addresses.

    Sockets are checked as well, but there a forbidden address would hide the errors of the other addresses.
    """

    def __init__(self, allowed: Networks, lookups: Lookups) -> None:
        """Create a resolver for the running event loop."""
        self._allowed = allowed
        self._timeout = lookups.timeout
        self._limit = TenantLimit(per_tenant=lookups.max_per_tenant)
        self._dns = aiodns.DNSResolver(list(lookups.servers) or None, timeout=QUERY_TIMEOUT, tries=MAX_QUERIES)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the allowed addresses of a name.

        Raises gaierror if there are none or its name servers do not answer, ForbiddenAddress if all are forbidden, and
        LocalLimitReached or ResolverUnavailable if the lookup could not be made.
        """
        if ends_in_number(host):  # some parsers read 0x7f.1 as an address
            raise ForbiddenAddress(f"{host} is not a valid address")
        async with (current_request.get() or RequestState()).slot_in(self._limit, "name lookups under way"):
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
        except UnicodeError as exc:  # an empty label, or one of more than 63 characters
            raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is not a host name") from exc
        except aiodns.error.DNSError as exc:
            if exc.args[0] in _LOCAL_ERRORS:
                raise ResolverUnavailable(f"{host} could not be looked up: {exc.args[1]}") from exc
            raise socket.gaierror(socket.EAI_NONAME, f"{host}: {exc.args[1]}") from exc
        return [_text(node.addr[0]) for node in found.nodes]


def _text(address: str | bytes) -> str:
    return address.decode() if isinstance(address, bytes) else address
