"""A trace from a request to the API through the run to the attempts and the receiver, read back from a collector."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import processes
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from temporalio.client import Client

from collectors import CollectedSpan, Collector, collecting
from instances import running_instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT


@dataclass
class Traced:
    client: processes.Installation
    collector: Collector


@pytest.fixture(scope="module")
async def traced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    async with collecting() as collector:
        settings = {
            "HOOKKEEPER_OTLP_ENDPOINT": collector.url,
            "HOOKKEEPER_SEND_TRACEPARENT": "true",
            "HOOKKEEPER_LOG_FORMAT": "json",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        folder = tmp_path_factory.mktemp("traces")
        async with processes.processes_apart(folder, {"api": settings, "worker": settings}) as client:
            yield Traced(client, collector)


async def posted(http: httpx.AsyncClient, tenant: str, event_id: str) -> tuple[str, str]:
    """Post an event as a part of a trace; return the ids of the trace and of the client's span."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    event = {"type": "order.paid", "tenant": tenant, "id": event_id}
    headers = {"traceparent": f"00-{trace_id}-{span_id}-01"}
    assert (await http.post("/v1/events", json=event, headers=headers)).status_code == 202
    return trace_id, span_id


def child_of(span: CollectedSpan, parent: CollectedSpan) -> bool:
    return span.span.parent_span_id == parent.span.span_id


@pytest.mark.promise("docs/tracing.md")
async def test_a_trace_leads_from_the_client_to_each_attempt(traced: Traced, inbox: Receiver) -> None:
    client, tenant = traced.client, "traced"
    inbox.fails(503)
    webhook = await client.webhook(inbox.url, tenant, retry={"schedule": [0.1]})
    trace_id, span_id = await posted(client.http, tenant, "one")
    await client.until("one", tenant, "succeeded")
    spans = await traced.collector.until(trace_id, 5)
    by_name = {span.name: span for span in spans if span.name != "attempt"}
    assert {name: span.service for name, span in by_name.items()} == {
        "POST /v1/events": "hookkeeper-api",
        "accept event": "hookkeeper-api",
        "run": "hookkeeper-worker",
    }
    request, accepted, run = by_name["POST /v1/events"], by_name["accept event"], by_name["run"]
    failed, succeeded = [span for span in spans if span.name == "attempt"]
    assert request.span.parent_span_id.hex() == span_id
    assert request.span.kind == Span.SPAN_KIND_SERVER
    assert request.attributes["http.response.status_code"] == 202
    assert child_of(accepted, request)
    assert child_of(run, accepted)
    assert child_of(failed, run)
    assert child_of(succeeded, run)
    assert run.span.end_time_unix_nano >= succeeded.span.end_time_unix_nano
    assert run.attributes["hookkeeper.status"] == "succeeded"
    for number, span in enumerate((failed, succeeded), start=1):
        assert span.attributes["hookkeeper.attempt"] == number
        assert span.attributes["hookkeeper.delivery"] == webhook["id"]
        assert span.attributes["hookkeeper.event_id"] == "one"
        assert span.attributes["hookkeeper.run_id"] == run.attributes["hookkeeper.run_id"]
    assert failed.attributes["http.response.status_code"] == 503
    assert failed.span.status.code == Status.STATUS_CODE_ERROR
    assert succeeded.span.status.code == Status.STATUS_CODE_UNSET
    sent = [request.headers["traceparent"] for request in inbox.requests]
    assert sent == [f"00-{trace_id}-{span.span.span_id.hex()}-01" for span in (failed, succeeded)]


async def test_each_event_of_a_batch_has_its_attempts_below_it(traced: Traced, inbox: Receiver) -> None:
    """Whether it shares a run with others or not."""
    client, tenant, number = traced.client, "batched", 20
    await client.webhook(inbox.url, tenant)
    trace_id = secrets.token_hex(16)
    batch = {"events": [{"type": "order.paid", "tenant": tenant, "id": str(n)} for n in range(number)]}
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    assert (await client.http.post("/v1/events/batch", json=batch, headers=headers)).status_code == 207
    await inbox.got(number)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            spans = [span for span in traced.collector.spans if span.span.trace_id.hex() == trace_id]
            by_id = {span.span.span_id: span for span in spans}
            attempts = [span for span in spans if span.name == "attempt"]
            if len(attempts) == number and all(span.span.parent_span_id in by_id for span in attempts):
                break
            await asyncio.sleep(0.1)
    for attempt in attempts:
        parent = by_id[attempt.span.parent_span_id]
        assert parent.name in ("accept event", "run")
        assert parent.attributes["hookkeeper.event_id"] == attempt.attributes["hookkeeper.event_id"]
    assert len({attempt.attributes["hookkeeper.event_id"] for attempt in attempts}) == number


async def test_an_event_without_a_context_has_a_trace_of_its_own(traced: Traced, inbox: Receiver) -> None:
    client, tenant = traced.client, "untraced"
    await client.webhook(inbox.url, tenant)
    for bad in (None, "00-zz-zz-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        headers = {"traceparent": bad} if bad else {}
        event = {"type": "order.paid", "tenant": tenant}
        assert (await client.http.post("/v1/events", json=event, headers=headers)).status_code == 202
    await inbox.got(3)
    contexts = [request.headers["traceparent"] for request in inbox.requests]
    traces = {context.split("-")[1] for context in contexts}
    assert len(traces) == 3
    for trace in traces:
        names = [span.name for span in await traced.collector.until(trace, 4)]
        assert sorted(names) == ["POST /v1/events", "accept event", "attempt", "run"]


async def test_the_log_line_of_an_attempt_names_trace_and_run(traced: Traced, inbox: Receiver) -> None:
    client, tenant = traced.client, "logged"
    await client.webhook(inbox.url, tenant)
    trace_id, _ = await posted(client.http, tenant, "logged")
    await client.until("logged", tenant, "succeeded")
    (run,) = [span for span in await traced.collector.until(trace_id, 4) if span.name == "run"]
    log = client.worker.written()
    (line,) = [line for line in log.splitlines() if '"event_id": "logged"' in line and '"event": "attempt"' in line]
    assert f'"trace_id": "{trace_id}"' in line
    assert f'"run_id": "{run.attributes["hookkeeper.run_id"]}"' in line


async def test_a_context_is_passed_on_without_an_exporter(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    async with running_instance(temporal, tmp_path, send_traceparent=True) as instance, instance.working():
        await instance.webhook(inbox.url)
        trace_id, span_id = await posted(instance.http, instance.tenant, "one")
        await instance.until("one", "succeeded")
        (request,) = inbox.requests
        assert request.headers["traceparent"] == f"00-{trace_id}-{span_id}-01"


async def test_without_its_packages_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk'] = None\n")
    settings = {
        "HOOKKEEPER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "HOOKKEEPER_ADMIN_KEY": "a-key-for-tests-only",
        "PYTHONPATH": f"{tmp_path}:{processes.ROOT}",
    }
    commands = (
        processes.hookkeeper(command, cwd=tmp_path, settings=settings, fresh=True) for command in ("api", "worker")
    )
    for done in await asyncio.gather(*commands):
        assert done.code == 78
        assert "Error: HOOKKEEPER_OTLP_ENDPOINT needs more packages: pip install '.[otel]'" in done.err
        assert "Traceback" not in done.err
