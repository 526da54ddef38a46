"""The store keeps what it is given, on SQLite and on PostgreSQL alike."""

import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from operator import methodcaller
from typing import Any

import pytest
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.content.emails import Email
from hookkeeper.content.payload import Payload
from hookkeeper.content.search_terms import parse
from hookkeeper.policy import RetryPolicy
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.numbering import first
from hookkeeper.registry.storage import paging
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.storage.paging import PAGE_BYTES, BadRegistryCursor
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.reads import UnreadableWebhook
from hookkeeper.registry.webhooks.webhooks import WebhookExists
from hookkeeper.times import utc_now

Make = Callable[..., Webhook]


async def pages(store: Store, limit: int, **where: object) -> list[list[str]]:
    """Read all pages, as ids."""
    query = {"tenant": None, "event": None, "enabled": None} | where
    found, cursor = await store.webhooks.page(**query, limit=limit, cursor=None)  # type: ignore[arg-type]
    read = [[webhook.id for webhook in found]]
    while cursor is not None:
        found, cursor = await store.webhooks.page(**query, limit=limit, cursor=cursor)  # type: ignore[arg-type]
        read.append([webhook.id for webhook in found])
    return read


async def test_a_webhook_reads_back_as_it_was_given(store: Store, make_webhook: Make) -> None:
    paris = timezone(timedelta(hours=2))
    given = {
        "name": "Orders",
        "description": "é",
        "url": "https://acme.example/hook?token=1",
        "events": ["b.*", "a", "b.*"],
        "headers": {"x-b": "2", "x-a": "1"},
        "retry": RetryPolicy(initial=2),
        "timeout": 2.5,
        "metadata_": {"k": "v"},
        "created_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=paris),
    }
    await store.webhooks.add(make_webhook(**given))
    webhook = await store.webhooks.get("wh_1")
    assert webhook is not None
    assert {name: getattr(webhook, name) for name in given} == given
    assert list(webhook.headers) == ["x-b", "x-a"]
    assert webhook.retry is not None
    assert webhook.retry.model_fields_set == {"initial"}
    assert webhook.created_at.tzinfo is UTC


async def test_defaults(store: Store, make_webhook: Make) -> None:
    before = datetime.now(UTC)
    await store.webhooks.add(make_webhook())
    webhook = await store.webhooks.get("wh_1", "acme")
    assert webhook is not None
    assert (webhook.name, webhook.description, webhook.headers, webhook.metadata_) == ("", "", {}, {})
    assert (webhook.retry, webhook.timeout, webhook.enabled) == (None, 15.0, True)
    assert (webhook.disabled_reason, webhook.disabled_at, webhook.previous_secret) == (None, None, None)
    assert before <= webhook.created_at <= datetime.now(UTC)


async def test_a_naive_time_is_refused(store: Store, make_webhook: Make) -> None:
    with pytest.raises(StatementError, match="naive"):
        await store.webhooks.add(make_webhook(created_at=datetime(2026, 1, 1)))  # noqa: DTZ001


async def test_an_id_is_taken_once(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    with pytest.raises(WebhookExists):
        await store.webhooks.add(make_webhook(tenant="other"))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.example/x/y?q=1#f", "https://a.example/x/y"),
        ("https://user:p%40ss@a.example:8443/", "https://a.example:8443/"),
        ("http://u@[::1]:9/p", "http://[::1]:9/p"),
    ],
)
def test_target_shows_no_secret(make_webhook: Make, url: str, target: str) -> None:
    assert make_webhook(url=url).target == target


def test_repr_shows_no_secret(make_webhook: Make) -> None:
    assert "whsec" not in repr(make_webhook())


async def test_tenants_do_not_see_each_other(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook("wh_a", "acme"))
    await store.webhooks.add(make_webhook("wh_b", "bolt"))
    assert await store.webhooks.get("wh_b", "acme") is None
    assert await store.webhooks.update("wh_b", "acme", {"name": "mine"}) is None
    assert await store.webhooks.rotate_secret("wh_b", "acme", "whsec_eA==", 60) is None
    assert await store.webhooks.delete("wh_b", "acme") is False
    assert [webhook.id for webhook in await store.webhooks.matching("acme", "order.created")] == ["wh_a"]
    assert await pages(store, 10, tenant="acme") == [["wh_a"]]
    untouched = await store.webhooks.get("wh_b", "bolt")
    assert untouched is not None
    assert (untouched.name, untouched.secret) == ("", "whsec_b25l")


async def test_many_returns_those_that_exist(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook("wh_a"))
    await store.webhooks.add(make_webhook("wh_b", "bolt"))
    found = (await store.webhooks.many(["wh_a", "wh_b", "wh_none"])).readable
    assert {webhook_id: webhook.tenant for webhook_id, webhook in found.items()} == {"wh_a": "acme", "wh_b": "bolt"}
    assert await store.webhooks.many([]) == ({}, {})


