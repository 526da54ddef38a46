"""`hookkeeper migrate` on a namespace that it may prepare, and on one that only administrators may change."""

import asyncio
import json
import os
from datetime import timedelta
from pathlib import Path

import processes
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from cloud import cloud
from hookkeeper import temporal_names
from hookkeeper.registry.store import Store
from hookkeeper.temporal.events.run_state import find_run
from hookkeeper.temporal.server.connection import while_away
from hookkeeper.temporal.server.namespace import Findings, inspect, prepare
from instances import running_instance
from temporal_processes import free_ports
from timeouts import WAIT_TIMEOUT

MONTH = timedelta(days=30)


async def migrate(client: Client, address: str, folder: Path, *options: str) -> tuple[int, str]:
    return await hookkeeper(client, address, folder, "migrate", *options)


async def hookkeeper(
    client: Client, address: str, folder: Path, *arguments: str, variables: processes.Settings = processes.NOTHING
) -> tuple[int, str]:
    """Run the command; return its exit code and its output."""
    settings = {**settings_for(client, address, folder), **variables}
    done = await processes.hookkeeper(*arguments, cwd=folder, settings=settings)
    return done.code, " ".join((done.out + done.err).split())


def settings_for(client: Client, address: str, folder: Path) -> dict[str, str]:
    return {
        "HOOKKEEPER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'registry.db'}",
        "TEMPORAL_ADDRESS": address,
        "TEMPORAL_NAMESPACE": client.namespace,
    }


async def inspected(client: Client) -> Findings:
    """Inspect the namespace, again if the server of all tests breaks the call off because it is busy."""
    return await while_away(lambda: inspect(client, MONTH))


async def test_a_namespace_that_it_may_prepare(bare: Client, tmp_path: Path) -> None:
    address = bare.service_client.config.target_host
    assert (await inspected(bare)).missing == temporal_names.SEARCH_ATTRIBUTES
    assert (await migrate(bare, address, tmp_path))[0] == 0
    assert not await inspected(bare)
    assert (await migrate(bare, address, tmp_path))[0] == 0


async def test_it_waits_for_a_namespace_that_is_made_later(temporal: Client, tmp_path: Path) -> None:
    name = f"later-{os.urandom(4).hex()}"
    later = Client(temporal.service_client, namespace=name, data_converter=temporal.data_converter)
    address = temporal.service_client.config.target_host
    settings = settings_for(later, address, tmp_path)
    command = ("migrate", "--wait", str(WAIT_TIMEOUT))
    async with processes.process(*command, cwd=tmp_path, settings=settings) as migrating:
        await migrating.says("waiting")
        await temporal.workflow_service.register_namespace(
            RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=3 * 86400))
        )
        async with asyncio.timeout(WAIT_TIMEOUT):
            assert await migrating.process.wait() == 0
    assert not await inspected(later)


async def test_the_registry_alone_needs_no_temporal(bare: Client, tmp_path: Path) -> None:
    assert await migrate(bare, "127.0.0.1:1", tmp_path, "--registry-only") == (0, "")
    async with Store.connect(f"sqlite+aiosqlite:///{tmp_path / 'registry.db'}") as store:
        await store.ready()
    assert (await inspected(bare)).missing == temporal_names.SEARCH_ATTRIBUTES


async def test_a_namespace_that_only_administrators_may_change(bare: Client, tmp_path: Path) -> None:
    """As on Temporal Cloud: the commands are printed; after an administrator has run them, `migrate` succeeds."""
    async with cloud(bare) as (address, frontend):
        code, output = await migrate(bare, address, tmp_path)
        assert code == 1
        adding = f"tcld namespace search-attributes add --namespace {bare.namespace}"
        options = "".join(
            f' --search-attribute "{name}={type_}"' for name, type_ in temporal_names.SEARCH_ATTRIBUTES.items()
        )
        assert adding + options in output
        assert f"tcld namespace retention set --namespace {bare.namespace} --retention-days 30" in output
        assert {"ListSearchAttributes", "AddSearchAttributes", "UpdateNamespace"} <= set(frontend.refused)

        await prepare(bare, MONTH)
        assert (await migrate(bare, address, tmp_path)) == (0, "")


