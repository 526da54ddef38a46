"""A run that is stuck or unreadable does not block those behind it."""

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import recovery, release
from activities.recovery import RecoveryActivities
from activities.release import ReleaseActivities
from activities.tenant_concurrency import TenantConcurrency
from claimed_runs import acceptance
from hookkeeper.error_types import TENANT_AT_LIMIT
from hookkeeper.messages.bulk_work import (
    ERASE,
    HeldRuns,
    HeldSearch,
    RecoveryCandidate,
    RecoveryPlan,
    RecoveryScope,
    RecoverySearch,
    RedeliveryBatch,
    RedeliveryResult,
    ReleaseBatch,
    ReleaseProgress,
    ReleaseStage,
)
from hookkeeper.messages.event import EventInput
from hookkeeper.registry.store import Store
from hookkeeper.temporal.bulk.recovery_candidates import RecoveryCandidates
from hookkeeper.temporal.bulk.releases import HeldDeliveries
from hookkeeper.tenant_limits import BULK_RUNS

RUNS = tuple(f"event-acme-{n}" for n in range(25))
STUCK = RUNS[3]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
SCOPE = RecoveryScope(tenant="acme", webhook_id="wh_1", since=NOW, until=NOW, began=NOW)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.connect(f"sqlite+aiosqlite:///{tmp_path / 'registry.db'}")
    await store.migrate()
    yield store
    await store.close()


SLOTS = TenantConcurrency(2, 2)


def with_heartbeats() -> ActivityEnvironment:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, heartbeat_timeout=timedelta(seconds=10))
    return environment


class FakeHeldDeliveries(HeldDeliveries):
    """Runs that are sent at once, but for one that never decides."""

    def __init__(self) -> None:
        self.released: list[str] = []
        self.most = 0
        self.sent: set[str] = set()

    async def oldest(self, search: HeldSearch, at_most: int) -> HeldRuns:
        return HeldRuns(runs=RUNS)

    async def release(self, workflow_id: str, webhook_id: str) -> None:
        self.released.append(workflow_id)
        self.most = max(self.most, len(self.released) - len(self.sent))

    async def stage(self, workflow_id: str, webhook_id: str) -> ReleaseStage:
        if workflow_id == STUCK:
            return "deciding"
        self.sent.add(workflow_id)
        return "sent"


async def test_a_release_skips_a_run_that_is_stuck(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "DECISION_TIMEOUT", 0.3)
    held = FakeHeldDeliveries()
    batch = ReleaseBatch(webhook_id="wh_1", tenant="acme", runs=RUNS)
    progress = await with_heartbeats().run(ReleaseActivities(store, held, SLOTS).release_held, batch)
    assert (progress.completed, progress.released) == (len(RUNS), len(RUNS) - 1)
    assert held.released == list(RUNS)
    assert held.most <= release.MAX_IN_FLIGHT + 1  # the one that is passed is still not sent


async def test_a_retried_release_continues_where_it_was(store: Store) -> None:
    held, environment = FakeHeldDeliveries(), with_heartbeats()
    known = ReleaseProgress(completed=20, released=18)
    environment.info = replace(environment.info, heartbeat_details=[known.model_dump()])
    batch = ReleaseBatch(webhook_id="wh_1", tenant="acme", runs=RUNS)
    progress = await environment.run(ReleaseActivities(store, held, SLOTS).release_held, batch)
    assert held.released == list(RUNS[20:])
    assert (progress.completed, progress.released) == (25, 23)


