"""Custom TLS settings of a webhook, with real handshakes: authorities, client certificates, separate connections."""

import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drills.authorities import Authority, Pair
from hookkeeper.addresses import parse_networks
from hookkeeper.content.tls import Tls
from hookkeeper.egress import transport
from hookkeeper.egress.http import EgressClient, HttpAnswer, make_client, send
from rawserver import OK, Peer, RawReceiver, receiving, says
from timeouts import WAIT_TIMEOUT

LOOPBACK = parse_networks(["127.0.0.0/8"])
OURS, THEIRS, STRANGERS = Authority(), Authority(), Authority()
CLIENT = OURS.certify("client.example")


def tls_of(client: Pair | None, ca: str | None) -> Tls:
    return Tls(ca=ca, certificate=client.certificate if client else None, key=client.key if client else None)


GOOD = tls_of(CLIENT, THEIRS.pem)


@pytest.fixture
async def client() -> AsyncIterator[EgressClient]:
    async with make_client(LOOPBACK) as client:
        yield client


@asynccontextmanager
async def strict_receiver(
    folder: Path, *, name: str = "127.0.0.1", ends: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> AsyncIterator[RawReceiver]:
    """Serve those alone who show a certificate of ours."""
    pair = THEIRS.certify(name)
    file = folder / "receiver.pem"
    file.write_text(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.load_verify_locations(cadata=OURS.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ends
    async with receiving(says(OK), tls=context) as receiver:
        yield receiver


async def deliver(client: EgressClient, url: str, tls: Tls | None) -> HttpAnswer:
    return await send(client, "POST", url, body=b"{}", headers={}, timeout=WAIT_TIMEOUT, tls=tls)


def shown(peer: Peer) -> str:
    """Return the name in the certificate that a client has shown."""
    subject = peer.writer.get_extra_info("peercert")["subject"]
    return str(subject[0][0][1])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_is_shown_and_an_authority_trusted(
    client: EgressClient, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async with strict_receiver(tmp_path, ends=version) as receiver:
        answer = await deliver(client, receiver.url(), GOOD)
        assert (answer.status_code, answer.error) == (200, None)
        assert shown(receiver.peers[0]) == "client.example"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    "tls",
    [
        pytest.param(tls_of(STRANGERS.certify("client.example"), THEIRS.pem), id="a stranger's certificate"),
        pytest.param(tls_of(CLIENT, STRANGERS.pem), id="another authority"),
        pytest.param(tls_of(CLIENT, None), id="the public authorities"),
        pytest.param(None, id="no TLS of its own"),
    ],
)
async def test_tls_settings_that_do_not_fit_are_outcome_tls(
    client: EgressClient, tmp_path: Path, tls: Tls | None, version: ssl.TLSVersion
) -> None:
    async with strict_receiver(tmp_path, ends=version) as receiver:
        answer = await deliver(client, receiver.url(), tls)
        assert (answer.status_code, answer.error) == (None, "tls")
        assert receiver.requests == []


async def test_a_missing_client_certificate_is_outcome_tls_or_a_reset(client: EgressClient, tmp_path: Path) -> None:
    """Where the receiver says why, before it hangs up, it is `tls`; asyncio's servers do not."""
    async with strict_receiver(tmp_path) as receiver:
        assert (await deliver(client, receiver.url(), tls_of(None, THEIRS.pem))).error in ("tls", "connection_reset")
        assert receiver.requests == []


async def test_the_name_in_the_certificate_counts(client: EgressClient, tmp_path: Path) -> None:
    async with strict_receiver(tmp_path, name="other.example") as receiver:
        assert (await deliver(client, receiver.url(), GOOD)).error == "tls"


async def test_a_receivers_own_certificate_can_be_the_authority(client: EgressClient, tmp_path: Path) -> None:
    """Self-signed certificates, and certificates of an unknown authority."""
    async with strict_receiver(tmp_path) as receiver:
        pinned = (tmp_path / "receiver.pem").read_text().partition("-----BEGIN PRIVATE")[0]
        assert (await deliver(client, receiver.url(), tls_of(CLIENT, pinned))).error is None


async def test_an_unreadable_stored_certificate_is_outcome_tls(client: EgressClient, tmp_path: Path) -> None:
    """It was checked when it was saved. A row that was changed since must not keep its events open without end."""
    broken = Tls(ca="nonsense"), Tls(certificate=CLIENT.certificate, key="nonsense")
    async with strict_receiver(tmp_path) as receiver:
        for tls in broken:
            assert (await deliver(client, receiver.url(), tls)).error == "tls"


async def test_connections_of_another_tls_are_kept_apart(client: EgressClient, tmp_path: Path) -> None:
    """Timeline: two webhooks with a certificate each, and one without, in turn, to one receiver, whose connections are
    kept. Proves: no request is sent with another webhook's certificate.
    """
    second = tls_of(OURS.certify("second.example"), THEIRS.pem)
    async with strict_receiver(tmp_path) as receiver:
        for _ in range(3):
            assert (await deliver(client, receiver.url(), GOOD)).error is None
            assert (await deliver(client, receiver.url(), second)).error is None
            assert (await deliver(client, receiver.url(), None)).error == "tls"
        served = [peer for peer in receiver.peers if peer.writer.get_extra_info("peercert")]
        assert sorted(map(shown, served)) == ["client.example", "second.example"]  # each was kept for its own
        assert len(receiver.requests) == 6


async def test_a_bounded_number_of_tls_contexts_is_kept(
    client: EgressClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_CACHED_CONTEXTS", 2)
    each = [tls_of(OURS.certify(f"client-{number}.example"), THEIRS.pem) for number in range(4)]
    async with strict_receiver(tmp_path) as receiver:
        for tls in each * 2:
            assert (await deliver(client, receiver.url(), tls)).error is None
    assert client.tls_thread is not None
    assert client.tls_thread._client is not None
    assert len(client.tls_thread._client._transport._contexts) == 2  # type: ignore[attr-defined]


async def test_no_private_key_stays_on_the_disk(
    client: EgressClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL reads keys from files alone. Proves: it is encrypted there, and gone afterwards."""
    folder, seen = tmp_path / "tmp", []
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    load = ssl.SSLContext.load_cert_chain

    def spy(context: ssl.SSLContext, file: str, **options: bytes) -> None:
        seen.append(Path(file).read_text())
        assert Path(file).stat().st_mode & 0o077 == 0
        load(context, file, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    tls = tls_of(OURS.certify("client.example"), THEIRS.pem)
    assert (await deliver(client, "https://127.0.0.1:8/", tls)).error == "connection_refused"
    assert tls.key is not None
    assert len(seen) == 1
    assert "BEGIN ENCRYPTED PRIVATE KEY" in seen[0]
    assert tls.key.splitlines()[1] not in seen[0]
    assert list(folder.iterdir()) == []
