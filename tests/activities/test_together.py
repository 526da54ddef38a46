"""The attempts of several events in one activity: known outcomes are not repeated, and no tenant waits for another."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import create_autospec

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.attempts import PreparedAttempt
from activities.delivery_batch import BatchRunner, Made
from activities.internal_errors import MAX_TRIES
from activities.memory_budget import WorkerMemory
from activities.tenant_concurrency import MIN_DELAY, TenantConcurrency
from claimed_runs import acceptance
from hookkeeper.error_types import TENANT_AT_LIMIT
from hookkeeper.messages.batch import AttemptRequest, BatchResult, DeliveryBatch, EventAttempts
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.reads import FoundWebhooks, LostWebhook
from hookkeeper.sandbox.children import SandboxUnavailable
from shared_runs import event_to

MIB = 1024 * 1024
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Make = Callable[..., Webhook]


def batch(event_id: str, tenant: str, *webhooks: str, data: object = None) -> EventAttempts:
    attempts = tuple(AttemptRequest(delivery=id_, webhook_id=id_, number=1) for id_ in webhooks)
    return EventAttempts(id=event_id, type="a", tenant=tenant, timestamp=NOW, data=data, attempts=attempts)


def succeeded(delivery: str) -> Outcome:
    return Outcome(delivery=delivery, verdict="succeeded", started_at=NOW)


class Worker:
    """Runs activities whose tenants may each have one at a time, and notes the attempts."""

    def __init__(self, store: Store) -> None:
        self.concurrency = TenantConcurrency(10, 1)
        self.memory = WorkerMemory(8 * MIB)
        self._runner = BatchRunner(
            store,
            create_autospec(Client),
            self.concurrency,
            self.memory,
            _unchanged,
            heartbeat_delay=timedelta(seconds=0.1),
            process_queue="hookkeeper-process-1",
        )
        self.made: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        """Deliveries whose attempts meet an internal error."""
        self.error: Exception = RuntimeError("a bug")
        self.excerpts: set[int] = set()

    async def run(
        self,
        *events: EventAttempts,
        known: Mapping[int, Sequence[Outcome]] | None = None,
        busy: str = "",
        is_rest: bool = False,
        tries: int = 1,
    ) -> BatchResult:
        """Run an activity, whose earlier try has reported outcomes, while another one of the tenant `busy` runs.

        `tries`: with the present one.
        """
        environment = ActivityEnvironment()
        details = [{str(n): [outcome.model_dump() for outcome in of] for n, of in known.items()}] if known else []
        environment.info = replace(
            environment.info,
            attempt=tries,
            heartbeat_details=details,
            heartbeat_timeout=timedelta(seconds=10),
            workflow_run_id=f"run-{len(self.made)}-{busy}",
        )

        batch = DeliveryBatch(events=events, is_shared=True, is_rest=is_rest)

        async def work() -> BatchResult:
            with self.concurrency.slot(busy) if busy else nullcontext():
                return await self._runner.run(batch, self._attempt)

        return await environment.run(work)

    async def run_one(self, event: EventAttempts, tries: int = 1) -> BatchResult:
        """Run the activity of one event."""
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, attempt=tries, heartbeat_timeout=timedelta(seconds=10))
        return await environment.run(self._runner.run, DeliveryBatch(events=(event,)), self._attempt)

    async def _attempt(self, attempt: PreparedAttempt) -> Outcome:
        if attempt.request.delivery in self.broken:
            raise self.error
        self.made.append((attempt.event.id, attempt.request.delivery))
        self.excerpts.add(attempt.batch.excerpt_limit)
        return succeeded(attempt.request.delivery)


async def _unchanged(tenant: str, made: Sequence[Made], webhooks: Mapping[str, Webhook], offset: timedelta) -> None:
    """Record nothing."""


@pytest.fixture
async def worker(store: Store, make_webhook: Make) -> Worker:
    for name, tenant in (("wh_a", "a"), ("wh_b", "b")):
        await store.webhooks.add(make_webhook(name, tenant=tenant))
    await store.rows.accept([acceptance(event_to(id="e1", tenant="a"), ActivityEnvironment().info.workflow_id)])
    return Worker(store)


def statuses(result: BatchResult) -> list[list[str] | None]:
    return [None if outcomes is None else [outcome.verdict for outcome in outcomes] for outcomes in result.outcomes]


async def test_the_webhooks_of_all_tenants_are_read_at_once(
    worker: Worker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[set[str]] = []
    many = store.webhooks.many

    async def noted(ids: Collection[str], sharer: str = "") -> FoundWebhooks:
        read.append(set(ids))
        return await many(ids, sharer)

    monkeypatch.setattr(store.webhooks, "many", noted)
    results = await worker.run(batch("e1", "a", "wh_a"), batch("e2", "b", "wh_b"), batch("e3", "a", "wh_a"))
    assert statuses(results) == [["succeeded"]] * 3
    assert read == [{"wh_a", "wh_b"}]


async def test_a_reported_outcome_belongs_to_its_event(worker: Worker) -> None:
    """Two events of two tenants with the same id, and one more: an earlier try has reported one attempt of each of
    two events to the same webhook.
    """
    batches = (batch("e1", "a", "wh_a"), batch("e1", "b", "wh_b", "wh_gone"), batch("e2", "a", "wh_a"))
    results = await worker.run(*batches, known={0: [succeeded("wh_a")], 1: [succeeded("wh_gone")]})
    assert statuses(results) == [["succeeded"], ["succeeded", "succeeded"], ["succeeded"]]
    assert results.retry_after is None
    assert sorted(worker.made) == [("e1", "wh_b"), ("e2", "wh_a")]


async def test_an_attempt_for_a_deleted_webhook_has_its_outcome(worker: Worker) -> None:
    results = await worker.run(batch("e1", "a", "wh_gone", "wh_a"))
    assert statuses(results) == [["webhook_deleted", "succeeded"]]


async def test_a_tenant_at_its_limit_has_no_result_and_others_have(worker: Worker) -> None:
    results = await worker.run(batch("e1", "a", "wh_a"), batch("e2", "b", "wh_b"), busy="a")
    assert statuses(results) == [None, ["succeeded"]]
    assert worker.made == [("e2", "wh_b")]
    assert results.retry_after
    assert results.retry_after >= MIN_DELAY


async def test_an_activity_of_one_tenant_at_its_limit_is_tried_again(worker: Worker) -> None:
    """Runs of their own would be many, and wait as well."""
    with pytest.raises(ApplicationError) as refused:
        await worker.run(batch("e1", "a", "wh_a"), batch("e2", "a", "wh_a"), busy="a")
    assert refused.value.type == TENANT_AT_LIMIT
    assert refused.value.next_retry_delay
    rest = await worker.run(batch("e1", "a", "wh_a"), busy="a", is_rest=True)
    assert (statuses(rest), rest.retry_after is None) == ([None], False), "other events of the run wait for its end"
    assert not worker.made


async def test_a_tenant_at_its_limit_whose_attempts_were_made_in_part_is_tried_again(worker: Worker) -> None:
    """Runs of their own would make those attempts twice."""
    batches = (batch("e1", "a", "wh_a", "wh_gone"), batch("e2", "b", "wh_b"))
    with pytest.raises(ApplicationError) as refused:
        await worker.run(*batches, known={0: [succeeded("wh_a")]}, busy="a")
    assert refused.value.type == TENANT_AT_LIMIT
    assert worker.made == [("e2", "wh_b")]


async def test_a_tenant_without_memory_for_its_data_has_no_result_and_others_have(worker: Worker) -> None:
    large: list[object] = [[] for _ in range(18_000)]  # over 2 MiB as Python objects
    with worker.memory.event_data("a", large):
        results = await worker.run(batch("e1", "a", "wh_a", data=large), batch("e2", "b", "wh_b", data=large))
    assert statuses(results) == [None, ["succeeded"]]


# Internal errors


async def test_an_internal_error_prevents_no_other_attempt(worker: Worker) -> None:
    """Two of the same event, and others of the same tenant and of another one."""
    worker.broken = {"wh_a"}
    batches = (batch("e1", "a", "wh_a", "wh_gone"), batch("e2", "a", "wh_a"), batch("e3", "b", "wh_b"))
    results = await worker.run(*batches)
    assert statuses(results) == [["deferred", "webhook_deleted"], ["deferred"], ["succeeded"]]
    assert results.outcomes[0]
    assert "RuntimeError" in results.outcomes[0][0].response_excerpt


async def test_attempts_are_put_off_after_some_tries_in_which_none_was_made(worker: Worker) -> None:
    worker.broken = {"wh_a", "wh_b"}
    batches = (batch("e1", "a", "wh_a"), batch("e2", "b", "wh_b"))
    for tries in range(1, MAX_TRIES):
        with pytest.raises(RuntimeError):
            await worker.run(*batches, tries=tries)
    assert statuses(await worker.run(*batches, tries=MAX_TRIES)) == [["deferred"], ["deferred"]]


async def test_attempts_are_not_put_off_for_an_outage(worker: Worker) -> None:
    """Each event would only be one more run that waits."""
    worker.broken, worker.error = {"wh_a", "wh_b"}, SandboxUnavailable("down")
    with pytest.raises(SandboxUnavailable):
        await worker.run(batch("e1", "a", "wh_a"), batch("e2", "b", "wh_b"), tries=100)


async def test_an_attempt_whose_webhook_and_event_are_unknown_is_put_off_unless_all_are(worker: Worker) -> None:
    """In a registry that has lost much, each event would only be one more run that waits."""
    lost = batch("lost", "a", "wh_gone")
    results = await worker.run(lost, batch("e1", "a", "wh_gone"), batch("e2", "b", "wh_b", "wh_gone"))
    assert statuses(results) == [["deferred"], ["webhook_deleted"], ["succeeded", "deferred"]]
    assert results.outcomes[0]
    assert "neither the webhook wh_gone nor the event" in results.outcomes[0][0].response_excerpt
    with pytest.raises(LostWebhook):
        await worker.run(lost, batch("lost-too", "b", "wh_gone"), tries=100)


async def test_an_attempt_that_has_its_own_activity_is_not_put_off(worker: Worker) -> None:
    """That would add to the history of its run at each try.."""
    worker.broken = {"wh_a"}
    with pytest.raises(RuntimeError):
        await worker.run_one(batch("e1", "a", "wh_a"), tries=100)
    together = await worker.run_one(batch("e1", "a", "wh_a", "wh_gone"))
    assert statuses(together) == [["deferred", "webhook_deleted"]]


async def test_the_outcomes_of_all_events_share_one_result(worker: Worker) -> None:
    await worker.run(*(batch(f"e{number}", "a", "wh_a") for number in range(500)))
    (limit,) = worker.excerpts
    assert len(worker.made) == 500
    assert 200 < limit < 300, "bytes of each response: with one target, it is 4,096"
