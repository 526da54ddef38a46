"""The encrypted registry, on SQLite and PostgreSQL: nothing readable in the database, and keys that change."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.content.emails import Email
from hookkeeper.content.notifications import Notification, OnFailure
from hookkeeper.content.payload import Payload
from hookkeeper.crypto.keyring import Keyring, new_key
from hookkeeper.registry.models import Suppression, Webhook
from hookkeeper.registry.numbering import first
from hookkeeper.registry.storage.database import RegistryUnavailable, open_engine
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.health import FILTER, AttemptResult
from hookkeeper.times import utc_now

OLD, NEW = new_key("old"), new_key("new")
KEYS = {"old": Keyring.parse(OLD), "rotated": Keyring.parse(f"{NEW},{OLD}"), "new": Keyring.parse(NEW), "none": None}
SECRETS = ("acme-host", "first-key", "second-key", "header-value", "a-template", "amount", "ann@", "T0000", "ops@")


@asynccontextmanager
async def opened(database_url: str, keys: str) -> AsyncIterator[Store]:
    store = Store.connect(database_url, KEYS[keys])
    yield store
    await store.close()


@pytest.fixture
def url(database_url: str, engine: AsyncEngine) -> str:
    """Name a database with its tables, which the stores of the tests open."""
    return database_url


@pytest.fixture
def full(make_webhook: Callable[..., Webhook]) -> Callable[..., Webhook]:
    """Make a webhook with something in every column that can hold a secret."""

    def make(webhook_id: str = "wh_1") -> Webhook:
        return make_webhook(
            webhook_id,
            url="https://acme-host.example/hook?token=1",
            secret="whsec_first-key",
            previous_secret="whsec_second-key",
            headers={"x-token": "header-value"},
            payload=Payload(static={"text": "a-template"}),
            filter="event.data.amount > 1",
            targets={
                "email": first([Email(to=("ann@a.example",), subject="Hi")]),
                "notification": first([Notification.model_validate({"service": "slack://T0000/B0000/XXXXXXXX"})]),
            },
            on_failure=OnFailure(emails=(Email(to=("ops@a.example",)),)),
        )

    return make


def suppression(reason: str = "bounced", detail: str = "") -> Suppression:
    return Suppression(tenant="acme", address="ann@a.example", reason=reason, detail=detail)


async def dump(database_url: str) -> str:
    """Return all rows of all tables as the database has them."""
    engine = open_engine(database_url)

    def read(connection: Connection) -> str:
        tables = MetaData()
        tables.reflect(connection)
        rows = (connection.execute(text(f"SELECT * FROM {name}")).all() for name in tables.tables)
        return "\n".join(str(row) for some in rows for row in some)

    async with engine.connect() as connection:
        found = await connection.run_sync(read)
    await engine.dispose()
    return found


def shown(webhook: Webhook | None) -> dict[str, Any]:
    assert webhook is not None
    return {column.key: getattr(webhook, column.key) for column in Webhook.__mapper__.column_attrs}


async def test_nothing_is_readable_in_the_database(url: str, full: Callable[..., Webhook]) -> None:
    async with opened(url, "old") as store:
        webhook = full()
        await store.webhooks.add(webhook)
        text = "no amount in ann@a.example"
        await store.health.record([AttemptResult("wh_1", "failed", utc_now(), target=FILTER, text=text)])
        kept = await store.webhooks.get("wh_1")
        assert kept is not None
        assert (kept.filter_errors, kept.filter_error, kept.failing[FILTER].text) == (1, text, text)
        assert [webhook.id for webhook in await store.webhooks.matching("acme", "order.paid")] == ["wh_1"]
        await store.suppressions.add(suppression(detail="550 ann@a.example unknown"))
    raw = await dump(url)
    assert raw.count("enc:old:") == 12
    assert not [secret for secret in SECRETS if secret in raw]


async def test_what_is_changed_is_encrypted_too(url: str, full: Callable[..., Webhook]) -> None:
    async with opened(url, "old") as store:
        await store.webhooks.add(full())
        await store.webhooks.rotate_secret("wh_1", "acme", "whsec_third-key", 60)
        changed = await store.webhooks.update(
            "wh_1", "acme", {"url": "https://acme-host.example/b", "targets": {}, "filter": None}
        )
        assert changed is not None
        kept = await store.webhooks.get("wh_1")
        assert kept is not None
        assert (kept.url, kept.targets, kept.filter) == ("https://acme-host.example/b", {}, None)
        assert (kept.secret, kept.previous_secret) == ("whsec_third-key", "whsec_first-key")
    raw = await dump(url)
    assert not [secret for secret in (*SECRETS, "third-key") if secret in raw]


async def test_plain_rows_stay_readable_and_are_encrypted_by_migrate(
    url: str, full: Callable[..., Webhook], tmp_path: Path
) -> None:
    """Setup: a registry that was filled without keys. Timeline: keys are set, then `migrate` runs, twice.
    Proves: nothing has to be migrated at once, and then nothing plain is left, not in SQLite's files either.
    """
    async with opened(url, "none") as store:
        await store.webhooks.add(full())
        await store.suppressions.add(suppression())
        assert "acme-host" in await dump(url)
        plain = shown(await store.webhooks.get("wh_1"))
    async with opened(url, "old") as store:
        assert shown(await store.webhooks.get("wh_1")) == plain
        assert not await store.suppressions.add(suppression())
        assert await store.suppressions.among("acme", ["ann@a.example"]) == {"ann@a.example"}
        assert await store.re_encrypt() == 2
        assert await store.re_encrypt() == 0
        assert shown(await store.webhooks.get("wh_1")) == plain
        assert await store.suppressions.among("acme", ["ann@a.example"]) == {"ann@a.example"}
        raw = (await dump(url)).encode() + b"".join(file.read_bytes() for file in tmp_path.glob("data/registry.db*"))
        assert not [secret for secret in SECRETS if secret.encode() in raw]


async def test_keys_are_rotated(url: str, full: Callable[..., Webhook]) -> None:
    async with opened(url, "old") as store:
        await store.webhooks.add(full())
        await store.suppressions.add(suppression())
    async with opened(url, "rotated") as store:
        assert shown(await store.webhooks.get("wh_1"))["secret"] == "whsec_first-key"
        await store.webhooks.add(full("wh_2"))
        assert "enc:new:" in await dump(url)
        assert not await store.suppressions.add(suppression("manual"))  # found by the old key's token
        assert await store.re_encrypt() == 2
    raw = await dump(url)
    assert "old:" not in raw
    async with opened(url, "new") as store:
        assert set((await store.webhooks.many(["wh_1", "wh_2"])).readable) == {"wh_1", "wh_2"}
        found = await store.suppressions.get("acme", "ann@a.example")
        assert found is not None
        assert (found.address, found.reason) == ("ann@a.example", "bounced")
        assert await store.suppressions.remove("acme", "ann@a.example")


async def test_an_address_that_old_and_new_keys_suppressed_side_by_side_is_one_again(url: str) -> None:
    for keys in ("old", "new"):
        async with opened(url, keys) as store:
            await store.suppressions.add(suppression(keys))
    async with opened(url, "rotated") as store:
        assert await store.suppressions.among("acme", ["ann@a.example"]) == {"ann@a.example"}
        assert await store.re_encrypt() == 1
        found, _ = await store.suppressions.page(tenant="acme", address="ann@a.example", limit=9, cursor=None)
        assert [suppression.reason for suppression in found] == ["new"]
        assert await store.suppressions.remove("acme", "ann@a.example")
        assert await store.suppressions.among("acme", ["ann@a.example"]) == set()


async def test_a_removed_key_is_named_and_nothing_is_overwritten(url: str, full: Callable[..., Webhook]) -> None:
    async with opened(url, "old") as store:
        await store.webhooks.add(full())
    before = await dump(url)
    for keys in ("new", "none"):
        async with opened(url, keys) as store:
            await store.ping()
            for call in (
                store.ready(),
                store.webhooks.get("wh_1"),
                store.webhooks.update("wh_1", None, {"enabled": False}),
            ):
                with pytest.raises(RegistryUnavailable, match="key old, which is not in HOOKKEEPER_ENCRYPTION_KEYS"):
                    await call
        assert await dump(url) == before
    async with opened(url, "new") as store:
        with pytest.raises(RegistryUnavailable, match="key old, which"):
            await store.re_encrypt()
    assert await dump(url) == before


async def test_a_ciphertext_opens_in_its_own_column_only(url: str, full: Callable[..., Webhook]) -> None:
    async with opened(url, "old") as store:
        await store.webhooks.add(full())
        engine = open_engine(url)
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE webhooks SET url = secret"))
        await engine.dispose()
        with pytest.raises(RegistryUnavailable, match=r"not what key old has encrypted for webhooks\.url"):
            await store.webhooks.get("wh_1")


async def test_a_text_that_looks_like_a_ciphertext_is_a_text(url: str) -> None:
    texts = ("enc:old:AAAA", "enc:", "raw:", "raw:enc:x:y", "", "ünïcode ☃")
    odd = {f"a{number}@a.example": text for number, text in enumerate(texts)}
    for keys in ("none", "old"):
        async with opened(url, keys) as store:
            for address, detail in odd.items():
                await store.suppressions.add(Suppression(tenant=keys, address=address, reason="manual", detail=detail))
    async with opened(url, "old") as store:
        await store.re_encrypt()
        for keys in ("none", "old"):
            found = {address: await store.suppressions.get(keys, address) for address in odd}
            assert {address: one and one.detail for address, one in found.items()} == odd


async def test_a_value_that_was_cut_off_is_no_crash(url: str, full: Callable[..., Webhook]) -> None:
    async with opened(url, "old") as store:
        await store.webhooks.add(full())
        for stored in ("enc:old:", "enc:old:AAA", "enc:old", "enc:old:AAAA"):
            engine = open_engine(url)
            async with engine.begin() as connection:
                await connection.execute(text("UPDATE webhooks SET url = :stored"), {"stored": stored})
            await engine.dispose()
            with pytest.raises(RegistryUnavailable, match="the registry cannot be read"):
                await store.webhooks.get("wh_1")
