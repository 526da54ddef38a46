"""Fixtures that several folders share. One Temporal server for each pytest process."""

import asyncio
import signal
import sysconfig
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker._workflow import _WorkflowWorker

import event_loops
from cli.processes import freeze_objects, start_without_collections
from hookkeeper.search_attributes import (
    DELIVER_AT_KEY,
    EVENT_TYPE_KEY,
    EVENTS_KEY,
    NEEDS_ATTENTION_KEY,
    TENANT_KEY,
)
from hookkeeper.temporal.server.connection import LateClient
from hookkeeper.temporal.server.data_converter import data_converter
from hookkeeper.temporal.server.namespace import inspect
from instance_parts import kept_children, shared_apps
from instances import Instance, running_instance
from receivers import Receiver, receiver
from timeouts import WAIT_TIMEOUT, FutureClock

pytest_plugins = ["chromium", "databases", "hangs", "tiers"]

hypothesis.settings.register_profile("hookkeeper", deadline=None)  # an example takes long on a busy machine
hypothesis.settings.load_profile("hookkeeper")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell that has started the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
    ]
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect garbage rarely, as the processes of Hookkeeper do: collections took a seventh of the tests' CPU time."""
    start_without_collections()
    result = yield
    freeze_objects()
    return result


@pytest.fixture(scope="session", autouse=True)
def monitored_loop() -> Iterator[None]:
    with event_loops.monitor:
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_sandbox_children() -> Iterator[None]:
    with kept_children():
        yield


@pytest.fixture(scope="session", autouse=True)
def patient_sdk() -> Iterator[None]:
    """Let activations of runs take long in this process.

    After two seconds, the SDK interrupts one. Its run may then be impossible to evict, and its worker or replayer never
    ends. On a busy machine, two seconds pass although nothing hangs; `test_activation_cost.py` limits the CPU time.
    """
    init = _WorkflowWorker.__init__

    def patient_init(self: _WorkflowWorker, **options: Any) -> None:
        init(self, **options)
        self._deadlock_timeout_seconds = WAIT_TIMEOUT  # type: ignore[assignment]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_WorkflowWorker, "__init__", patient_init)
        yield


@pytest.fixture(autouse=True)
def free_event_loop() -> Iterator[None]:
    """Fail each test in which Hookkeeper's own code holds the event loop."""
    event_loops.forget()
    yield
    if ours := event_loops.held_by_hookkeeper():
        pytest.fail("\n".join(map(str, ours)), pytrace=False)


SEARCH_ATTRIBUTES: list[SearchAttributeKey[Any]] = [
    TENANT_KEY,
    EVENT_TYPE_KEY,
    NEEDS_ATTENTION_KEY,
    DELIVER_AT_KEY,
    EVENTS_KEY,
]


def binary(name: str) -> str:
    """Find a binary that a package brought: Temporal's SDK would download one otherwise."""
    return str(Path(sysconfig.get_path("scripts")) / name)


@asynccontextmanager
async def temporal_server() -> AsyncIterator[Client]:
    """Start a real Temporal server in memory, with our search attributes."""
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary("temporal"),
        dev_server_log_level="error",
        data_converter=data_converter(),
        search_attributes=SEARCH_ATTRIBUTES,
        dev_server_extra_args=[
            *("--dynamic-config-value", "system.forceSearchAttributesCacheRefreshOnRead=false"),
            *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000"),
            *("--dynamic-config-value", "history.timerProcessorMaxPollRPS=1000"),
            *("--dynamic-config-value", 'history.timerProcessorMaxTimeShift="50ms"'),
            *("--dynamic-config-value", "matching.numTaskqueueReadPartitions=1"),
            *("--dynamic-config-value", "matching.numTaskqueueWritePartitions=1"),
            *("--dynamic-config-value", "matching.enableFairness=true"),
            # A run is flagged as failing after one failure of its workflow task, not after five within a minute.
            *("--dynamic-config-value", "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=1"),
            # A deletion waits until these two have noted how far they are: every 30 s by default.
            *("--dynamic-config-value", 'history.transferProcessorUpdateAckInterval="1s"'),
            *("--dynamic-config-value", 'history.visibilityProcessorUpdateAckInterval="1s"'),
        ],
    )
    async with environment:
        client = LateClient(address=environment.client.service_client.config.target_host)
        await client.until_connected(WAIT_TIMEOUT)
        yield client
    await asyncio.sleep(0.05)  # see docs/internals/temporal.md: Temporal's threads need a moment at the end


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[Client]:
    """The server of most tests: each has a task queue and a tenant of its own."""
    async with temporal_server() as client:
        yield client


@pytest.fixture
async def bare(temporal: Client, request: pytest.FixtureRequest) -> Client:
    """A namespace that is not prepared."""
    name = f"bare-{abs(hash(request.node.name)) % 10**9}"
    retention = Duration(seconds=3 * 86400)
    await temporal.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    )
    client = Client(temporal.service_client, namespace=name, data_converter=temporal.data_converter)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:  # servers know a new namespace after a while
            try:
                await inspect(client)
                break
            except RPCError:
                await asyncio.sleep(0.2)
    return client


@pytest.fixture(scope="session")
async def process_instance(temporal: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    """The one API and the one worker of this pytest process, as users run them."""
    async with running_instance(temporal, tmp_path_factory.mktemp("instance")) as built, built.working():
        shared_apps.append(built.app)
        yield built


@pytest.fixture
async def instance(process_instance: Instance) -> AsyncIterator[Instance]:
    """The instance that most tests share, each with a tenant of its own."""
    mine = process_instance.for_new_tenant()
    yield mine
    await mine.end_runs()
    await mine.empty_catalogue()


@pytest.fixture
async def idle_instance(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance of the test's own, without a worker: an empty registry, and parts that the test may change."""
    async with running_instance(temporal, tmp_path) as built:
        yield built


@pytest.fixture
async def own_instance(idle_instance: Instance) -> AsyncIterator[Instance]:
    """An instance of the test's own, with a worker."""
    async with idle_instance.working():
        yield idle_instance


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FutureClock:
    """Set the time forward that `utc_now`, the checks of keys and sessions, and rate limits read."""
    clock = FutureClock()
    monkeypatch.setattr("hookkeeper.times.datetime", clock)
    for module in ("api.authenticator", "hookkeeper.services.rate_limits", "limits.aio.storage.memory"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


@pytest.fixture
async def inbox() -> AsyncIterator[Receiver]:
    async with receiver() as started:
        yield started