async def test_many_names_those_that_cannot_be_read_without_what_they_contain(
    store: Store, engine: AsyncEngine, make_webhook: Make
) -> None:
    """A newer release may write what this one does not know."""
    for webhook_id in ("wh_a", "wh_b"):
        await store.webhooks.add(make_webhook(webhook_id))
    async with engine.begin() as connection:
        await connection.execute(text("""UPDATE webhooks SET retry = '{"schedule": ["a-secret"]}' WHERE id = 'wh_b'"""))
    found = await store.webhooks.many(["wh_a", "wh_b"])
    assert (set(found.readable), set(found.unreadable)) == ({"wh_a"}, {"wh_b"})
    with pytest.raises(UnreadableWebhook) as unreadable:
        found.get("wh_b")
    assert "webhook wh_b: schedule.0: float_type" in str(unreadable.value)
    assert "a-secret" not in "".join(traceback.format_exception(unreadable.value))


async def test_many_returns_webhooks_as_a_session_does(store: Store, make_webhook: Make) -> None:
    given = {
        "url": "https://acme.example/hook?token=1",
        "headers": {"x-b": "2"},
        "retry": RetryPolicy(initial=2),
        "payload": Payload.model_validate({"static": {"source": "shop"}}),
        "targets": {"email": first([Email.model_validate({"to": ["ann@acme.example"]})])},
        "metadata_": {"k": "v"},
        "previous_secret": "whsec_b25l",
        "previous_secret_expires_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "rate_limit": 2.5,
        "paused_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    }
    await store.webhooks.add(make_webhook(**given))
    kept, read = await store.webhooks.get("wh_1"), (await store.webhooks.many(["wh_1"])).readable["wh_1"]
    assert {name: getattr(read, name) for name in given} == given
    names = [attribute.key for attribute in inspect(Webhook).column_attrs]
    assert [getattr(read, name) for name in names] == [getattr(kept, name) for name in names]
    assert read.signing_secrets(datetime.now(UTC)) == [read.secret]


@pytest.mark.parametrize("count", [1, 4, 5, 64, 65, 130])
async def test_many_of_any_number(store: Store, make_webhook: Make, count: int) -> None:
    ids = [f"wh_{number}" for number in range(count)]
    for webhook_id in ids:
        await store.webhooks.add(make_webhook(webhook_id))
    assert set((await store.webhooks.many([*ids, *ids, "wh_none"])).readable) == set(ids)


async def test_matching_is_each_webhook_once_oldest_first(store: Store, make_webhook: Make) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    listens = {"wh_d": ["*", "order.*", "order.created"], "wh_c": ["order"], "wh_b": ["order.*"], "wh_a": ["invoice.*"]}
    for age, (webhook_id, events) in enumerate(listens.items()):
        await store.webhooks.add(make_webhook(webhook_id, events=events, created_at=start + timedelta(days=age)))
    await store.webhooks.update("wh_b", None, {"enabled": False})

    async def matching(event_type: str) -> list[str]:
        return [webhook.id for webhook in await store.webhooks.matching("acme", event_type)]

    assert await matching("order.created") == ["wh_d", "wh_b"]
    assert await matching("order") == ["wh_d", "wh_c"]
    assert await matching("else") == ["wh_d"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_matching_is_one_query_on_indexes(engine: AsyncEngine, store: Store) -> None:
    sent: list[str] = []
    trace = methodcaller("set_trace_callback", sent.append)
    event.listen(engine.sync_engine, "connect", lambda connection, _: connection.run_async(trace))
    await engine.dispose()
    await store.webhooks.matching("acme", "order.created.eu")
    [statement] = [text for text in sent if not text.startswith("PRAGMA")]
    async with engine.connect() as connection:
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")
        plan = "\n".join(row.detail for row in rows)
    assert "COVERING INDEX sqlite_autoindex_webhook_patterns_1 (tenant=? AND pattern=?)" in plan
    assert "SEARCH webhooks USING INDEX" in plan
    assert "SCAN" not in plan


async def test_paging_covers_all_rows_once_newest_first(store: Store, make_webhook: Make) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in (step * 7 % 11 for step in range(11)):  # two to each moment: a page can end between equals
        created_at = start + timedelta(microseconds=number // 2)
        await store.webhooks.add(make_webhook(f"wh_{number:02}", created_at=created_at))
    newest_first = [f"wh_{number:02}" for number in reversed(range(11))]
    for limit in (1, 2, 3, 10, 11, 100):
        read = await pages(store, limit)
        assert [webhook_id for page in read for webhook_id in page] == newest_first
        assert len(read) == -(-11 // limit)


async def test_a_page_of_large_webhooks_ends_early(store: Store, make_webhook: Make) -> None:
    """Large ones, then one that is larger than a page, then small ones, newest first. All are read, each once."""
    sizes = [240_000] * 9 + [PAGE_BYTES + 1] + [10] * 3
    for number, size in enumerate(reversed(sizes)):
        created_at = datetime(2026, 1, 1 + number, tzinfo=UTC)
        await store.webhooks.add(make_webhook(f"wh_{number:02}", description="x" * size, created_at=created_at))
    names = [f"wh_{number:02}" for number in reversed(range(13))]
    assert await pages(store, 100) == [names[:4], names[4:8], names[8:9], names[9:10], names[10:]]
    assert await pages(store, 3, event="order.paid") == [names[:3], names[3:6], names[6:9], names[9:10], names[10:]]


async def test_webhooks_that_do_not_fit_on_a_page_are_not_read(store: Store, make_webhook: Make) -> None:
    for number in range(9):
        await store.webhooks.add(make_webhook(f"wh_{number}", metadata_={"large": "x" * 240_000}))
    read: list[Webhook] = []

    def note(webhook: Webhook, _: object) -> None:
        read.append(webhook)

    event.listen(Webhook, "load", note)
    try:
        found, cursor = await store.webhooks.page(tenant="acme", event=None, enabled=None, limit=9, cursor=None)
    finally:
        event.remove(Webhook, "load", note)
    assert (len(read), len(found)) == (4, 4)
    assert cursor is not None


async def test_pages_filter(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook("wh_a", events=["order.*", "*"]))
    await store.webhooks.add(make_webhook("wh_b", "bolt", events=["order.created"], enabled=False))
    await store.webhooks.add(make_webhook("wh_c", events=["invoice.*"]))
    assert await pages(store, 1, event="order.created") == [["wh_b"], ["wh_a"]]
    assert await pages(store, 9, event="order.created", tenant="acme") == [["wh_a"]]
    assert await pages(store, 9, enabled=False) == [["wh_b"]]
    assert await pages(store, 9, enabled=True, event="invoice.paid") == [["wh_c", "wh_a"]]
    assert await pages(store, 9, tenant="nobody") == [[]]


@pytest.mark.parametrize(
    "cursor",
    ["", "é", "wh_1", "2026-01-01", "2026-01-01T00:00+00:00", "2026-01-01T00:00 wh_1", "2026-99-99T00:00+00:00 wh_1"],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_cursor_that_is_not_ours(store: Store, cursor: str) -> None:
    with pytest.raises(BadRegistryCursor):
        await store.webhooks.page(tenant=None, event=None, enabled=None, limit=1, cursor=cursor)


async def test_a_registry_without_tables_is_not_ready(sqlite_url: str) -> None:
    store = Store.connect(sqlite_url)
    with pytest.raises(RegistryUnavailable):
        await store.ready()
    await store.migrate()
    await store.ready()
    await store.close()


async def test_webhooks_are_found_by_words_of_their_name_and_url_and_by_metadata(
    store: Store, make_webhook: Make
) -> None:
    given: dict[str, dict[str, Any]] = {
        "wh_a": {"name": "Orders of ACME", "metadata_": {"team": "shop", "a.b": "1"}},
        "wh_b": {"url": "https://billing.example/Hook?token=1", "metadata_": {"team": "billing"}},
        "wh_c": {"name": "orders", "tenant": "beta"},
    }
    for number, (id_, fields) in enumerate(given.items()):
        await store.webhooks.add(make_webhook(id_, **fields, created_at=utc_now() + timedelta(seconds=number)))
    for query, found in {
        "orders": ["wh_c", "wh_a"],
        'orders "of acme"': ["wh_a"],
        '"orders of"': ["wh_a"],
        "billing.example/hook": ["wh_b"],
        "wh_b": ["wh_b"],
        "metadata.team:shop": ["wh_a"],
        "metadata.a.b:1": ["wh_a"],
        "metadata.team:sho": [],
        "orders metadata.team:billing": [],
    }.items():
        assert await pages(store, 5, terms=parse(query, "metadata")) == [found], query
    assert await pages(store, 5, terms=parse("orders", "metadata"), tenant="acme") == [["wh_a"]]
    assert await pages(store, 5, terms=parse("orders", "metadata"), event="user.new") == [[]]


async def test_a_search_of_webhooks_compares_a_bounded_number(
    store: Store, make_webhook: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_COMPARED", 4)
    now = utc_now()
    for n in range(10):
        name = "match" if n in (1, 2, 3, 9) else "other"
        await store.webhooks.add(make_webhook(f"wh_{n}", name=name, created_at=now + timedelta(seconds=n)))
    assert await pages(store, 2, terms=parse("match")) == [["wh_9"], ["wh_3", "wh_2"], ["wh_1"]]
