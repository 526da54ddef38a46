"""What is wrong with Temporal: the server, the namespace, its workers and runs, its clock, and keys in histories."""

import asyncio
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    GetSystemInfoRequest,
    ListWorkflowExecutionsRequest,
    PollWorkflowTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from hookkeeper import task_queues, temporal_names
from hookkeeper.crypto.keyring import CipherError, Keyring, not_set
from hookkeeper.egress.certificates import examine_server
from hookkeeper.findings import Finding, judge_clock, run_checks, warning, well, wrong
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.server import installation, namespace
from hookkeeper.temporal.server.connection import LateClient, TemporalUnreachable, certificates_in
from hookkeeper.temporal.server.data_converter import ENCODING, EncryptionCodec
from hookkeeper.temporal.server.error_translation import Unavailable, WrongRegistry
from hookkeeper.temporal.server.readiness import USELESS_NAMESPACE, Readiness, describe_queue, polls
from hookkeeper.temporal.server.visibility import in_queue, quoted
from hookkeeper.temporal.workers.versions import UNVERSIONED, current_version, named
from hookkeeper.times import rfc3339

CONNECT_TIMEOUT = 5.0
OLDEST_SERVER = (1, 29)
"""Older servers have no fairness."""
POLL_LIFETIME = timedelta(seconds=90)
"""A worker polls again after 60 s at the latest."""
RUNS = 200
"""Runs whose keys are looked at, in each of two lists: the newest ones, and older ones."""
WORKFLOW, ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY


async def examine(
    settings: Settings, now: Callable[[], datetime], *, client: Client | None = None, address: str | None = None
) -> list[Finding]:
    """Examine the server, and then what is in it.

    `client`: that of this process, in place of a new one. `address`: that of a server of this machine, in place of
    `TEMPORAL_…`.
    """
    if client is None:
        try:
            client = await _connected(settings.keyring, address)
        except TemporalUnreachable as error:
            return wrong(str(error), "start the server, or correct TEMPORAL_ADDRESS and TEMPORAL_TLS…")
        except TimeoutError:
            text = f"Temporal does not answer within {CONNECT_TIMEOUT:g} s"
            return wrong(text, "start the server, or correct TEMPORAL_ADDRESS")
        except (RuntimeError, OSError, ValueError) as error:
            return wrong(f"the settings TEMPORAL_… are invalid: {error}", "correct them")
    checks = _Checks(client, settings, now)
    found = await run_checks({"temporal": checks.server, "namespace": checks.namespace})
    if not checks.is_usable:
        return found
    found += await run_checks({"temporal clock": checks.clock})
    return found + await run_checks(
        {
            "workers": checks.workers,
            "installation": checks.installation,
            "runs": checks.runs,
            "workflow types": checks.types,
            "keys in histories": checks.keys,
        }
    )


async def _connected(keyring: Keyring | None, address: str | None) -> Client:
    client = LateClient(keyring, address=address)
    async with asyncio.timeout(CONNECT_TIMEOUT):
        await client.until_connected(0.0)
    return client


async def examine_certificates(now: datetime) -> list[Finding]:
    """Examine the certificates in `TEMPORAL_TLS…`, and that of the server."""
    try:
        config = ClientConfig.load_client_connect_config()
    except (RuntimeError, OSError, ValueError):
        return []  # `examine` reports it
    tls = config.get("tls")
    if not tls and not config.get("api_key"):
        return []
    found: list[Finding] = []
    for certificates in certificates_in(tls):
        found += certificates.examine(now)
    address = urlsplit(f"//{config.get('target_host', '127.0.0.1:7233')}")
    return [*found, *await examine_server("Temporal", address.hostname or "", address.port or 7233, now)]


