"""The rate of a tenant's changes: each of them has an entry in the audit log."""

from pathlib import Path
from typing import Any

import pytest
from browsers import browsing
from callers import calling, make_key
from problems import problem
from temporalio.client import Client
from test_portal_links import visiting

from instances import Instance, running_instance


@pytest.fixture
async def limited(temporal: Client, tmp_path: Path) -> Any:
    """An instance where a tenant may make five changes a day."""
    async with running_instance(temporal, tmp_path, change_rate_limit="5/day") as built:
        yield built


@pytest.mark.promise("docs/limits.md")
async def test_changes_of_a_tenant_have_a_rate_and_those_of_another_do_not_count(limited: Instance) -> None:
    """Changes of all keys and sessions of a tenant count together; what is no change does not."""
    hook = (await limited.webhook("https://acme.example/hook"))["id"]
    one, two = [await make_key(limited, limited.tenant) for _ in range(2)]
    other = await make_key(limited, "other")
    async with calling(limited.app, one["key"]) as first, calling(limited.app, two["key"]) as second:
        for number in range(4):
            http = (first, second)[number % 2]
            assert (await http.patch(f"/v1/webhooks/{hook}", json={"description": f"{number}"})).status_code == 200
        for _ in range(6):
            assert (await first.get(f"/v1/webhooks/{hook}")).status_code == 200
            assert (await first.post("/v1/events", json={"type": "order.paid"})).status_code == 202
            assert (await first.post("/v1/webhooks/preview", json={"webhook_id": hook})).status_code == 200
        async with visiting(limited, capabilities=["view", "manage_webhooks"]) as (portal, _):
            assert (await portal.submit(f"/webhooks/{hook}", f"/webhooks/{hook}/pause")).status_code == 303
            assert (await portal.submit(f"/webhooks/{hook}", f"/webhooks/{hook}/resume")).status_code == 429
        refused = await second.post("/v1/webhooks", json={"url": "https://acme.example/hook"})
        assert problem(refused, 429)["detail"] == "The tenant may make 5 changes a day."
        assert int(refused.headers["retry-after"]) > 0
        problem(await first.post("/v1/events/nothing/retry"), 429)
        async with browsing(limited.app, one["key"]) as browser:
            assert (await browser.submit(f"/webhooks/{hook}", f"/webhooks/{hook}/delete")).status_code == 429
    async with calling(limited.app, other["key"]) as http:
        assert (await http.post("/v1/webhooks", json={"url": "https://acme.example/hook"})).status_code == 201
    assert (await limited.http.patch(f"/v1/webhooks/{hook}", json={"description": "operator"})).status_code == 200
