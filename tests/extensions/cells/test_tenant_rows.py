"""What a tenant has is moved from one registry to another, which may have other keys and another database."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect

from extensions.cells.tenant_rows import TenantRows, tenants
from hookkeeper.content.emails import Email
from hookkeeper.content.notifications import OnFailure
from hookkeeper.crypto.keyring import Keyring, new_key
from hookkeeper.policy import RetryPolicy
from hookkeeper.registry.models import MOVING, Tenant, Webhook
from hookkeeper.registry.numbering import first
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.api_keys import ApiKey, digest_of
from hookkeeper.registry.webhooks.health import AttemptResult
from hookkeeper.times import utc_now

Make = Callable[..., Webhook]
EMAIL = Email(to=("ops@acme.example",), subject="s", text="t")


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Store]:
    """The registry of another cell, which is encrypted."""
    async with Store.connect(f"sqlite+aiosqlite:///{tmp_path}/other.db", Keyring.parse(new_key("k1"))) as made:
        await made.migrate()
        yield made


def rows(store: Store) -> TenantRows:
    return TenantRows(store.database)


def tenant_row() -> dict[str, object]:
    row = Tenant(id="acme", name="Acme", metadata_={"plan": "pro"}, on_failure=OnFailure(emails=(EMAIL,)))
    return {column.name: getattr(row, inspect(Tenant).get_property_by_column(column).key) for column in tenants.c}


def values(webhook: Webhook | None) -> dict[str, object]:
    assert webhook is not None
    return {column.key: getattr(webhook, column.key) for column in inspect(Webhook).column_attrs}


async def test_a_webhook_and_keys_are_the_same_in_the_other_registry(
    store: Store, other: Store, make_webhook: Make
) -> None:
    """Secrets, settings, health and patterns; and the same after a second time, as after a kill."""
    fields = {
        "events": ["order.*", "user"],
        "headers": {"x-key": "secret"},
        "metadata_": {"team": "billing"},
        "retry": RetryPolicy(schedule=(5, 10)),
        "targets": {"email": first([EMAIL])},
        "ordered": "block",
        "order_key": "event.data.id",
    }
    await store.webhooks.add(make_webhook(**fields))
    await store.health.record([AttemptResult("wh_1", "failed", utc_now(), url="https://acme.example/hook")])
    key = ApiKey(id="key_1", name="backend", tenant="acme", scopes=["events:read"], digest=digest_of("hk_1"))
    await store.api_keys.add(key)
    await store.catalogue.set_search_keys("acme", ["order.id"])
    await rows(store).put_owned("acme", await rows(store).owned("acme") | {"tenants": [tenant_row()]})
    await other.webhooks.add(make_webhook("wh_left"))
    for _ in range(2):
        await rows(other).put_webhook(await rows(store).webhook("wh_1"))
        await rows(other).put_owned("acme", await rows(store).owned("acme"))
    await rows(other).remove_webhooks("acme", ["wh_1"])
    assert values(await other.webhooks.get("wh_1")) == values(await store.webhooks.get("wh_1"))
    assert [webhook.id for webhook in await other.webhooks.matching("acme", "order.paid")] == ["wh_1"]
    assert await rows(other).owned("acme") == await rows(store).owned("acme")
    assert await other.catalogue.search_keys("acme") == ["order.id"]
    found = await other.api_keys.find(digest_of("hk_1"))
    assert found is not None and (found.id, found.tenant, found.scopes) == ("key_1", "acme", ["events:read"])


async def test_settings_come_back_without_health_and_what_is_kept(
    store: Store, other: Store, make_webhook: Make
) -> None:
    await store.webhooks.add(make_webhook(events=["order.*"]))
    row = await rows(store).webhook("wh_1")
    await rows(other).put_webhook(row | {"enabled": False, "disabled_reason": MOVING, "disabled_at": utc_now()})
    await store.health.record([AttemptResult("wh_1", "failed", utc_now())])
    await other.webhooks.update("wh_1", "acme", {"url": "https://new.example/hook", "events": ["user"]})
    (old,), (new,) = [(await rows(each).versions("acme")).values() for each in (store, other)]
    assert new > old
    await rows(store).put_settings(await rows(other).webhook("wh_1"), ("enabled", "disabled_reason"))
    changed = await store.webhooks.get("wh_1")
    assert changed is not None
    assert (changed.url, changed.enabled, changed.updated_at) == ("https://new.example/hook", True, new)
    assert changed.unhealthy_since is not None
    assert [bool(await store.webhooks.matching("acme", type_)) for type_ in ("order.paid", "user")] == [False, True]


async def test_a_webhook_that_moves_alerts_of_nothing_and_stays_disabled_if_a_caller_says_so(
    store: Store, make_webhook: Make
) -> None:
    await store.webhooks.add(make_webhook(enabled=False, disabled_reason=MOVING, disabled_at=utc_now()))
    assert await store.webhooks.in_trouble("acme", 10) == []
    disabled = await store.webhooks.update("wh_1", "acme", {"enabled": False})
    assert disabled is not None
    assert disabled.disabled_reason == "manual"
