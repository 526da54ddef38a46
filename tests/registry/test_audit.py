"""The audit log, on SQLite and PostgreSQL: an entry is kept with the change, or neither is."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.catalogue import EventTypeExists
from hookkeeper.registry.models import EventType, Suppression, Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.webhooks import WebhookExists


def entry(action: str = "webhook.create", **fields: Any) -> AuditEntry:
    return AuditEntry(
        **{"key_id": "key_1", "key_name": "x", "object_id": "wh_1", "tenant": "acme", **fields}, action=action
    )


async def actions(store: Store) -> list[str]:
    found, _ = await store.audit.page(tenant=None, since=None, until=None, limit=100, cursor=None)
    return [entry.action for entry in found][::-1]


async def test_an_entry_is_kept_with_each_kind_of_change(store: Store, make_webhook: Callable[..., Webhook]) -> None:
    spam = Suppression(tenant="acme", address="a@a.example", reason="manual")
    with capture_logs() as lines:
        await store.webhooks.add(make_webhook(), entry=entry("1"))
        await store.webhooks.update("wh_1", "acme", {"name": "x"}, entry("2"))
        await store.webhooks.rotate_secret("wh_1", "acme", "whsec_bmV3", 0, entry("3"))
        await store.webhooks.delete("wh_1", "acme", entry("4"))
        await store.catalogue.add(EventType(name="a.b"), entry("5"))
        await store.catalogue.update("a.b", {"archived": True}, entry("6"))
        await store.catalogue.delete("a.b", entry("7"))
        await store.suppressions.add(spam, entry("8"))
        await store.suppressions.remove("acme", "a@a.example", entry("9"))
    assert await actions(store) == list("123456789")
    assert [line["event"] for line in lines] == list("123456789")


async def test_a_change_that_is_not_made_has_none(store: Store, make_webhook: Callable[..., Webhook]) -> None:
    await store.webhooks.add(make_webhook())
    await store.catalogue.add(EventType(name="a.b"))
    await store.suppressions.add(Suppression(tenant="acme", address="a@a.example", reason="manual"))
    again = Suppression(tenant="acme", address="a@a.example", reason="manual")
    refused: list[tuple[Awaitable[Any], type[Exception] | None]] = [
        (store.webhooks.add(make_webhook(), entry=entry()), WebhookExists),
        (store.webhooks.update("wh_1", "other", {"name": "x"}, entry()), None),
        (store.webhooks.rotate_secret("wh_1", "other", "whsec_bmV3", 0, entry()), None),
        (store.webhooks.delete("wh_1", "other", entry()), None),
        (store.catalogue.add(EventType(name="a.b"), entry()), EventTypeExists),
        (store.catalogue.update("no", {}, entry()), None),
        (store.catalogue.delete("no", entry()), None),
        (store.suppressions.add(again, entry()), None),
        (store.suppressions.remove("other", "a@a.example", entry()), None),
        (store.api_keys.revoke("key_no", entry()), None),
    ]
    with capture_logs() as lines:
        for change, error in refused:
            if error:
                with pytest.raises(error):
                    await change
            else:
                assert not await change
    assert await actions(store) == []
    assert lines == []


async def test_an_entry_that_cannot_be_kept_undoes_the_change(
    store: Store, make_webhook: Callable[..., Webhook]
) -> None:
    await store.audit.keep(entry(id="aud_taken"))
    with capture_logs() as lines, pytest.raises(WebhookExists):
        await store.webhooks.add(make_webhook(), entry=entry(id="aud_taken"))
    assert await store.webhooks.get("wh_1") is None
    assert lines == []


async def test_pages_cover_all_newest_first(store: Store) -> None:
    for n in range(7):
        await store.audit.keep(entry(str(n), tenant=("acme", None)[n % 2]))
    for limit in (1, 3, 7):
        read: list[str] = []
        cursor = None
        while True:
            found, cursor = await store.audit.page(tenant=None, since=None, until=None, limit=limit, cursor=cursor)
            read += [entry.action for entry in found]
            if cursor is None:
                break
        assert read == list("6543210")
    found, _ = await store.audit.page(tenant="acme", since=None, until=None, limit=9, cursor=None)
    assert [entry.action for entry in found] == list("6420")
    middle = found[1].at
    since, _ = await store.audit.page(tenant=None, since=middle, until=None, limit=9, cursor=None)
    until, _ = await store.audit.page(tenant=None, since=None, until=middle, limit=9, cursor=None)
    assert ([entry.action for entry in since], [entry.action for entry in until]) == (list("654"), list("3210"))


async def test_a_change_to_what_is_there_writes_nothing(store: Store, make_webhook: Callable[..., Webhook]) -> None:
    await store.webhooks.add(make_webhook(name="x", metadata_={"a": 1}))
    before = await store.webhooks.get("wh_1")
    same = {"name": "x", "metadata_": {"a": 1}, "events": ["order.*"], "enabled": True, "headers": {}, "filter": None}
    await store.webhooks.update("wh_1", "acme", same, entry("same"))
    after = await store.webhooks.get("wh_1")
    assert before is not None
    assert after is not None
    assert after.updated_at == before.updated_at
    await store.webhooks.update("wh_1", "acme", same | {"name": "y"}, entry("other"))
    await store.catalogue.add(EventType(name="a.b", schema={"type": "object"}))
    await store.catalogue.update("a.b", {"archived": False, "schema": {"type": "object"}}, entry("same"))
    await store.catalogue.update("a.b", {"archived": False, "schema": None}, entry("another"))
    assert await actions(store) == ["other", "another"]


async def test_what_is_only_shown_has_an_entry_a_minute(store: Store) -> None:
    now = datetime.now(UTC)
    long_ago = now - timedelta(days=1)

    async def show(seconds: int, changed_at: datetime = long_ago, **fields: Any) -> None:
        await store.audit.keep_once(entry("show", at=now + timedelta(seconds=seconds), **fields), changed_at)

    for seconds in (0, 1, 59):
        await show(seconds)
    assert len(await actions(store)) == 1
    await show(59, changed_at=now + timedelta(seconds=30))
    assert len(await actions(store)) == 2, "it has changed since"
    for others in ({"key_id": "key_2"}, {"object_id": "wh_2"}, {"detail": {"event_id": "evt_1"}}):
        await show(60, **others)
    assert len(await actions(store)) == 5
    await show(200)
    assert len(await actions(store)) == 6


async def test_old_entries_go(store: Store) -> None:
    now = datetime.now(UTC)
    for n in range(3):
        await store.audit.keep(entry(str(n), at=now - timedelta(days=n)))
    await store.audit.expire(now - timedelta(days=1, hours=1))
    assert await actions(store) == ["1", "0"]