async def test_a_tenant_with_many_releases_leaves_slots_for_others(store: Store) -> None:
    class HangingHeldDeliveries(FakeHeldDeliveries):
        async def oldest(self, search: HeldSearch, at_most: int) -> HeldRuns:
            if search.webhook_id == "wh_1":
                await asyncio.Event().wait()
            return HeldRuns()

    activities = ReleaseActivities(store, HangingHeldDeliveries(), TenantConcurrency(3, 1))

    def find(webhook: str, tenant: str) -> asyncio.Task[HeldRuns]:
        ask = HeldSearch(webhook_id=webhook, tenant=tenant)
        return asyncio.create_task(with_heartbeats().run(activities.find_held, ask))

    slow = find("wh_1", "acme")
    with pytest.raises(ApplicationError) as raised:
        await find("wh_2", "acme")
    assert raised.value.type == TENANT_AT_LIMIT
    assert (await find("wh_3", "other")).runs == ()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_releases_of_a_tenant_have_few_runs_in_flight_together(store: Store) -> None:
    class SlowHeldDeliveries(FakeHeldDeliveries):
        """Runs that are sent at the second look."""

        def __init__(self) -> None:
            super().__init__()
            self.seen: set[str] = set()

        async def stage(self, workflow_id: str, webhook_id: str) -> ReleaseStage:
            if workflow_id in self.seen:
                self.sent.add(workflow_id)
                return "sent"
            self.seen.add(workflow_id)
            return "sending"

    held = SlowHeldDeliveries()
    activities = ReleaseActivities(store, held, TenantConcurrency(4, 2))

    async def release_all(n: int) -> ReleaseProgress:
        runs = tuple(f"event-acme-{n}-{run}" for run in range(15))
        batch = ReleaseBatch(webhook_id=f"wh_{n}", tenant="acme", runs=runs)
        return await with_heartbeats().run(activities.release_held, batch)

    done = await asyncio.gather(release_all(1), release_all(2))
    assert [progress.released for progress in done] == [15, 15]
    assert held.most <= BULK_RUNS.most


class UnreadableCandidates(RecoveryCandidates):
    """Runs that are redelivered, except for an unreadable one. All are decided at once."""

    def __init__(self) -> None:
        self.redelivered: list[str] = []

    async def count(self, scope: RecoveryScope) -> int:
        return len(RUNS)

    async def oldest(self, search: RecoverySearch, at_most: int) -> RecoveryPlan:
        return RecoveryPlan(runs=(), end=None)

    async def redeliver(
        self, scope: RecoveryScope, run: RecoveryCandidate, active: Collection[str]
    ) -> RedeliveryResult:
        if run.workflow_id == STUCK:
            raise ValueError("unreadable")
        self.redelivered.append(run.workflow_id)
        return "redelivered"

    async def is_deciding(self, workflow_id: str) -> bool:
        return False


def batch_of(*runs: str) -> RedeliveryBatch:
    return RedeliveryBatch(scope=SCOPE, runs=tuple(RecoveryCandidate(workflow_id=run) for run in runs), rate=1000)


async def test_an_unreadable_run_is_skipped_after_ten_tries(store: Store) -> None:
    lost, environment = UnreadableCandidates(), with_heartbeats()
    activities = RecoveryActivities(store, lost, SLOTS)
    with pytest.raises(ValueError, match="unreadable"):
        await environment.run(activities.redeliver_candidates, batch_of(*RUNS))
    assert sorted(lost.redelivered) == sorted(set(RUNS) - {STUCK})  # it blocked no other even then
    # Tries that failed because of the registry or a dead worker do not count against the event.
    environment.info = replace(environment.info, attempt=recovery.MAX_TRIES + 1)
    with pytest.raises(ValueError, match="unreadable"):
        await environment.run(activities.redeliver_candidates, batch_of(*RUNS))
    environment.info = replace(environment.info, heartbeat_details=[{}, {STUCK: recovery.MAX_TRIES}])
    tally = await environment.run(activities.redeliver_candidates, batch_of(*RUNS))
    assert (tally.redelivered, tally.failed, tally.skipped) == (len(RUNS) - 1, 1, 0)


async def test_a_retried_recovery_continues_where_it_was(store: Store) -> None:
    lost, environment = UnreadableCandidates(), with_heartbeats()
    known: dict[str, RedeliveryResult] = {RUNS[0]: "redelivered", STUCK: "skipped", RUNS[5]: "skipped"}
    environment.info = replace(environment.info, heartbeat_details=[known])
    tally = await environment.run(RecoveryActivities(store, lost, SLOTS).redeliver_candidates, batch_of(*RUNS[:6]))
    assert sorted(lost.redelivered) == sorted(set(RUNS[:6]) - set(known))
    assert (tally.redelivered, tally.skipped) == (4, 2)


