"""`Doctor` finds each of these faults in real parts, and names what mends it."""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio import workflow
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest
from temporalio.client import Client

from drills.authorities import Authority
from hookkeeper import findings, temporal_names
from hookkeeper.crypto.keyring import new_key
from hookkeeper.findings import Finding, run_checks
from hookkeeper.mail import smtp
from hookkeeper.registry.store import Store
from hookkeeper.services.system.doctor import Doctor
from hookkeeper.settings import Settings
from hookkeeper.temporal import diagnosis
from hookkeeper.temporal.server import installation
from hookkeeper.temporal.server.namespace import prepare
from hookkeeper.times import utc_now
from instances import Instance, running_instance
from mail_servers import KEY, sendgrid_server, smtp_server
from name_servers import name_server
from poolers import pooling
from proxies import proxying
from rawserver import make_certificate, receiving, server_tls
from silent_receivers import silent_receiver
from temporal_processes import free_ports
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT
from worker import WORKFLOWS

MONTH = timedelta(days=30)
Found = dict[str, list[Finding]]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Client], None]:
    """Let Temporal's own settings name the server and the namespace of a client."""

    def use(client: Client) -> None:
        monkeypatch.setenv("TEMPORAL_ADDRESS", client.service_client.config.target_host)
        monkeypatch.setenv("TEMPORAL_NAMESPACE", client.namespace)

    return use


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test reach a server that happens to run on this machine."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


async def examined(settings: Settings, now: Callable[[], datetime] = utc_now) -> Found:
    """Return the findings by check."""
    found: Found = {}
    for finding in await Doctor(settings, now=now).examine():
        found.setdefault(finding.check, []).append(finding)
    return found


def settings_of(tmp_path: Path, **given: Any) -> Settings:
    url = f"sqlite+aiosqlite:///{tmp_path / 'registry.db'}"
    fields: dict[str, Any] = {"admin_key": SecretStr("a" * 32), "database_url": url} | given
    return Settings(**fields)


def only(found: Found, check: str, level: str) -> Finding:
    [finding] = found[check]
    assert finding.level == level, finding
    return finding


def skewed() -> datetime:
    return utc_now() - timedelta(minutes=10)


async def test_all_is_well_where_everything_runs(instance: Instance, at: Callable[[Client], None]) -> None:
    at(instance.temporal)
    await prepare(instance.temporal, instance.settings.retention)
    await installation.join(instance.temporal, instance.settings.task_queue, instance.store.rows)
    await instance.until_polled()
    async with name_server() as names:
        found = await examined(instance.settings.model_copy(update={"dns_servers": (names.address,)}))
    assert {name: each for name, each in found.items() if {one.level for one in each} != {"well"}} == {}
    assert {"temporal", "namespace", "temporal clock", "workers", "runs", "workflow types", "keys in histories"} < {
        *found
    }
    assert {"registry", "registry schema", "registry file", "keys in the registry", "certificates"} < {*found}


async def test_temporal_is_down(tmp_path: Path) -> None:
    finding = only(await examined(settings_of(tmp_path)), "temporal", "wrong")
    assert finding.text == "Temporal at 127.0.0.1:1 cannot be reached: Connection refused"
    assert "TEMPORAL_ADDRESS" in finding.remedy


async def test_a_server_that_never_answers_ends_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(smtp, "CHECK_TIMEOUT", 0.5)
    async with silent_receiver() as silent, asyncio.timeout(CALL_TIMEOUT):
        monkeypatch.setenv("TEMPORAL_ADDRESS", silent.url.removeprefix("http://"))
        found = await examined(settings_of(tmp_path, smtp_url=SecretStr(silent.url.replace("http", "smtp"))))
    assert "does not answer" in only(found, "temporal", "wrong").text
    assert "timeout" in only(found, "mail", "wrong").text


async def test_a_namespace_that_is_missing(
    temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: Callable[[Client], None]
) -> None:
    at(temporal)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "nowhere")
    found = await examined(settings_of(tmp_path))
    assert "`temporal operator namespace create --namespace nowhere`" in only(found, "namespace", "wrong").text
    assert "workers" not in found


async def test_search_attributes_retention_and_workers_that_are_missing(
    bare: Client, tmp_path: Path, at: Callable[[Client], None]
) -> None:
    at(bare)
    found = await examined(settings_of(tmp_path))
    attributes, retention = found["namespace"]
    assert {attributes.level, retention.level} == {"wrong"}
    assert "`hookkeeper migrate`" in attributes.remedy
    for name, type_ in temporal_names.SEARCH_ATTRIBUTES.items():
        assert f"search attribute {name} ({type_}) is missing" in attributes.text
    assert retention.text == "the retention is 3 days, not 30: histories end before their events leave the index"
    workers = only(found, "workers", "wrong")
    assert workers.text.startswith("none polls hookkeeper, hookkeeper-bulk, hookkeeper-retries")
    assert "`hookkeeper worker`" in workers.remedy


