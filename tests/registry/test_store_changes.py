"""Changes are atomic, visible at once, and correct when several are made at the same time."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.policy import RetryPolicy
from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.health import AttemptResult
from hookkeeper.registry.webhooks.webhooks import ChangedMeanwhile
from hookkeeper.times import utc_now

Make = Callable[..., Webhook]


async def test_update_changes_what_is_given(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook(events=["order.*", "invoice.*"], name="old", headers={"x-a": "1"}))
    changes = {
        "name": "new",
        "events": ["invoice.*", "user"],
        "retry": RetryPolicy(schedule=()),
        "metadata_": {"k": "v"},
    }
    changed = await store.webhooks.update("wh_1", "acme", changes)
    kept = await store.webhooks.get("wh_1")
    assert changed is not None
    assert kept is not None
    for webhook in (changed, kept):
        assert {name: getattr(webhook, name) for name in changes} == changes
        assert webhook.headers == {"x-a": "1"}
        assert webhook.updated_at > webhook.created_at
    assert [bool(await store.webhooks.matching("acme", type_)) for type_ in ("order.x", "invoice.x", "user")] == [
        False,
        True,
        True,
    ]
    assert await store.webhooks.update("wh_none", None, changes) is None


async def test_pause_and_resume(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    paused = await store.webhooks.update("wh_1", "acme", {"enabled": False})
    assert paused is not None
    assert (paused.disabled_reason, paused.disabled_at) == ("manual", paused.updated_at)
    resumed = await store.webhooks.update("wh_1", "acme", {"enabled": True})
    assert resumed is not None
    assert (resumed.enabled, resumed.disabled_reason, resumed.disabled_at) == (True, None, None)


async def test_pausing_what_is_gone_keeps_the_reason(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    await store.health.record([AttemptResult("wh_1", "gone", utc_now())])
    paused = await store.webhooks.update("wh_1", "acme", {"enabled": False})
    assert paused is not None
    assert paused.disabled_reason == "gone"


async def test_updates_at_once_are_all_kept(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    changes: list[dict[str, object]] = [
        {"name": "n"},
        {"description": "d"},
        {"events": ["a"]},
        {"events": ["b"]},
        {"timeout": 3.0},
    ]
    await asyncio.gather(*(store.webhooks.update("wh_1", "acme", change) for change in changes))
    webhook = await store.webhooks.get("wh_1")
    assert webhook is not None
    assert (webhook.name, webhook.description, webhook.timeout) == ("n", "d", 3.0)
    assert [type_ for type_ in ("a", "b", "order.x") if await store.webhooks.matching("acme", type_)] == webhook.events


async def test_rotation_keeps_the_old_secret_for_the_grace(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook(secret="whsec_b25l"))
    await store.webhooks.rotate_secret("wh_1", "acme", "whsec_dHdv", 60)
    webhook = await store.webhooks.get("wh_1")
    assert webhook is not None
    assert (webhook.secret, webhook.previous_secret) == ("whsec_dHdv", "whsec_b25l")
    assert webhook.previous_secret_expires_at == webhook.updated_at + timedelta(seconds=60)
    at_once = await store.webhooks.rotate_secret("wh_1", None, "whsec_dHJvaXM=", 0)
    assert at_once is not None
    assert (at_once.previous_secret, at_once.previous_secret_expires_at) == (None, None)


async def test_a_secret_is_replaced_once(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook(secret="whsec_b25l"))
    rotations = [
        store.webhooks.rotate_secret("wh_1", None, secret, 60, replaces="whsec_b25l")
        for secret in ("whsec_YQ==", "whsec_Yg==")
    ]
    outcomes = await asyncio.gather(*rotations, return_exceptions=True)
    assert sum(isinstance(outcome, ChangedMeanwhile) for outcome in outcomes) == 1
    webhook = await store.webhooks.get("wh_1")
    assert webhook is not None
    assert webhook.previous_secret == "whsec_b25l"


async def test_delete_takes_the_patterns_along(store: Store, engine: AsyncEngine, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook(events=["a", "b.*"]))
    assert await store.webhooks.delete("wh_1", "acme") is True
    assert await store.webhooks.delete("wh_1", "acme") is False
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM webhook_patterns")) == 0


async def test_a_change_that_was_checked_against_another_state(
    store: Store, make_webhook: Callable[..., Webhook]
) -> None:
    """What was checked is what is written: a row that has changed since refuses the change, whole."""
    await store.webhooks.add(make_webhook(headers={"authorization": "secret"}))
    checked = await store.webhooks.get("wh_1")
    await store.webhooks.update("wh_1", None, {"url": "https://other.example/"})
    entry = AuditEntry(key_id="k", key_name="k", action="webhook.update", object_id="wh_1", tenant="acme")
    with pytest.raises(ChangedMeanwhile):
        await store.webhooks.update("wh_1", None, {"headers": {"x-new": "1"}}, entry, checked_against=checked)
    now = await store.webhooks.get("wh_1")
    assert now is not None
    assert (now.url, now.headers) == ("https://other.example/", {"authorization": "secret"})
    assert (await store.audit.page(tenant=None, since=None, until=None, limit=9, cursor=None))[0] == []
    assert await store.webhooks.update("wh_1", None, {"headers": {"x-new": "1"}}, checked_against=now)


async def test_changes_that_were_checked_against_one_state_at_once(
    store: Store, make_webhook: Callable[..., Webhook]
) -> None:
    """One of ten changes of the same state is written."""
    await store.webhooks.add(make_webhook())
    checked = await store.webhooks.get("wh_1")
    outcomes = await asyncio.gather(
        *(store.webhooks.update("wh_1", None, {"name": f"name {n}"}, checked_against=checked) for n in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Webhook) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ChangedMeanwhile) for outcome in outcomes) == 9
