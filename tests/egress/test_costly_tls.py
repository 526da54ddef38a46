"""Receivers with certificates that are expensive to verify, or that do not go on with their handshake."""

import asyncio
import math
import ssl
import time
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from drills.authorities import Authority
from hookkeeper.addresses import parse_networks
from hookkeeper.content.tls import Tls
from hookkeeper.egress.http import EgressClient, HttpAnswer, make_client, send
from rawserver import OK, Peer, receiving, says, server_tls
from timeouts import WAIT_TIMEOUT

LOOPBACK = parse_networks(["127.0.0.0/8"])


async def post(client: EgressClient, url: str, tls: Tls | None, tenant: str = "") -> HttpAnswer:
    return await send(client, "POST", url, body=b"{}", headers={}, timeout=WAIT_TIMEOUT, tls=tls, tenant=tenant)


def costly_key() -> rsa.RSAPrivateKey:
    """Make a key with which to verify takes as long as to sign: OpenSSL allows such exponents up to 3,072 bits."""
    usual = rsa.generate_private_key(65537, 3072).private_numbers()
    order = (usual.p - 1) * (usual.q - 1)
    exponent = next(e for e in range(2**3071 - 1, 0, -2) if math.gcd(e, order) == 1)
    private = pow(exponent, -1, order)
    numbers = rsa.RSAPrivateNumbers(
        *(usual.p, usual.q, private),
        *(rsa.rsa_crt_dmp1(private, usual.p), rsa.rsa_crt_dmq1(private, usual.q), usual.iqmp),
        rsa.RSAPublicNumbers(exponent, usual.public_numbers.n),
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def seconds_of_a_handshake(trusted: str, server: ssl.SSLContext) -> float:
    """Return the CPU time that the costliest step of a client's handshake takes."""
    client = ssl.create_default_context(cadata=trusted)
    client.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the default since Python 3.13
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    costliest = 0.0
    for side in (ours, theirs, ours, theirs):
        begun = time.thread_time()
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
        if side is ours:
            costliest = max(costliest, time.thread_time() - begun)
    return costliest


async def test_a_costly_chain_does_not_hold_the_event_loop(tmp_path: Path) -> None:
    """Proves: to verify five such chains takes this thread less time than to verify one."""
    root, key = Authority(), costly_key()
    chain: list[str] = []
    issuer = root
    for _ in range(30):
        issuer, certificate = issuer.subordinate(key)
        chain.insert(0, certificate)
    leaf = issuer.certify("127.0.0.1")
    file = tmp_path / "chain.pem"
    file.write_text(leaf.certificate + "".join(chain) + leaf.key)
    once = await asyncio.to_thread(seconds_of_a_handshake, root.pem, server_tls(file))
    async with (
        receiving(says(OK, close=True), tls=server_tls(file)) as costly,
        receiving(says(OK)) as receiver,
        make_client(LOOPBACK) as client,
    ):
        assert (await post(client, costly.url(), Tls(ca=root.pem))).error is None
        begun = time.thread_time()
        hostile = [asyncio.create_task(post(client, costly.url(), Tls(ca=root.pem), "hostile")) for _ in range(5)]
        assert (await post(client, receiver.url(), None, "healthy")).error is None
        assert {answer.error for answer in await asyncio.gather(*hostile)} == {None}
        assert time.thread_time() - begun < once


async def test_receivers_that_stop_in_their_handshake_delay_no_other_tenant(tmp_path: Path) -> None:
    """Timeline: 20 connections of one tenant hang in their handshakes, of which it may have two; another tenant's
    webhook, with an authority of its own as well, is sent. Proves: it arrives while all the others hang.
    """

    async def hang(peer: Peer) -> None:
        await asyncio.sleep(WAIT_TIMEOUT)

    authority = Authority()
    pair = authority.certify("127.0.0.1")
    file = tmp_path / "receiver.pem"
    file.write_text(pair.certificate + pair.key)
    tls = Tls(ca=authority.pem)
    async with (
        receiving(hang, read=False) as hanging,
        receiving(says(OK), tls=server_tls(file)) as receiver,
        make_client(LOOPBACK, max_handshakes=2) as client,
    ):
        url = hanging.url().replace("http:", "https:")
        hostile = [asyncio.create_task(post(client, url, tls, "hostile")) for _ in range(20)]
        async with asyncio.timeout(WAIT_TIMEOUT):
            while len(hanging.peers) < 2:
                await asyncio.sleep(0.01)
        for _ in range(5):
            assert (await post(client, receiver.url(), tls, "healthy")).error is None
        assert not any(task.done() for task in hostile)
        assert len(hanging.peers) == 2
        for task in hostile:
            task.cancel()
        await asyncio.gather(*hostile, return_exceptions=True)


async def test_a_receiver_chooses_no_group_of_its_own(tmp_path: Path) -> None:
    """A receiver that offers nothing but DHE, whose groups may have 10,000 bits, is refused."""
    authority = Authority()
    pair = authority.certify("127.0.0.1", key=rsa.generate_private_key(65537, 2048))
    file = tmp_path / "receiver.pem"
    file.write_text(pair.certificate + pair.key)
    context = server_tls(file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DHE")
    async with receiving(says(OK), tls=context) as receiver, make_client(LOOPBACK) as client:
        # asyncio's server hangs up without saying why.
        assert (await post(client, receiver.url(), Tls(ca=authority.pem))).error in ("tls", "connection_reset")
        assert receiver.requests == []