async def test_workers_of_two_machines_count_as_two_though_they_have_one_pid(
    instance: Instance, at: Callable[[Client], None]
) -> None:
    at(instance.temporal)
    await instance.until_polled()
    request = PollWorkflowTaskQueueRequest(
        namespace=instance.temporal.namespace,
        task_queue=TaskQueue(name=instance.settings.task_queue),
        identity=f"{os.getpid()}@another-machine",
    )
    poll = asyncio.create_task(instance.temporal.workflow_service.poll_workflow_task_queue(request))
    async with asyncio.timeout(WAIT_TIMEOUT):
        while only(await examined(instance.settings), "workers", "well").text != "2 poll":
            await asyncio.sleep(0.05)
    poll.cancel()


async def test_workers_of_a_version_that_gets_no_tasks(
    temporal: Client, tmp_path: Path, at: Callable[[Client], None]
) -> None:
    at(temporal)
    async with running_instance(temporal, tmp_path, deployment_version="1.0") as instance, instance.working():
        await instance.until_polled()
        newer = instance.settings.model_copy(update={"deployment_version": "2.0"})
        finding = only(await examined(newer), "workers", "warning")
        assert finding.text.startswith("workers of version 1.0 get all tasks, but HOOKKEEPER_DEPLOYMENT_VERSION is 2.0")
        assert "`hookkeeper promote`" in finding.remedy


async def test_runs_that_this_release_does_not_know_and_runs_that_fail(
    instance: Instance, at: Callable[[Client], None]
) -> None:
    at(instance.temporal)
    queue = instance.settings.task_queue
    await instance.temporal.start_workflow("NewerWorkflow", id=f"{instance.tenant}-newer", task_queue=queue)
    async with asyncio.timeout(WAIT_TIMEOUT):
        found: Found = {"runs": [Finding("well", "")], "workflow types": [Finding("well", "")]}
        while {found["runs"][0].level, found["workflow types"][0].level} != {"wrong"}:
            found = await examined(instance.settings)
    assert found["runs"][0].text == "1 run cannot go on, as its workflow tasks fail"
    assert "`temporal workflow list --namespace" in found["runs"][0].remedy
    assert "1 open run has a type that this release does not know" in found["workflow types"][0].text
    await instance.temporal.get_workflow_handle(f"{instance.tenant}-newer").terminate()


def test_the_types_of_workers_are_known() -> None:
    served = [workflow._Definition.must_from_class(each).name for each in WORKFLOWS]
    assert sorted(map(str, served)) == sorted(temporal_names.WORKFLOW_TYPES)


async def test_this_machines_clock_is_behind(
    temporal: Client, postgres_url: str, tmp_path: Path, at: Callable[[Client], None]
) -> None:
    at(temporal)
    found = await examined(settings_of(tmp_path, database_url=postgres_url), skewed)
    for check, whose in (("temporal clock", "Temporal"), ("registry clock", "the registry")):
        finding = only(found, check, "wrong")
        assert finding.text.startswith(f"that of {whose} is ")
        assert finding.text.endswith("s ahead of this machine's")
        assert "NTP" in finding.remedy


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, "well"), (-5, "well"), (6, "warning"), (-60, "warning"), (61, "wrong"), (-3600, "wrong")]
)
def test_a_clock_is_judged_by_its_difference(seconds: int, level: str) -> None:
    [finding] = findings.judge_clock("it", timedelta(seconds=seconds))
    assert finding.level == level


async def test_a_registry_without_tables_and_one_that_is_not_there(tmp_path: Path, postgres_url: str) -> None:
    missing = only(await examined(settings_of(tmp_path)), "registry", "wrong")
    assert missing.text == f"there is no file {tmp_path / 'registry.db'}"
    assert not (tmp_path / "registry.db").exists(), "nothing is made"
    empty = await examined(settings_of(tmp_path, database_url=postgres_url))
    assert only(empty, "registry schema", "wrong").text.startswith("the registry has no tables yet")
    assert only(empty, "registry schema", "wrong").remedy == "`hookkeeper migrate`"
    url = f"postgresql+asyncpg://hook:secret-of-hook@127.0.0.1:{free_ports().ui}/hookkeeper"
    down = only(await examined(settings_of(tmp_path, database_url=url)), "registry", "wrong")
    assert "secret-of-hook" not in down.text
    assert "HOOKKEEPER_DATABASE_URL" in down.remedy


