"""Reads with the driver return what sessions return, also after a connection is lost."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import column, select, table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.content.emails import Email
from hookkeeper.content.notifications import Notification
from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.models import EventType, Webhook
from hookkeeper.registry.numbering import first, renumber
from hookkeeper.registry.storage.compiled import Compiled
from hookkeeper.registry.storage.database import DIRECT_CONNECTIONS, RegistryUnavailable, open_engine
from hookkeeper.registry.storage.direct_reads import DirectReads
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.matching import MatchingWebhook

LOSE_OTHER_CONNECTIONS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
Make = Callable[..., Webhook]


async def test_a_matching_webhook_has_the_values_of_the_webhook(store: Store, make_webhook: Make) -> None:
    email = Email.model_validate({"to": ["a@example.com"], "subject": "s", "text": "t"})
    notification = Notification.model_validate({"http": {"url": "https://chat.example/x"}})
    targets = {"email": first([email, email]), "notification": first([notification])}
    full = {"targets": targets, "filter": "event.data.a > 1", "rate_limit": 0.5}
    await store.webhooks.add(
        make_webhook("wh_1", **full, ordered="strict", url="https://u:p@acme.example/hook?secret=1")
    )
    await store.webhooks.add(make_webhook("wh_2"))
    await store.webhooks.update("wh_1", "acme", {"targets": targets | {"email": renumber([email], targets["email"])}})
    found = await store.webhooks.matching("acme", "order.paid")
    assert [webhook.id for webhook in found] == ["wh_1", "wh_2"]
    for webhook in found:
        stored = await store.webhooks.get(webhook.id)
        assert stored is not None
        for name in (*(field.name for field in fields(MatchingWebhook)), "target", "is_hanging", "current_rate"):
            assert getattr(webhook, name) == getattr(stored, name), name


async def test_rules_are_those_of_the_catalogue(store: Store) -> None:
    await store.catalogue.add(EventType(name="order.paid", schema={"type": "object"}))
    await store.catalogue.add(EventType(name="order.lost", archived=True))
    assert (await store.catalogue.rules("acme", "order.paid"))[:4] == (True, False, {"type": "object"}, ())
    assert (await store.catalogue.rules("acme", "order.lost"))[:4] == (True, True, None, ())
    assert (await store.catalogue.rules("acme", "order"))[:4] == (False, False, None, ())


async def test_rules_are_those_of_the_tenant(store: Store) -> None:
    assert (await store.catalogue.rules("acme", "order"))[4:] == (False, None, False, "", False)
    await store.tenants.note("acme")
    await store.tenants.note("acme")
    assert (await store.catalogue.rules("acme", "order"))[4:] == (True, None, False, "", False)
    entry = AuditEntry(key_id="admin", key_name="admin", action="tenant.update", object_id="acme", tenant="acme")
    changes = {"suspended": True, "reason": "Not paid.", "rate_limit": "5/second"}
    await store.tenants.update("acme", changes, entry)
    assert (await store.catalogue.rules("acme", "order"))[4:] == (True, "5/second", True, "Not paid.", False)
    await store.tenants.remove("acme")
    assert (await store.catalogue.rules("acme", "order")).was_deleted


async def test_a_change_of_another_process_counts_at_once(database_url: str, store: Store, make_webhook: Make) -> None:
    other = Store.connect(database_url)
    for number in range(5):
        assert len(await store.webhooks.matching("acme", "order.paid")) == number
        await other.webhooks.add(make_webhook(f"wh_{number}"))
    await other.close()


async def test_a_connection_lost_between_reads_is_not_noticed(postgres_url: str, make_webhook: Make) -> None:
    store, other = Store.connect(postgres_url), open_engine(postgres_url)
    await store.migrate()
    await store.webhooks.add(make_webhook())
    assert len(await store.webhooks.matching("acme", "order.paid")) == 1
    async with other.connect() as connection:
        await connection.execute(LOSE_OTHER_CONNECTIONS)
    for _ in range(2):
        assert len(await store.webhooks.matching("acme", "order.paid")) == 1
    await store.close()
    await other.dispose()


async def test_cancelled_reads_leave_the_others_alone(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    for rounds in range(20):
        reads = [asyncio.create_task(store.webhooks.matching(f"tenant{n % 3}", "order.paid")) for n in range(12)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    assert len(await store.webhooks.matching("acme", "order.paid")) == 1


async def test_few_connections_serve_many_reads(engine: AsyncEngine, store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    found = await asyncio.gather(*(store.webhooks.matching(f"tenant{n}", "order.paid") for n in range(200)))
    assert found == [[]] * 200
    assert engine.pool.checkedout() <= DIRECT_CONNECTIONS  # type: ignore[attr-defined]


async def test_reads_that_wait_together_are_one_and_see_all_earlier_changes(
    store: Store, make_webhook: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = 0
    fetch = DirectReads._fetch_with_driver

    async def counted(self: DirectReads, reads: Sequence[Any]) -> Sequence[Any]:
        nonlocal begun
        begun += len(reads)
        return await fetch(self, reads)

    monkeypatch.setattr(DirectReads, "_fetch_with_driver", counted)
    early = [asyncio.create_task(store.webhooks.matching("acme", "order.paid")) for _ in range(50)]
    await store.webhooks.add(make_webhook())
    late = [asyncio.create_task(store.webhooks.matching("acme", "order.paid")) for _ in range(50)]
    await asyncio.gather(*early)
    assert [len(found) for found in await asyncio.gather(*late)] == [1] * 50
    assert begun <= 4


async def test_a_tenant_with_many_reads_does_not_delay_another(store: Store) -> None:
    ended: list[str] = []

    async def read(tenant: str, event_type: str) -> None:
        await store.webhooks.matching(tenant, event_type)
        ended.append(tenant)

    await asyncio.gather(*(read("first", f"type{n}") for n in range(20)))  # connections are open then
    ended.clear()
    await asyncio.gather(*(read("busy", f"type{n}") for n in range(400)), read("quiet", "order.paid"))
    assert ended.index("quiet") < 100


async def test_a_read_that_fails_fails_alone(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    wrong = Compiled(select(column("nothing")).select_from(table("nowhere")), store._direct.dialect)
    reads = [store.webhooks.matching("acme", "order.paid"), store._direct.fetch(wrong, "other", {})]
    found, error = await asyncio.gather(*reads, return_exceptions=True)
    assert isinstance(found, list)
    assert [webhook.id for webhook in found] == ["wh_1"]
    assert isinstance(error, DBAPIError)


async def test_a_failed_read_that_many_wait_for_fails_for_all(
    store: Store, make_webhook: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> Sequence[Any]:
        await asyncio.sleep(0)
        raise OSError("no connection")

    with monkeypatch.context() as patched:
        patched.setattr(DirectReads, "_fetch_with_driver", fail)
        patched.setattr(DirectReads, "_fetch_with_session", fail)
        reads = (store.webhooks.matching("acme", "order.paid") for _ in range(20))
        results = await asyncio.gather(*reads, return_exceptions=True)
    assert {type(result) for result in results} == {RegistryUnavailable}
    await store.webhooks.add(make_webhook())
    assert len(await store.webhooks.matching("acme", "order.paid")) == 1


async def test_a_database_that_cannot_be_opened_is_unavailable() -> None:
    store = Store.connect("sqlite+aiosqlite:////nowhere/registry.db")
    with pytest.raises(RegistryUnavailable):
        await store.webhooks.matching("acme", "order.paid")
    await store.close()
