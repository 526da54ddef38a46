"""`ordered`, with or without a key, and `order_policy` of a webhook: set, changed, shown, refused."""

from typing import Any

import pytest
from problems import problem

from instances import Instance

URL = "https://acme.example/hook"
KEY = {"key": "event.data.customer_id"}


def shown(webhook: dict[str, Any]) -> tuple[Any, str]:
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
        ({"ordered": KEY}, {}, (KEY, "block")),
        ({"ordered": KEY}, {"order_policy": "skip"}, (KEY, "skip")),
        ({"ordered": KEY, "order_policy": "skip"}, {"ordered": True}, (True, "skip")),
        ({"ordered": True}, {"ordered": KEY}, (KEY, "block")),
        ({"ordered": KEY}, {"ordered": False}, (False, "block")),
    ],
)
async def test_a_change_sets_only_the_order_fields_that_it_has(
    idle_instance: Instance, before: dict[str, Any], changes: dict[str, Any], after: tuple[Any, str]
) -> None:
    made = await idle_instance.webhook(URL, **before)
    changed = await idle_instance.http.patch(f"/v1/webhooks/{made['id']}", json=changes)
    assert shown(changed.json()) == after
    assert shown((await idle_instance.http.get(f"/v1/webhooks/{made['id']}")).json()) == after


@pytest.mark.parametrize(
    ("given", "path", "detail"),
    [
        ({"order_policy": "skip"}, "order_policy", "requires ordered"),
        ({"ordered": False, "order_policy": "skip"}, "order_policy", "requires ordered"),
        ({"ordered": "yes"}, "ordered", "must be true, false, or an object with a key"),
        ({"ordered": True, "order_policy": "stop"}, "order_policy", "'block' or 'skip'"),
        ({"ordered": None}, "ordered", "must be true, false, or an object with a key"),
        ({"ordered": {}}, "ordered.key", "Field required"),
        ({"ordered": {"key": ""}}, "ordered.key", "at least 1 character"),
        ({"ordered": {"key": "a", "more": 1}}, "ordered.more", "is not a field"),
        ({"ordered": {"key": "event.data."}}, "ordered.key", "(line 1, column 12)"),
        ({"ordered": {"key": "event.customer"}}, "ordered.key", "an expression has event.id"),
        ({"ordered": {"key": "event.id\0"}}, "ordered.key", "NUL"),
    ],
)
async def test_bad_order_fields_are_refused(
    idle_instance: Instance, given: dict[str, Any], path: str, detail: str
) -> None:
    made = await idle_instance.webhook(URL)
    created = await idle_instance.http.post("/v1/webhooks", json={"url": URL, **given})
    changed = await idle_instance.http.patch(f"/v1/webhooks/{made['id']}", json=given)
    for answer in (created, changed):
        (error,) = problem(answer, 422)["errors"]
        assert (error["path"], detail in error["detail"]) == (path, True), error


async def test_shown_order_fields_can_be_sent_back(idle_instance: Instance) -> None:
    for given in ({}, {"ordered": True}, {"ordered": True, "order_policy": "skip"}, {"ordered": KEY}):
        made = await idle_instance.webhook(URL, **given)
        back = {"ordered": made["ordered"], "order_policy": made["order_policy"]}
        changed = await idle_instance.http.patch(f"/v1/webhooks/{made['id']}", json=back)
        assert shown(changed.json()) == shown(made)