@pytest.mark.parametrize(("revision", "level"), [("0000", "wrong"), ("9999", "warning")])
async def test_a_schema_of_another_release(database_url: str, tmp_path: Path, revision: str, level: str) -> None:
    async with Store.connect(database_url) as store:
        await store.migrate()
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    await engine.dispose()
    finding = only(await examined(settings_of(tmp_path, database_url=database_url)), "registry schema", level)
    assert finding.remedy


async def test_a_role_that_may_not_write_and_a_server_that_is_read_only(postgres_url: str, tmp_path: Path) -> None:
    async with Store.connect(postgres_url) as store:
        await store.migrate()
    engine = create_async_engine(postgres_url)
    async with engine.begin() as connection:
        for statement in (
            *("DROP OWNED BY reader", "DROP ROLE reader")[: 2 * await has_role(connection)],
            *("CREATE ROLE reader LOGIN", "GRANT USAGE ON SCHEMA public TO reader"),
            *(
                "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
                "GRANT INSERT, UPDATE, DELETE ON events TO reader",
            ),
            "ALTER ROLE reader SET default_transaction_read_only = on",
        ):
            await connection.execute(text(statement))
    await engine.dispose()
    url = engine.url.set(username="reader").render_as_string(hide_password=False)
    read_only, forbidden = (await examined(settings_of(tmp_path, database_url=url)))["registry role"]
    assert read_only.text.startswith("reader can only read")
    assert "webhooks" in forbidden.text
    assert " events," not in forbidden.text
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader" in forbidden.remedy
    owner = (await examined(settings_of(tmp_path, database_url=postgres_url)))["registry role"]
    assert [finding.level for finding in owner] == ["warning"], "a superuser"


async def has_role(connection: Any) -> bool:
    return bool(await connection.scalar(text("SELECT count(*) FROM pg_roles WHERE rolname = 'reader'")))


async def test_a_pooler_that_loses_prepared_statements(postgres: URL, postgres_url: str, tmp_path: Path) -> None:
    async with Store.connect(postgres_url) as store:
        await store.migrate()
    direct = await examined(settings_of(tmp_path, database_url=postgres_url))
    assert only(direct, "registry pooler", "well").text.startswith("none")
    async with pooling(postgres) as url:
        found = await examined(settings_of(tmp_path, database_url=url))
    finding = only(found, "registry pooler", "wrong")
    assert finding.text == "one in transaction mode, which loses prepared statements: requests fail"
    assert "PgBouncer 1.21" in finding.remedy


async def test_keys_that_are_missing_or_wrong(temporal: Client, tmp_path: Path, at: Callable[[Client], None]) -> None:
    """Rows and histories of key `a`; then without keys, with `b` only, with another `a`, and with `b` before `a`."""
    at(temporal)
    right, newer = new_key("a"), new_key("b")
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(right)) as instance:
        await instance.webhook("https://acme.example/hook")
        await instance.send()
        by_keys: dict[str, Found] = {}
        for name, keys in {"none": None, "b": newer, "other a": new_key("a"), "b,a": f"{newer},{right}"}.items():
            secret = SecretStr(keys) if keys else None
            by_keys[name] = await examined(instance.settings.model_copy(update={"encryption_keys": secret}))
        async with asyncio.timeout(WAIT_TIMEOUT):  # visibility lags behind
            while by_keys["b"]["keys in histories"][0].level == "well":
                settings = instance.settings.model_copy(update={"encryption_keys": SecretStr(newer)})
                by_keys["b"] = await examined(settings)
        settings = instance.settings.model_copy(update={"encryption_keys": SecretStr(new_key("a"))})
        by_keys["other a"] = await examined(settings)
        by_keys["right"] = await examined(instance.settings)
    for name in ("none", "b"):
        finding = by_keys[name]["keys in the registry"][0]
        assert finding.level == "wrong"
        assert "encrypted with key a, which is not in HOOKKEEPER_ENCRYPTION_KEYS" in finding.text
        assert "add a to the end" in finding.remedy
    assert "with key a, which is not in HOOKKEEPER_ENCRYPTION_KEYS" in by_keys["b"]["keys in histories"][-1].text
    for check in ("keys in the registry", "keys in histories"):
        assert {finding.level for finding in by_keys["other a"][check]} == {"wrong"}
        assert "not what key a has encrypted" in by_keys["other a"][check][0].text
    assert by_keys["b,a"]["keys in the registry"][0].level == "warning"
    assert by_keys["b,a"]["keys in the registry"][0].remedy == "`hookkeeper migrate`"
    assert only(by_keys["right"], "keys in the registry", "well")


