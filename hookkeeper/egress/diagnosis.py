"""What is wrong with the way out: name servers, the proxy, and the rules for private addresses."""

import asyncio
import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from hookkeeper.addresses import Networks
from hookkeeper.egress.proxy import Proxy, ReceiverUnreachable, error_of
from hookkeeper.egress.resolver import Lookups, Resolver, ResolverUnavailable
from hookkeeper.findings import Finding, warning, well, wrong

METADATA = ip_address("169.254.169.254")
"""Where clouds serve credentials to their machines."""
NO_NAME = "doctor.invalid"
"""A name that never exists (RFC 6761): name servers answer for it without asking those of a domain."""
PRIVATE = "http://127.0.0.1:80/"
"""What a proxy must refuse: a name or an address of its own network."""
PROXY_TIMEOUT = 5.0


async def examine_name_servers(lookups: Lookups) -> Sequence[Finding]:
    """Ask the name servers for a name."""
    resolver = Resolver(Networks(), lookups)
    try:
        await resolver.resolve(NO_NAME)
    except ResolverUnavailable as error:
        return wrong(str(error), "correct HOOKKEEPER_DNS_SERVERS, or /etc/resolv.conf")
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            return wrong("they do not answer", "correct HOOKKEEPER_DNS_SERVERS, or /etc/resolv.conf")
    except OSError:
        return warning(f"they have an address for {NO_NAME}, which does not exist: errors of names look like others")
    finally:
        await resolver.close()
    return well("they answer")


def examine_networks(allowed: Networks) -> Sequence[Finding]:
    """Judge what tenants' URLs may reach beside public addresses."""
    reaches = [str(network) for network in allowed.cidrs if METADATA in network]
    if reaches:
        text = f"HOOKKEEPER_ALLOWED_NETWORKS has {', '.join(reaches)}: tenants' URLs reach {METADATA}"
        return warning(f"{text}, where clouds serve credentials", "name the networks of your receivers only")
    more = [*map(str, allowed.cidrs), *sorted(allowed.names)]
    return well(f"refused, except {', '.join(more)}" if more else "refused")


async def examine_proxy(text: str) -> Sequence[Finding]:
    """Ask the proxy for an address of its own network, which it has to refuse, as names are looked up there."""
    proxy = Proxy.parse(text)
    where = f"{proxy.url.host}:{proxy.url.port}"
    try:
        async with asyncio.timeout(PROXY_TIMEOUT):
            status, headers = await _asked(proxy)
    except (OSError, EOFError, ValueError) as error:
        reason = str(error) or "it does not answer"
        return wrong(f"{where} cannot be used: {reason}", "start the proxy, or correct HOOKKEEPER_EGRESS_PROXY")
    if status == 407 and "proxy-authenticate" in headers:
        return wrong(f"{where} refuses user and password", "correct HOOKKEEPER_EGRESS_PROXY")
    said = error_of(status, headers)
    if isinstance(said, ReceiverUnreachable) and said.code == "forbidden_address":
        return well(f"{where} refuses private addresses")
    text = f"{where} answers {status} to a request for {PRIVATE}: it does not refuse private addresses"
    return warning(text, "let the proxy refuse the networks that tenants must not reach (docs/deployment.md, Network)")


async def _asked(proxy: Proxy) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of the proxy's answer."""
    reader, writer = await asyncio.open_connection(proxy.url.host, proxy.url.port, limit=64 * 1024)
    try:
        lines = [f"GET {PRIVATE} HTTP/1.1", "host: 127.0.0.1", "connection: close"]
        lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    finally:
        writer.transport.abort()
    first, *rest = head.split("\r\n")
    if not (match := re.fullmatch(r"HTTP/1\.[01] ([0-9]{3})( .*)?", first)):
        raise ValueError("it does not speak HTTP")
    headers = dict(line.split(":", 1) for line in rest if ":" in line)
    return int(match[1]), {name.strip().lower(): value.strip() for name, value in headers.items()}
