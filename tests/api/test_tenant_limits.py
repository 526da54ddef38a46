"""Limits of one tenant, which do not affect another."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import email_validator
import pytest
from callers import calling, make_key
from problems import problem
from temporalio.client import Client

from hookkeeper.content import emails as content_emails
from instances import Instance, running_instance

URL = "https://acme.example/hook"


def emails(*counts: int) -> list[dict[str, Any]]:
    return [{"to": [f"a{n}@acme.example" for n in range(count)]} for count in counts]


async def test_the_addresses_of_a_webhook_are_bounded_together(idle_instance: Instance) -> None:
    """Those of `on_failure` count too, and those that a change leaves as they are."""
    path, body = "/v1/webhooks", {"tenant": idle_instance.tenant, "url": URL}
    problem(await idle_instance.http.post(path, json=body | {"emails": emails(50, 50, 1)}), 422, "emails")
    on_failure = {"emails": emails(50)}
    answer = await idle_instance.http.post(path, json=body | {"emails": emails(50, 1), "on_failure": on_failure})
    problem(answer, 422, "emails")
    made = await idle_instance.webhook(URL, emails=emails(50), on_failure=on_failure)
    problem(await idle_instance.http.patch(f"{path}/{made['id']}", json={"emails": emails(50, 1)}), 422, "emails")
    assert (await idle_instance.http.patch(f"{path}/{made['id']}", json={"emails": emails(49)})).status_code == 200
    other = await idle_instance.webhook(URL, tenant=f"{idle_instance.tenant}-other", emails=emails(50, 50))
    assert len(other["emails"]) == 2


async def test_too_many_addresses_are_refused_before_any_is_read(idle_instance: Instance) -> None:
    """None of these is an address, and the answer says only that they are too many."""
    body = {"tenant": idle_instance.tenant, "emails": [{"to": ["none"] * 50}] * 10}
    (error,) = problem(await idle_instance.http.post("/v1/webhooks", json=body), 422, "emails")["errors"]
    assert "500 addresses" in error["detail"]


async def test_an_address_is_validated_once_and_off_the_event_loop(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a webhook trusts what is stored; a preview of an unsaved one delays no other request."""
    threads: list[int] = []
    validate = email_validator.validate_email

    def counted(*given: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return validate(*given, **options)

    monkeypatch.setattr(content_emails, "validate_email", counted)
    made = await idle_instance.webhook(URL, emails=emails(50, 50))
    assert len(threads) == 100
    for _ in range(3):
        assert await idle_instance.store.webhooks.get(made["id"])
        assert (await idle_instance.http.get(f"/v1/webhooks/{made['id']}")).status_code == 200
        assert await idle_instance.store.webhooks.matching(idle_instance.tenant, "order.paid")
    assert len(threads) == 100
    unsaved = {"tenant": idle_instance.tenant, "emails": emails(10)}
    assert (await idle_instance.http.post("/v1/webhooks/preview", json={"webhook": unsaved})).status_code == 200
    assert len(threads) == 110
    assert threading.get_ident() not in threads


async def test_a_key_has_a_rate_limit_by_default(temporal: Client, tmp_path: Path) -> None:
    """A hundred requests a second, and another tenant's key has a hundred of its own."""
    async with running_instance(temporal, tmp_path) as instance:
        assert instance.settings.rate_limit == "100/second"
        first, second = [await make_key(instance, f"{instance.tenant}{n}") for n in "ab"]
        async with calling(instance.app, first["key"]) as http, calling(instance.app, second["key"]) as other:
            statuses: list[int] = []
            while 429 not in statuses:  # a busy machine makes fewer than a hundred a second
                async with asyncio.TaskGroup() as group:
                    asked = [group.create_task(http.get("/v1/webhooks")) for _ in range(150)]
                statuses = [task.result().status_code for task in asked]
            assert (await other.get("/v1/webhooks")).status_code == 200


@pytest.mark.parametrize("most", [2])
async def test_a_tenant_with_its_maximum_of_webhooks_affects_no_other(
    temporal: Client, tmp_path: Path, most: int
) -> None:
    async with running_instance(temporal, tmp_path, max_webhooks_per_tenant=most) as instance:
        for _ in range(most):
            await instance.webhook(URL)
        problem(await instance.http.post("/v1/webhooks", json={"tenant": instance.tenant, "url": URL}), 409)
        assert (await instance.webhook(URL, tenant=f"{instance.tenant}-other"))["id"]