class _Checks:
    """The checks of a server that answers."""

    def __init__(self, client: Client, settings: Settings, now: Callable[[], datetime]) -> None:
        self._client = client
        self._settings = settings
        self._now = now
        self._readiness = Readiness(client, settings.task_queue)
        self._queues = task_queues.by_kind(settings.task_queue)
        self._own = in_queue(settings.task_queue)
        self.is_usable = False
        """The namespace exists, and this process may use it."""
        self._ahead = timedelta()
        """How far Temporal's clock is ahead of this machine's, as far as it is known."""

    async def server(self) -> Sequence[Finding]:
        info = await self._client.workflow_service.get_system_info(GetSystemInfoRequest())
        version = info.server_version
        text = f"server {version or 'of an unknown version'} at {self._client.service_client.config.target_host}"
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
        if numbers and numbers < OLDEST_SERVER:
            oldest = ".".join(map(str, OLDEST_SERVER))
            return warning(f"{text} has no fairness: a busy tenant delays others", f"upgrade it to {oldest} or newer")
        return well(text)

    async def namespace(self) -> Sequence[Finding]:
        name = self._client.namespace
        try:
            differences = await namespace.inspect(self._client, self._settings.retention)
        except RPCError as error:
            if error.status not in USELESS_NAMESPACE:
                raise
            return wrong(namespace.unusable(name, error))
        self.is_usable = True
        remedy = "run `hookkeeper migrate`: it makes what is missing, or prints the commands for an administrator"
        sentences = differences.sentences()
        found: list[Finding] = []
        if differences.retention:  # the last sentence
            has, needs = differences.retention
            if has < needs:
                found = wrong(f"{sentences.pop()}: histories end before their events leave the index", remedy)
            else:
                found = warning(sentences.pop(), remedy)
        if sentences:
            found = wrong("; ".join(sentences), remedy) + found
        return found or well(f"{name}, with its search attributes and retention")

    async def clock(self) -> Sequence[Finding]:
        try:
            self._ahead = await self._clock_ahead()
        except RPCError as error:
            return warning(f"that of Temporal cannot be read: {error.message}")
        return judge_clock("Temporal", self._ahead)

    async def _clock_ahead(self) -> timedelta:
        """Poll a task queue that is used for nothing else: Temporal tells when it was polled, by its own clock."""
        queue, identity = f"{self._settings.task_queue}-doctor", f"doctor-{uuid.uuid4().hex}"
        request = PollWorkflowTaskQueueRequest(
            namespace=self._client.namespace, task_queue=TaskQueue(name=queue), identity=identity
        )
        asked = self._now()
        poll = asyncio.create_task(
            self._client.workflow_service.poll_workflow_task_queue(request, timeout=timedelta(seconds=5))
        )
        try:
            while not poll.done():
                if polled := (await polls(self._client, queue)).get(identity):
                    return polled - (asked + (self._now() - asked) / 2)
                await asyncio.sleep(0.02)
        finally:
            poll.cancel()
            await asyncio.wait([poll])
        poll.result()
        raise TimeoutError

    async def workers(self) -> Sequence[Finding]:
        queues = [(self._queues["main"], WORKFLOW), *((queue, ACTIVITY) for queue in self._queues.values())]
        polling = await asyncio.gather(*(self._pollers(queue, kind) for queue, kind in queues))
        waiting = sum((await self._readiness.backlog()).values())
        tasks = f"; {waiting:,} tasks wait" if waiting else ""
        unserved = sorted({queue for (queue, _), pollers in zip(queues, polling, strict=True) if not pollers})
        if unserved:
            return wrong(
                f"none polls {', '.join(unserved)}{tasks}", "start one with `hookkeeper worker`, or read its log"
            )
        count = len({poller.identity for poller in polling[0]})
        return await self._check_version(polling[0]) or well(f"{count} {'polls' if count == 1 else 'poll'}{tasks}")

    async def _pollers(self, queue: str, kind: TaskQueueType.ValueType) -> list[PollerInfo]:
        """Return those that have polled a queue within `POLL_LIFETIME`."""
        since = self._now() + self._ahead - POLL_LIFETIME
        pollers = (await describe_queue(self._client, queue, kind)).pollers
        return [poller for poller in pollers if poller.last_access_time.ToDatetime(UTC) > since]

    async def _check_version(self, pollers: Sequence[PollerInfo]) -> Sequence[Finding]:
        """Find workers that get no tasks, as another version is current."""
        try:
            current = await current_version(self._client, self._settings.task_queue)
        except RPCError:
            return []  # a server without versions
        has = sorted({_version_of(poller) for poller in pollers})
        version = self._settings.deployment_version or UNVERSIONED
        if current not in has:
            found = " and ".join(map(named, has))
            return wrong(
                f"{named(current)} are to get all tasks, and there are none: only {found}", "`hookkeeper promote`"
            )
        if current != version:
            text = f"{named(current)} get all tasks, but HOOKKEEPER_DEPLOYMENT_VERSION is {version or 'not set'} here"
            return warning(text, "`hookkeeper promote`, once the workers of this version run")
        return []

    async def installation(self) -> Sequence[Finding]:
        name, queue = self._client.namespace, self._settings.task_queue
        async with Store.connect(self._settings.database_url, self._settings.keyring) as store:
            try:
                if await store.is_new():  # which another check reports; to read it would make a SQLite file
                    return []
                await installation.check(self._client, queue, store.rows)
            except RegistryUnavailable:
                return []
            except WrongRegistry as error:
                return wrong(error.found, error.remedy)
        if await installation.read(self._client, queue) is None:
            return warning(f"{name} belongs to no registry: a wrong one would be used", "`hookkeeper migrate`")
        return well(f"{name} belongs to this registry")

    async def runs(self) -> Sequence[Finding]:
        try:
            count = await self._readiness.count_failing_runs()
        except Unavailable as error:
            return warning(str(error))
        if not count:
            return well("none fails")
        query = self._readiness.failing_runs
        remedy = f'`temporal workflow list --namespace {self._client.namespace} --query "{query}"` shows them'
        are = "run cannot go on, as its" if count == 1 else "runs cannot go on, as their"
        return wrong(f"{count:,} {are} workflow tasks fail", remedy)

    async def types(self) -> Sequence[Finding]:
        known = ", ".join(map(quoted, temporal_names.WORKFLOW_TYPES))
        request = CountWorkflowExecutionsRequest(namespace=self._client.namespace)
        request.query = f"ExecutionStatus = 'Running' AND {self._own} AND WorkflowType NOT IN ({known})"
        count = (await self._client.workflow_service.count_workflow_executions(request)).count
        if not count:
            return well("all open runs have types of this release")
        remedy = f'`temporal workflow list --namespace {self._client.namespace} --query "{request.query}"` shows them'
        have = "run has" if count == 1 else "runs have"
        return wrong(f"{count:,} open {have} a type that this release does not know: is it too old?", remedy)

    async def keys(self) -> Sequence[Finding]:
        """Look at the keys that have encrypted the memos of runs, new ones and old ones."""
        half = rfc3339(self._now() - self._settings.retention / 2)
        types = ", ".join(map(quoted, (temporal_names.EVENT, temporal_names.SHARED_RUN)))
        events = f"WorkflowType IN ({types}) AND {self._own}"
        queries = (events, f"{events} AND StartTime < '{half}'")
        pages = await asyncio.gather(
            *(
                self._client.workflow_service.list_workflow_executions(
                    ListWorkflowExecutionsRequest(namespace=self._client.namespace, page_size=RUNS, query=query)
                )
                for query in queries
            )
        )
        memos = [payload for page in pages for run in page.executions for payload in run.memo.fields.values()]
        return await judge_payload_keys(memos, self._settings.keyring)


async def judge_payload_keys(payloads: Sequence[Payload], keyring: Keyring | None) -> Sequence[Finding]:
    """Judge whether payloads can be decrypted; one of each key is."""
    samples: dict[str, Payload] = {}
    for payload in payloads:
        if payload.metadata.get("encoding") == ENCODING:
            samples.setdefault(payload.metadata["encryption-key-id"].decode(errors="replace"), payload)
    found: list[Finding] = []
    for key_id, payload in samples.items():
        remedy = f"add the key {key_id} to the end of HOOKKEEPER_ENCRYPTION_KEYS, as it was when they were written"
        if keyring is None:
            found += wrong(f"they are {not_set(key_id)}", remedy)
            continue
        try:
            await EncryptionCodec(keyring).decode([payload])
        except CipherError as error:
            found += wrong(f"they are {error}", remedy)
    if found:
        return found
    return well(f"encrypted with {', '.join(samples)}" if samples else "none is in use")


def _version_of(poller: PollerInfo) -> str:
    options = poller.deployment_options
    is_versioned = options.worker_versioning_mode == WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
    return options.build_id if is_versioned else UNVERSIONED