async def test_a_skipped_run_that_the_recovery_has_redelivered_is_counted(store: Store) -> None:
    """A run that the recovery itself has redelivered may be found again, and is skipped."""
    environment = with_heartbeats()
    known: dict[str, RedeliveryResult] = {RUNS[0]: "redelivered", RUNS[1]: "skipped", RUNS[2]: "failed"}
    environment.info = replace(environment.info, heartbeat_details=[known])
    batch = batch_of(*RUNS[:3])
    found = batch.model_copy(update={"runs": tuple(run.model_copy(update={"is_counted": False}) for run in batch.runs)})
    tally = await environment.run(RecoveryActivities(store, UnreadableCandidates(), SLOTS).redeliver_candidates, found)
    assert (tally.redelivered, tally.failed, tally.skipped, tally.discovered) == (1, 1, 0, 2)


async def test_recoveries_of_a_tenant_have_few_runs_undecided_together(store: Store) -> None:
    """What waits for its first step costs Temporal and the workers most, and delays the events of other tenants."""

    class SlowCandidates(UnreadableCandidates):
        """Runs that are decided at the second look."""

        def __init__(self) -> None:
            super().__init__()
            self.seen: set[str] = set()
            self.decided = self.most = 0

        async def is_deciding(self, workflow_id: str) -> bool:
            self.most = max(self.most, len(self.redelivered) - self.decided)
            if workflow_id not in self.seen:
                self.seen.add(workflow_id)
                return True
            self.decided += 1
            return False

    slow = SlowCandidates()
    activities = RecoveryActivities(store, slow, TenantConcurrency(4, 2))

    async def redeliver(n: int) -> int:
        batch = batch_of(*(f"event-acme-{n}-{run}" for run in range(25)))
        return (await with_heartbeats().run(activities.redeliver_candidates, batch)).redelivered

    assert sum(await asyncio.gather(redeliver(1), redeliver(2))) == 50
    assert 0 < slow.most <= BULK_RUNS.most


async def test_a_run_that_is_not_decided_blocks_those_behind_it_for_a_moment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "MAX_WAIT", 0.1)

    class StuckCandidates(UnreadableCandidates):
        async def is_deciding(self, workflow_id: str) -> bool:
            return True

    stuck = StuckCandidates()
    runs = [run for run in RUNS if run != STUCK]
    tally = await with_heartbeats().run(RecoveryActivities(store, stuck, SLOTS).redeliver_candidates, batch_of(*runs))
    assert tally.redelivered == len(runs)


async def test_events_are_erased_several_at_once_but_those_of_a_shared_run_in_turn(store: Store) -> None:
    """Setup: five events of one shared run, which each erasure replaces, and twenty with runs of their own.
    Proves: at most eight are erased at once; of the shared run, also after it was replaced, one.
    """

    class Erasing(UnreadableCandidates):
        def __init__(self) -> None:
            super().__init__()
            self.now: list[str] = []
            self.most = self.most_shared = 0

        async def erase(self, tenant: str, event_id: str) -> RedeliveryResult:
            self.now.append(event_id)
            self.most = max(self.most, len(self.now))
            self.most_shared = max(self.most_shared, sum(int(id_) < 5 for id_ in self.now))
            await asyncio.sleep(0.05)
            self.now.remove(event_id)
            return "redelivered"

    shared = [EventInput(id=f"{n}", type="a", tenant="acme", timestamp=NOW, accepted_at=NOW) for n in range(5)]
    runs = ["shared-1", "shared-1", "shared-1", "shared-1.1", "shared-1.1"]
    await store.rows.accept([acceptance(event, run) for event, run in zip(shared, runs, strict=True)])
    erasing, batch = Erasing(), batch_of(*RUNS)
    batch = batch.model_copy(update={"scope": SCOPE.model_copy(update={"webhook_id": None, "action": ERASE})})
    tally = await with_heartbeats().run(RecoveryActivities(store, erasing, SLOTS).redeliver_candidates, batch)
    assert tally.redelivered == len(RUNS)
    assert (erasing.most, erasing.most_shared) == (recovery.MAX_CONCURRENT_REDELIVERIES, 1)