async def test_a_search_attribute_of_another_type(bare: Client, tmp_path: Path) -> None:
    wrong = IndexedValueType.INDEXED_VALUE_TYPE_TEXT
    await bare.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=bare.namespace, search_attributes={"HookTenant": wrong})
    )
    code, output = await migrate(bare, bare.service_client.config.target_host, tmp_path)
    assert code == 1
    assert "search attribute HookTenant is Text, not Keyword" in output
    assert f"temporal operator search-attribute remove --namespace {bare.namespace} --name HookTenant" in output
    async with running_instance(bare, tmp_path, task_queue="hookkeeper") as instance:
        ready = await instance.http.get("/readyz")
    assert ready.status_code == 503
    assert "search attribute HookTenant is Text, not Keyword" in ready.json()["detail"]
    code, output = await hookkeeper(bare, bare.service_client.config.target_host, tmp_path, "worker", "--local")
    assert code == 1
    assert f"the namespace {bare.namespace} cannot be prepared: search attribute HookTenant is Text" in output
    async with cloud(bare) as (address, _):
        code, output = await migrate(bare, address, tmp_path)
    assert code == 1
    assert "search attribute HookTenant is Text, not Keyword" in output
    assert "--existing-name HookTenant --new-name HookTenantOld" in output


async def test_a_namespace_that_does_not_exist(temporal: Client, tmp_path: Path) -> None:
    """A typo in TEMPORAL_NAMESPACE: the API was ready and its metrics were a 500; the worker ended with a traceback."""
    nowhere = Client(temporal.service_client, namespace="nowhere", data_converter=temporal.data_converter)
    async with running_instance(nowhere, tmp_path) as instance:
        ready = await instance.http.get("/readyz")
        assert ready.status_code == 503
        assert "Temporal namespace nowhere cannot be used: Namespace nowhere is not found" in ready.json()["detail"]
        assert (await instance.http.get("/v1/system")).json()["backlog"] is None
    address = temporal.service_client.config.target_host
    for version in ("", "1.0"):
        variables = {"HOOKKEEPER_DEPLOYMENT_VERSION": version}
        code, output = await hookkeeper(nowhere, address, tmp_path, "worker", variables=variables)
        assert code == 1
        assert "Error: Temporal does not let the worker start: " in output
        assert "Namespace nowhere is not found. Check TEMPORAL_NAMESPACE, or run `temporal operator namespace" in output


async def test_the_api_is_not_ready_until_the_namespace_is(bare: Client, tmp_path: Path) -> None:
    """The 503 names the command that repairs the namespace. An event is accepted, and started afterwards.
    A schedule is made, and waits.
    """
    async with running_instance(bare, tmp_path) as instance:
        ready = await instance.http.get("/readyz")
        assert ready.status_code == 503
        for name in temporal_names.SEARCH_ATTRIBUTES:
            assert name in ready.json()["detail"]
        assert "hookkeeper migrate" in ready.json()["detail"]
        answer = await instance.http.post("/v1/events", json={"type": "a", "tenant": instance.tenant, "id": "e"})
        assert answer.status_code == 202
        schedule = {"event": {"type": "a"}, "every": 86400, "tenant": instance.tenant}
        answer = await instance.http.post("/v1/schedules", json=schedule)
        assert (answer.status_code, answer.json()["next"]) == (201, None)

        await prepare(bare, MONTH)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await instance.http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.2)
            while await find_run(bare, instance.run("e").id) is None:
                await asyncio.sleep(0.2)


@pytest.mark.parametrize("command", ["api", "worker"])
async def test_a_process_says_at_its_start_what_is_missing_and_how_to_mend_it(
    bare: Client, tmp_path: Path, command: str
) -> None:
    settings = settings_for(bare, bare.service_client.config.target_host, tmp_path) | {
        "HOOKKEEPER_ADMIN_KEY": "a" * 32,
        "HOOKKEEPER_PORT": str(free_ports().ui),
        "HOOKKEEPER_LOG_FORMAT": "json",
    }
    async with processes.process(command, cwd=tmp_path, settings=settings) as process:
        await process.says('"not ready"', times=2)
    lines = [json.loads(line) for line in process.err.read_text().splitlines()]
    found = [line["detail"] for line in lines if line["event"] == "not ready"]
    assert found[0] == "the registry has no tables yet: run `hookkeeper migrate`"
    assert "search attribute HookTenant (Keyword) is missing" in found[1]
    assert "Run `hookkeeper migrate`" in found[1]
