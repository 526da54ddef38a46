"""A tenant has a bounded number of webhooks, however many come at once. On SQLite and PostgreSQL."""

import asyncio
from collections.abc import Callable

import pytest

from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.webhooks import TooManyWebhooks


async def test_of_many_at_once_no_more_than_the_limit_are_kept(
    store: Store, make_webhook: Callable[..., Webhook]
) -> None:
    added = await asyncio.gather(
        *(store.webhooks.add(make_webhook(f"wh_{n}"), at_most=5) for n in range(15)), return_exceptions=True
    )
    assert [type(error) for error in added if error is not None] == [TooManyWebhooks] * 10
    assert len(await store.webhooks.matching("acme", "order.paid")) == 5


async def test_each_tenant_has_its_own(store: Store, make_webhook: Callable[..., Webhook]) -> None:
    await store.webhooks.add(make_webhook("wh_1"), at_most=1)
    with pytest.raises(TooManyWebhooks, match="tenant acme has 1 webhooks"):
        await store.webhooks.add(make_webhook("wh_2"), at_most=1)
    await store.webhooks.add(make_webhook("wh_3", tenant="bolt"), at_most=1)
    await store.webhooks.delete("wh_1", "acme")
    await store.webhooks.add(make_webhook("wh_4"), at_most=1)


async def test_a_lower_limit_leaves_what_is_there(store: Store, make_webhook: Callable[..., Webhook]) -> None:
    for n in range(3):
        await store.webhooks.add(make_webhook(f"wh_{n}"), at_most=3)
    with pytest.raises(TooManyWebhooks):
        await store.webhooks.add(make_webhook("wh_9"), at_most=2)
    assert len(await store.webhooks.matching("acme", "order.paid")) == 3