async def test_a_mail_server_that_refuses_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1", days=90)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with smtp_server(certificate=certificate, credentials=("me", "right")) as server:
        good = await examined(settings_of(tmp_path, smtp_url=SecretStr(server.url)))
        bad = await examined(settings_of(tmp_path, smtp_url=SecretStr(server.url.replace("right", "wrong-secret"))))
    assert [finding.level for finding in good["mail"]] == ["well", "well"]
    finding = only(bad, "mail", "wrong")
    assert "smtp_535" in finding.text
    assert "wrong-secret" not in finding.text
    assert "HOOKKEEPER_SMTP_URL" in finding.remedy
    assert not server.messages


async def test_sendgrid_refuses_the_key(tmp_path: Path) -> None:
    async with sendgrid_server() as server:
        given = {"sendgrid_host": server.host}
        good = await examined(settings_of(tmp_path, sendgrid_api_key=SecretStr(KEY), **given))
        bad = await examined(settings_of(tmp_path, sendgrid_api_key=SecretStr("SG.wrong"), **given))
    assert only(good, "mail", "well")
    assert "HOOKKEEPER_SENDGRID_API_KEY" in only(bad, "mail", "wrong").remedy
    assert not server.messages


async def test_certificates_that_have_expired_and_one_that_soon_will(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in a file, one that the server behind the public URL presents."""
    own = Authority().certify("client.example", ends=datetime.now(UTC) - timedelta(days=2))
    (tmp_path / "client.pem").write_text(own.certificate)
    monkeypatch.setenv("PGSSLCERT", str(tmp_path / "client.pem"))
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "missing.pem"))
    certificate = make_certificate(tmp_path, "127.0.0.1", days=5)

    async def nothing(*_: Any) -> None:
        await asyncio.sleep(0)

    async with receiving(nothing, tls=server_tls(certificate)) as server:
        settings = settings_of(tmp_path, public_url=f"https://127.0.0.1:{server.port}")
        found = {finding.text.partition(" 20")[0]: finding for finding in (await examined(settings))["certificates"]}
    assert found["the certificate in PGSSLCERT expired on"].level == "wrong"
    soon = found[f"the certificate of HOOKKEEPER_PUBLIC_URL at 127.0.0.1:{server.port} is valid until"]
    assert soon.level == "warning"
    assert any(
        "missing.pem in PGSSLROOTCERT cannot be read" in text and one.level == "wrong" for text, one in found.items()
    )


async def test_name_servers_that_are_down(tmp_path: Path) -> None:
    finding = only(await examined(settings_of(tmp_path, dns_servers=("127.0.0.1:1",))), "name servers", "wrong")
    assert "HOOKKEEPER_DNS_SERVERS" in finding.remedy


async def test_networks_that_reach_the_credentials_of_the_machine(tmp_path: Path) -> None:
    found = await examined(settings_of(tmp_path, allowed_networks=("169.254.0.0/16", "10.0.0.0/8")))
    assert "169.254.0.0/16: tenants' URLs reach 169.254.169.254" in only(found, "private addresses", "warning").text
    found = await examined(settings_of(tmp_path, allowed_networks=("10.0.0.0/8",)))
    assert only(found, "private addresses", "well").text == "refused, except 10.0.0.0/8"


@pytest.mark.parametrize(
    ("answer", "level", "text_"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n", "well", "refuses private addresses"),
        (b"HTTP/1.1 200 OK\r\n", "warning", "does not refuse private addresses"),
        (b"HTTP/1.1 503 Unavailable\r\n", "warning", "answers 503"),
        (b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n", "wrong", "refuses user and password"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "wrong", "does not speak HTTP"),
    ],
)
async def test_an_egress_proxy_is_asked_for_a_private_address(
    tmp_path: Path, answer: bytes, level: str, text_: str
) -> None:
    async def nothing(*_: Any) -> None:
        await asyncio.sleep(0)

    async with receiving(nothing) as receiver, proxying(receiver) as proxy:
        proxy.answer = answer
        url = proxy.url.replace("//", "//me:secret-of-proxy@")
        finding = only(await examined(settings_of(tmp_path, egress_proxy=SecretStr(url))), "egress proxy", level)
    assert text_ in finding.text
    assert "secret-of-proxy" not in f"{finding}"


async def test_checks_run_at_once_and_none_hides_another() -> None:
    together = asyncio.Barrier(2)

    async def meet() -> list[Finding]:
        await together.wait()
        return findings.well("met")

    async def hang() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def fail() -> list[Finding]:
        raise RuntimeError("a bug")

    found = await run_checks({"one": meet, "two": meet, "never": hang, "bug": fail}, seconds=1.0)
    assert [(finding.check, finding.level, finding.text) for finding in found] == [
        ("one", "well", "met"),
        ("two", "well", "met"),
        ("never", "wrong", "no answer within 1 s"),
        ("bug", "wrong", "the check failed: a bug"),
    ]
