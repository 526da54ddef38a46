"""A name server for tests: real DNS over UDP on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dns import flags, message, rcode, rdatatype, rrset

from hookkeeper.egress.resolver import Lookups
from timeouts import WAIT_TIMEOUT


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Answers from `answers`; does not answer for names below `silent.example`; knows no others."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    """The addresses of a name for each time that it is looked up; the last ones for all further times."""
    asked: list[str] = field(default_factory=list)
    """The names that were looked up, one entry for each query of IPv4 addresses."""
    unanswered: set[str] = field(default_factory=set)
    port: int = 0
    _transport: asyncio.DatagramTransport | None = None
    _half: dict[str, bool] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def lookups(self, *, timeout: float = 30.0, max_per_tenant: int = 50) -> Lookups:
        return Lookups((self.address,), timeout, max_per_tenant)

    async def until_unanswered(self, names: int) -> None:
        """Wait until this many names were looked up that get no answer."""
        async with asyncio.timeout(WAIT_TIMEOUT):
            while len(self.unanswered) < names:
                await asyncio.sleep(0.01)

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        query = message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        if name.endswith(".silent.example"):
            self.unanswered.add(name)
            return
        answer = message.make_response(query)
        answer.flags |= flags.RA
        known = self.answers.get(name)
        if known is None:
            answer.set_rcode(rcode.NXDOMAIN)
        else:
            wanted = [each for each in known[0] if (":" in each) == (question.rdtype == rdatatype.AAAA)]
            if wanted:
                answer.answer.append(rrset.from_text_list(question.name, 0, "IN", question.rdtype, wanted))
            self._note(name, known, question.rdtype)
        self._transport.sendto(answer.to_wire(), addr)

    def _note(self, name: str, known: list[list[str]], kind: rdatatype.RdataType) -> None:
        """Count a lookup, which asks for IPv4 and IPv6 in two queries, and go on to what the name says next."""
        if kind == rdatatype.A:
            self.asked.append(name)
        self._half[name] = not self._half.get(name, False)
        if not self._half[name] and len(known) > 1:
            known.pop(0)


@asynccontextmanager
async def name_server(**answers: list[str]) -> AsyncIterator[NameServer]:
    """Run a name server that knows these names, written with `_` in place of dots."""
    server = NameServer({name.replace("_", "."): [addresses] for name, addresses in answers.items()})
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, ("127.0.0.1", 0))
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()
