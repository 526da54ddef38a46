"""`ordered` and `order_policy` of a webhook: set, changed, shown, refused."""

from typing import Any

import pytest
from problems import problem

from instances import Instance

URL = "https://acme.example/hook"


def shown(webhook: dict[str, Any]) -> tuple[bool, str]:
    return webhook["ordered"], webhook["order_policy"]


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ({}, {}, (False, "block")),
        ({"ordered": True}, {}, (True, "block")),
        ({"ordered": True, "order_policy": "skip"}, {}, (True, "skip")),
        ({"ordered": True, "order_policy": "skip"}, {"ordered": True}, (True, "skip")),
        ({"ordered": True, "order_policy": "skip"}, {"order_policy": "block"}, (True, "block")),
        ({"ordered": True}, {"order_policy": "skip"}, (True, "skip")),
        ({"ordered": True, "order_policy": "skip"}, {"ordered": False}, (False, "block")),
        ({"order_policy": "block"}, {"ordered": True, "order_policy": "skip"}, (True, "skip")),
        ({"ordered": True, "order_policy": "skip"}, {"name": "other"}, (True, "skip")),
    ],
)
async def test_a_change_sets_only_the_order_fields_that_it_has(
    idle_instance: Instance, before: dict[str, Any], changes: dict[str, Any], after: tuple[bool, str]
) -> None:
    made = await idle_instance.webhook(URL, **before)
    changed = await idle_instance.http.patch(f"/v1/webhooks/{made['id']}", json=changes)
    assert shown(changed.json()) == after
    assert shown((await idle_instance.http.get(f"/v1/webhooks/{made['id']}")).json()) == after


@pytest.mark.parametrize(
    "given",
    [
        {"order_policy": "skip"},
        {"ordered": False, "order_policy": "skip"},
        {"ordered": "yes"},
        {"ordered": True, "order_policy": "stop"},
        {"ordered": None},
    ],
)
async def test_contradictory_order_fields_are_refused(idle_instance: Instance, given: dict[str, Any]) -> None:
    made = await idle_instance.webhook(URL)
    created = await idle_instance.http.post("/v1/webhooks", json={"url": URL, **given})
    changed = await idle_instance.http.patch(f"/v1/webhooks/{made['id']}", json=given)
    for answer in (created, changed):
        assert problem(answer, 422)["errors"][0]["path"] in ("ordered", "order_policy")


async def test_shown_order_fields_can_be_sent_back(idle_instance: Instance) -> None:
    for given in ({}, {"ordered": True}, {"ordered": True, "order_policy": "skip"}):
        made = await idle_instance.webhook(URL, **given)
        back = {"ordered": made["ordered"], "order_policy": made["order_policy"]}
        changed = await idle_instance.http.patch(f"/v1/webhooks/{made['id']}", json=back)
        assert shown(changed.json()) == shown(made)
