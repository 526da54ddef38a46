"""Name servers that do not answer for one tenant's names, and the deliveries of others."""

from functools import partial
from pathlib import Path

import pytest
from temporalio.client import Client

from hookkeeper.egress.resolver import Lookups
from instances import running_instance
from name_servers import name_server
from receivers import Receiver


async def test_silent_name_servers_of_one_tenant_delay_and_charge_no_other(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: an event goes to 90 names that no server answers for, and their lookups last; another tenant's event is
    sent. Proves: it is delivered by its first attempt while none of the 90 has got a result.
    """
    monkeypatch.setattr("activities.wiring.Lookups", partial(Lookups, timeout=20.0, max_per_tenant=10))
    async with (
        name_server(acme_example=["127.0.0.1"]) as dns,
        running_instance(temporal, tmp_path, dns_servers=(dns.address,)) as instance,
    ):
        for number in range(90):
            await instance.webhook(f"http://h{number}.silent.example/", timeout=30)
        await instance.webhook(inbox.url.replace("127.0.0.1", "acme.example"), tenant="healthy")
        async with instance.working():
            hostile = await instance.send()
            await dns.until_unanswered(10)
            await instance.send(tenant="healthy", id="e1")
            instance.tenant, hostile_tenant = "healthy", instance.tenant
            event = await instance.until_final("e1")
            assert event["status"] == "succeeded"
            assert len(event["deliveries"][0]["attempts"]) == 1
            instance.tenant = hostile_tenant
            shown = await instance.event(hostile["id"])
            assert all(delivery["attempts"] == [] for delivery in shown["deliveries"])
            assert len(dns.unanswered) == 10
            await instance.command(hostile["id"], "cancel")


@pytest.mark.promise("docs/limits.md")
async def test_a_delivery_without_a_free_lookup_is_deferred_without_an_attempt(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: the only lookup that the tenant may have is under way for 3 s, and requests wait for 0.1 s only."""
    monkeypatch.setattr("hookkeeper.egress.request_state.SLOT_TIMEOUT", 0.1)
    monkeypatch.setattr("activities.wiring.Lookups", partial(Lookups, timeout=3.0, max_per_tenant=1))
    async with (
        name_server(acme_example=["127.0.0.1"]) as dns,
        running_instance(temporal, tmp_path, dns_servers=(dns.address,)) as instance,
    ):
        await instance.webhook("http://h.silent.example/", events=["slow.*"])
        await instance.webhook(inbox.url.replace("127.0.0.1", "acme.example"), events=["order.*"])
        async with instance.working():
            slow = await instance.send("slow.one")
            await dns.until_unanswered(1)
            quick = await instance.send("order.paid")
            event = await instance.until_final(quick["id"])
            assert event["status"] == "succeeded"
            assert len(event["deliveries"][0]["attempts"]) == 1
            await instance.command(slow["id"], "cancel")
