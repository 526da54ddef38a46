"""The sandbox bounds the calls of each tenant, so each call has to name its tenant."""

import pytest

from hookkeeper.sandbox.pool import Sandbox, Share
from instances import Instance
from receivers import Receiver


async def test_filters_and_templates_are_calls_of_their_tenant(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants: list[str] = []
    share_of = Sandbox.for_

    def recorded(self: Sandbox, tenant: str) -> Share:
        tenants.append(tenant)
        return share_of(self, tenant)

    monkeypatch.setattr(Sandbox, "for_", recorded)
    await instance.webhook(inbox.url, filter="event.data.n > 1", payload={"template": "{{ event.data.n }}"})
    to_check = len(tenants)
    event = await instance.send(data={"n": 2})
    assert (await instance.until_final(event["id"]))["status"] == "succeeded"
    assert to_check > 0
    assert len(tenants) >= to_check + 2, "the filter and the template"
    assert set(tenants) == {instance.tenant}
