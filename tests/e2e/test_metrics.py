"""The metrics of API and worker, as Prometheus reads them, after an event was delivered."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import processes
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from temporalio.bridge import temporal_sdk_bridge

from drills.authorities import Authority
from receivers import Receiver
from test_metrics_contract import contract
from test_monitoring import ALERTS, MONITORING, QUERIES
from timeouts import WAIT_TIMEOUT

Families = dict[str, Metric]
CERTIFICATE_END = datetime(2040, 1, 2, tzinfo=UTC)


@dataclass
class Metered(processes.Client):
    """A client of an installation, and the ports of its metrics."""

    api: int
    worker: int

    @property
    def ports(self) -> tuple[int, int]:
        return self.api, self.worker


@pytest.fixture(scope="module")
async def metered(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Metered]:
    ports = {name: processes.free_ports(metrics=True).metrics for name in ("api", "worker")}
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "client.pem").write_text(Authority().certify("client", ends=CERTIFICATE_END).certificate)
    certificate = {"PGSSLCERT": str(folder / "client.pem")}
    variables = {
        name: certificate | {"HOOKKEEPER_METRICS_ADDRESS": f"127.0.0.1:{port}"} for name, port in ports.items()
    }
    async with processes.processes_apart(folder, variables) as started:
        yield Metered(started.http, **ports)


async def scraped(port: int) -> Families:
    """Return what a process serves. Prometheus refuses a metric that occurs twice."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    by_name = {family.name: family for family in families}
    assert len(by_name) == len(families)
    return by_name


def value(families: Families, sample_name: str, **labels: str) -> float:
    """Return the value of a series."""
    samples = [sample for family in families.values() for sample in family.samples]
    (found,) = [sample.value for sample in samples if sample.name == sample_name and sample.labels == labels]
    return found


def labels_of(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels} - {"le"}


def family_name(name: str) -> str:
    """Return how the parser names the family: a counter without its suffix."""
    return name.removesuffix("_total")


@pytest.mark.promise("docs/metrics.md")
async def test_every_metric_of_the_contract_is_there_after_a_delivery(metered: Metered, inbox: Receiver) -> None:
    tenant, delivered = "metered", "hookkeeper_success_delay_seconds_count"
    before = value(await scraped(metered.worker), delivered, channel="webhook")
    inbox.fails(503)
    await metered.webhook(inbox.url, tenant, retry={"schedule": [0.1]})
    accepted = await metered.send(tenant, id="one")
    await metered.until(accepted["id"], tenant, "succeeded")
    repeated = await metered.http.post("/v1/events", json={"type": "order.paid", "tenant": tenant, "id": "one"})
    assert repeated.status_code == 200
    refused = await metered.http.post("/v1/events", json={"type": "not a type", "tenant": tenant})
    assert refused.status_code == 422
    batch = {"events": [{"type": "order.paid", "tenant": tenant}, {"tenant": tenant}]}
    assert (await metered.http.post("/v1/events/batch", json=batch)).status_code == 207

    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:  # the second event is delivered, and the index is written
            api, worker = await scraped(metered.api), await scraped(metered.worker)
            if value(worker, delivered, channel="webhook") == before + 2:
                break
            await asyncio.sleep(0.2)

    served = {"API": api, "worker": worker}
    for name, (kind, labels, where, _) in contract("Contract").items():
        for process, families in served.items():
            if process not in where:
                continue
            family = families[family_name(name)]
            assert family.type == kind, name
            assert labels_of(family) == set(re.findall(r"`(\w+)`", labels)), name
    sdk = Path(temporal_sdk_bridge.__file__).read_bytes()
    for name, (where, about) in contract("Temporal's SDK").items():
        if "from the first failure on" in about:
            assert family_name(name).removeprefix("temporal_").encode() in sdk, name
            continue
        found = [process for process, families in served.items() if family_name(name) in families]
        assert set(found) >= {process for process in served if process in where}, name

    for families in (api, worker):
        end = value(families, "hookkeeper_certificate_expires_timestamp_seconds", setting="PGSSLCERT")
        assert end == CERTIFICATE_END.timestamp()
        assert 0 < value(families, "hookkeeper_database_connections_used") <= 16
    assert value(api, "hookkeeper_events_accepted_total", result="new") == 2
    assert value(api, "hookkeeper_events_accepted_total", result="duplicate") == 1
    assert value(api, "hookkeeper_events_refused_total", reason="invalid") == 2
    attempt = {"channel": "webhook", "verdict": "failed", "error": "http_5xx"}
    assert value(worker, "hookkeeper_attempts_total", **attempt) == 1
    attempt = {"channel": "webhook", "verdict": "succeeded", "error": "none"}
    assert value(worker, "hookkeeper_attempts_total", **attempt) == 2
    assert value(worker, "hookkeeper_attempt_seconds_count", channel="webhook") == 3
    assert value(worker, "hookkeeper_first_attempt_delay_seconds_count", channel="webhook") == 2
    assert value(api, "hookkeeper_source_up", source="registry") == 1
    assert value(api, "hookkeeper_source_up", source="temporal") == 1


