"""Whether Temporal answers, the namespace is complete and workers run, and how many tasks wait for them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import task_queues
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.temporal.server import installation, namespace
from hookkeeper.temporal.server.error_translation import (
    NamespaceUnprepared,
    Unavailable,
    WrongRegistry,
    translated_errors,
)
from hookkeeper.temporal.server.visibility import in_queue

log = structlog.get_logger("hookkeeper.temporal")
CHECK_TIMEOUT = 2.0
"""Seconds for one check."""
GOOD_RESULT_LIFETIME, BAD_RESULT_LIFETIME = 5.0, 1.0
"""Seconds for which a result is cached."""
USELESS_NAMESPACE = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})
"""Statuses of a namespace that this process cannot use: no event could be started."""
FAILED_STARTS, FAILURE_LIFETIME = 3, 5.0
"""Failed starts in a row, with which Temporal counts as away, and for how many seconds after the latest one."""
LONG_START = 1.0
"""Seconds after which a start that is given up counts as failed."""
HAS_PROBLEMS = "TemporalReportedProblems IS NOT NULL"
"""A condition for runs whose workflow task has failed, or timed out, several times in a row."""


@dataclass(slots=True)
class _Cached:
    problem: Unavailable | None = None
    until: float = 0.0


class Readiness:
    """Methods raise `Unavailable`."""

    def __init__(self, client: Client, task_queue: str, rows: EventRows | None = None) -> None:
        """`rows`: those of the registry that the namespace has to belong to."""
        self._client = client
        self._task_queue = task_queue
        self._rows = rows
        self._cached = _Cached()
        self._lock = asyncio.Lock()
        self._failed_starts = 0
        self._failed_at = 0.0

    @contextmanager
    def noting_start(self) -> Iterator[None]:
        """Note whether Temporal stores the run that the block starts. A server that only reads answers all else.

        Raises `WrongRegistry`, if that is known.
        """
        self.check_registry()
        begin = monotonic()
        try:
            yield
        except (Unavailable, asyncio.CancelledError) as error:
            if isinstance(error, Unavailable) or monotonic() - begin >= LONG_START:
                self._failed_starts += 1
                self._failed_at = monotonic()
            raise
        self._failed_starts = 0

    def check_registry(self) -> None:
        """Raise `WrongRegistry`, if that is known: an event would find none of its webhooks."""
        if isinstance(self._cached.problem, WrongRegistry):
            raise self._cached.problem

    async def ping(self) -> None:
        """Return if Temporal answers."""
        async with translated_errors():
            await self._client.service_client.check_health()

    async def is_away(self) -> bool:
        """Return whether Temporal does not answer, or has not stored the latest runs."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await self.ping()
        except (Unavailable, TimeoutError):
            return True
        return self._failed_starts >= FAILED_STARTS and monotonic() - self._failed_at < FAILURE_LIFETIME

    async def has_worker(self) -> bool:
        """Return whether a worker polls for tasks; False also if Temporal does not answer."""
        async with translated_errors(not_found=Unavailable):
            return await is_polled(self._client, self._task_queue)

    async def count_waiting(self) -> int:
        """Return the number of tasks that wait for a worker in the main queue."""
        async with translated_errors(not_found=Unavailable):
            return await count_waiting_tasks(self._client, self._task_queue)

    async def backlog(self) -> dict[str, int]:
        """Return the number of tasks that wait in each task queue, by the queue's kind."""
        async with translated_errors(not_found=Unavailable):
            queues = task_queues.by_kind(self._task_queue)
            counts = await asyncio.gather(*(count_waiting_tasks(self._client, queue) for queue in queues.values()))
            return dict(zip(queues, counts, strict=True))

    @property
    def failing_runs(self) -> str:
        """The query for open runs that cannot go on."""
        return f"{HAS_PROBLEMS} AND ExecutionStatus = 'Running' AND {in_queue(self._task_queue)}"

    async def count_failing_runs(self) -> int:
        """Return the number of open runs that cannot go on, as their workflow tasks fail."""
        # The client's own method would repeat it while visibility is busy.
        request = CountWorkflowExecutionsRequest(namespace=self._client.namespace, query=self.failing_runs)
        async with translated_errors(not_found=Unavailable):
            try:
                return (await self._client.workflow_service.count_workflow_executions(request)).count
            except RPCError as error:
                if error.status != RPCStatusCode.INVALID_ARGUMENT:
                    raise
                raise Unavailable(f"this server does not report failing runs: {error.message}") from error

    async def check_namespace(self) -> None:
        """Return if the namespace exists, is complete, and belongs to this registry, as far as that is known."""
        if problem := await self._namespace_problem():
            raise problem

    async def has_wrong_registry(self) -> bool:
        """Return whether the namespace is known not to belong to this registry."""
        return isinstance(await self._namespace_problem(), WrongRegistry)

    async def _namespace_problem(self) -> Unavailable | None:
        """Inspect the namespace. The result is cached, because probes come every few seconds."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now >= self._cached.until:
                problem, is_good = await self._inspect()
                self._cached = _Cached(problem, now + (GOOD_RESULT_LIFETIME if is_good else BAD_RESULT_LIFETIME))
            return self._cached.problem

    async def _inspect(self) -> tuple[Unavailable | None, bool]:
        """Inspect the namespace; return its problem, and whether it is known to have none.

        Other errors are no problem of it: `ping` checks whether Temporal answers.
        """
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                if self._rows:
                    await installation.check(self._client, self._task_queue, self._rows)
                findings = await namespace.inspect(self._client)
                return NamespaceUnprepared(findings.sentences()) if findings else None, not findings
        except WrongRegistry as error:
            return error, False
        except (RPCError, TimeoutError, RegistryUnavailable) as error:
            log.warning("the namespace cannot be checked", error=str(error))
            return self._problem(error), False

    def _problem(self, error: RPCError | TimeoutError | RegistryUnavailable) -> Unavailable | None:
        if isinstance(error, RPCError) and error.status in USELESS_NAMESPACE:
            return Unavailable(namespace.unusable(self._client.namespace, error))
        return None


async def is_polled(client: Client, task_queue: str) -> bool:
    """Return whether a worker polls a queue for workflow tasks."""
    try:
        return len((await describe_queue(client, task_queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)).pollers) > 0
    except RPCError:
        return False


async def server_time(client: Client, task_queue: str) -> datetime | None:
    """Return Temporal's time at the latest poll for workflow tasks, about a minute ago at most; None if it is unknown.

    Only a worker of the queue can rely on it: without workers, the latest poll may be minutes ago.
    """
    try:
        return max((await polls(client, task_queue)).values(), default=None)
    except RPCError:
        return None


async def polls(client: Client, task_queue: str) -> dict[str, datetime]:
    """Return when each process last polled for workflow tasks, by its identity, in the last five minutes: the server
    forgets earlier ones. Raises `RPCError`.
    """
    described = await describe_queue(client, task_queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
    pollers = sorted(described.pollers, key=lambda poller: poller.last_access_time.ToDatetime(UTC))
    return {poller.identity: poller.last_access_time.ToDatetime(UTC) for poller in pollers}


async def count_waiting_tasks(client: Client, task_queue: str) -> int:
    """Return the approximate number of workflow tasks and activities that wait in a queue. Raises `RPCError`."""
    kinds = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
    described = await asyncio.gather(*(describe_queue(client, task_queue, kind) for kind in kinds))
    return sum(queue.stats.approximate_backlog_count for queue in described)


async def describe_queue(client: Client, task_queue: str, kind: TaskQueueType.ValueType) -> DescribeTaskQueueResponse:
    """Return the pollers and the backlog of a queue. Raises `RPCError`."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=kind,
        report_stats=True,
    )
    return await client.workflow_service.describe_task_queue(request)
