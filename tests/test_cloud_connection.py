"""API and worker reach Temporal as on Temporal Cloud: through TLS, with an API key or a client certificate.

A frontend that ends TLS, and refuses calls without the credentials, is before a real server.
"""

from pathlib import Path

import grpc
import pytest
from temporalio.client import Client

from cloud import cloud
from drills.authorities import Authority, Pair
from hookkeeper.temporal.server.connection import LateClient, TemporalUnreachable
from instances import running_instance
from receivers import Receiver

API_KEY = "api-key-of-the-namespace"


@pytest.fixture
def authority(temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority of the server's certificate, which Temporal's own settings name."""
    made = Authority()
    monkeypatch.setenv("TEMPORAL_NAMESPACE", temporal.namespace)
    monkeypatch.setenv("TEMPORAL_TLS_SERVER_CA_CERT_PATH", str(written(tmp_path / "ca.pem", made.pem)))
    return made


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def server_credentials(authority: Authority, clients: Authority | None = None) -> grpc.ServerCredentials:
    """Make those of a server that wants a certificate of `clients`, if they are given."""
    own = authority.certify("127.0.0.1")
    pairs = [(own.key.encode(), own.certificate.encode())]
    return grpc.ssl_server_credentials(
        pairs, clients.pem.encode() if clients else None, require_client_auth=clients is not None
    )


def present(client: Pair, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Temporal's own settings name a client certificate."""
    for part, text in (("CERT", client.certificate), ("KEY", client.key)):
        monkeypatch.setenv(f"TEMPORAL_TLS_CLIENT_{part}_PATH", str(written(folder / f"{part}.pem", text)))


async def connected() -> LateClient:
    """Connect as API and worker do."""
    client = LateClient()
    await client.until_connected(0.0)
    return client


async def deliver_an_event(folder: Path, inbox: Receiver) -> None:
    async with running_instance(await connected(), folder) as instance, instance.working():
        await instance.webhook(inbox.url)
        assert (await instance.until_final((await instance.send())["id"]))["status"] == "succeeded"
        assert (await instance.http.get("/readyz")).json() == {
            "status": "ready",
            "temporal": "running",
            "workers": "running",
        }


@pytest.mark.promise("docs/temporal-cloud.md")
async def test_an_event_is_delivered_with_an_api_key(
    temporal: Client, authority: Authority, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API key alone turns TLS on. Each call has it, those of the worker too."""
    async with cloud(temporal, tls=server_credentials(authority), api_key=API_KEY) as (address, _):
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        for wrong in (None, "another-key"):
            monkeypatch.setenv("TEMPORAL_API_KEY", wrong) if wrong else monkeypatch.delenv("TEMPORAL_API_KEY", False)
            with pytest.raises(TemporalUnreachable, match=r"cannot be reached: Request unauthorized\.$"):
                await connected()
        monkeypatch.setenv("TEMPORAL_API_KEY", API_KEY)
        await deliver_an_event(tmp_path, inbox)


async def test_an_event_is_delivered_with_a_client_certificate(
    temporal: Client, authority: Authority, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = Authority()
    async with cloud(temporal, tls=server_credentials(authority, clients)) as (address, _):
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        with pytest.raises(TemporalUnreachable, match="or a client certificate that it knows"):
            await connected()
        present(Authority().certify("worker.example"), tmp_path, monkeypatch)
        with pytest.raises(TemporalUnreachable, match="or a client certificate that it knows"):
            await connected()
        present(clients.certify("worker.example"), tmp_path, monkeypatch)
        await deliver_an_event(tmp_path, inbox)


async def test_a_server_with_a_certificate_of_another_authority_is_refused(
    temporal: Client, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloud(temporal, tls=server_credentials(Authority()), api_key=API_KEY) as (address, _):
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        monkeypatch.setenv("TEMPORAL_API_KEY", API_KEY)
        with pytest.raises(TemporalUnreachable, match="its certificate is not accepted"):
            await connected()