async def test_no_label_names_what_a_tenant_has_made(metered: Metered, inbox: Receiver) -> None:
    tenant, event_type = "private-tenant", "private.type"
    webhook = await metered.webhook(inbox.url, tenant)
    accepted = await metered.send(tenant, type=event_type, id="private-event")
    await metered.until(accepted["id"], tenant, "succeeded")
    for port in metered.ports:
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        for made in (tenant, event_type, "private-event", webhook["id"], inbox.url):
            assert made not in text


async def test_only_metrics_are_served(metered: Metered) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"http://127.0.0.1:{metered.api}/v1/events")).status_code == 404
        elsewhere = await http.get(metered.http.base_url.join("/metrics"), headers={"accept": "text/html, */*"})
        assert elsewhere.status_code == 404
        assert f"Metrics are not on this port, but on port {metered.api}" in elsewhere.json()["detail"]


# Prometheus


async def test_its_own_tool_finds_nothing_wrong(metered: Metered) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    for port in metered.ports:
        async with httpx.AsyncClient(trust_env=False) as http:
            served = (await http.get(f"http://127.0.0.1:{port}/metrics")).content
        checking = await asyncio.create_subprocess_exec(
            *(promtool, "check", "metrics"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await checking.communicate(served)
        assert (checking.returncode, said.decode()) == (0, "")


async def until_answers(http: httpx.AsyncClient, path: str, is_there: Callable[[Any], bool], **query: str) -> Any:
    """Ask Prometheus until the data of its answer is as wanted."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            try:
                answer = await http.get(f"/api/v1/{path}", params=query)
                if answer.status_code == 200 and is_there(data := answer.json()["data"]):
                    return data
            except httpx.TransportError:  # it is not ready
                pass
            await asyncio.sleep(0.2)


async def test_prometheus_reads_both_and_evaluates_every_rule_and_query(metered: Metered, tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed")
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "alerts.yml")]
    for number, job in enumerate(config["scrape_configs"]):
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{metered.ports[number]}"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = processes.free_ports().api
    server = await asyncio.create_subprocess_exec(
        prometheus,
        *("--config.file", str(tmp_path / "prometheus.yml"), "--storage.tsdb.path", str(tmp_path / "data")),
        *("--web.listen-address", f"127.0.0.1:{port}", "--log.level", "error"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            await until_answers(http, "query", lambda data: len(data["result"]) == 2, query="up == 1")
            data = await until_answers(http, "rules", rules_are_evaluated)
            rules = [rule for group in data["groups"] for rule in group["rules"]]
            assert {rule["name"] for rule in rules} == {alert["alert"] for alert in ALERTS}
            assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
            assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
            for query in QUERIES:
                answer = (await http.get("/api/v1/query", params={"query": query})).json()
                assert answer["status"] == "success", answer
    finally:
        server.terminate()
        await server.wait()


def rules_are_evaluated(data: Any) -> bool:
    return all(rule["health"] != "unknown" for group in data["groups"] for rule in group["rules"])
