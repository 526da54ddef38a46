"""Schemas and data whose validation is too costly: refused with a reason, and others are not delayed."""

import asyncio
from typing import Any

import pytest
from problems import problem

from instances import Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

ROOT = {"$ref": "#"}
COSTLY = {"anyOf": [{"type": "object", "properties": {"a": ROOT}, "required": [name]} for name in "bc"]}


def nested(depth: int) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(depth):
        data = {"a": data}
    return data


DOUBLINGS = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
NEVER_DONE = {"$ref": "#/$defs/d0", "$defs": {**DOUBLINGS, "d60": {"not": {"const": 1}}}}
"""2^60 subschemas for any value."""


async def test_a_schema_that_no_value_can_be_validated_with_is_refused_when_saved(idle_instance: Instance) -> None:
    new = {"name": "order.paid", "schema": NEVER_DONE}
    document = problem(await idle_instance.http.post("/v1/event-types", json=new), 422)
    assert [error["path"] for error in document["errors"]] == ["schema"]
    assert "ms of CPU time" in document["errors"][0]["detail"]
    created = await idle_instance.http.post("/v1/event-types", json={"name": "order.paid"})
    assert created.status_code == 201
    changed = await idle_instance.http.patch("/v1/event-types/order.paid", json={"schema": NEVER_DONE})
    assert [error["path"] for error in problem(changed, 422)["errors"]] == ["schema"]


async def test_an_example_that_is_costly_to_validate_is_refused_when_saved(idle_instance: Instance) -> None:
    new = {"name": "order.paid", "schema": COSTLY, "examples": [{"b": 1}, nested(25)]}
    document = problem(await idle_instance.http.post("/v1/event-types", json=new), 422)
    assert [error["path"] for error in document["errors"]] == ["examples.1"]
    assert "ms of CPU time" in document["errors"][0]["detail"]


async def test_events_that_are_costly_to_validate_are_refused_and_delay_no_other_tenant(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """One of them, 202 bytes, held the API's event loop until it was killed."""
    saved = await idle_instance.http.post("/v1/event-types", json={"name": "a.costly", "schema": COSTLY})
    assert saved.status_code == 201
    await idle_instance.webhook(inbox.url)

    async def post(type_: str, tenant: str, data: Any) -> Any:
        return await idle_instance.http.post("/v1/events", json={"type": type_, "tenant": tenant, "data": data})

    attack = [asyncio.create_task(post("a.costly", "attacker", nested(25))) for _ in range(8)]
    fine = [await post("order.paid", idle_instance.tenant, {"n": n}) for n in range(5)]
    fine += [await post("a.costly", idle_instance.tenant, {"b": 1})]
    assert [answer.status_code for answer in fine] == [202] * 6
    assert (await idle_instance.http.get("/healthz")).status_code == 200
    answers = await asyncio.gather(*attack)
    async with asyncio.timeout(WAIT_TIMEOUT):  # on a busy machine, some are not checked in time
        while (resting := await post("a.costly", "attacker", nested(25))).status_code != 429:
            answers.append(resting)
    refused = [answer for answer in answers if answer.status_code == 422]
    assert len(refused) >= 3
    for answer in refused:
        (error,) = problem(answer, 422)["errors"]
        assert error["path"] == "data"
        assert "ms of CPU time" in error["detail"]
    assert "was too costly 3 times in a row" in problem(resting, 429)["detail"]
    assert resting.headers["retry-after"] == "60"
    assert (await post("order.paid", "attacker", nested(25))).status_code == 202
    assert (await post("a.costly", idle_instance.tenant, {"b": 2})).status_code == 202


@pytest.mark.promise("docs/filters.md")
async def test_a_costly_filter_does_not_affect_other_filters(idle_instance: Instance, inbox: Receiver) -> None:
    bomb = "['aaaaaaaa']" + ".map(x, x+x+x+x+x+x+x+x)" * 12 + "[0].size() > 0"
    filters = ["event.data.n == 1", bomb, "event.data.n == 2", bomb, "event.data.n == 1 || false"]
    hooks = [(await idle_instance.webhook(inbox.url, filter=expression))["id"] for expression in filters]
    accepted = await idle_instance.send(data={"n": 1})
    assert {delivery["webhook_id"] for delivery in accepted["deliveries"]} == {hooks[0], hooks[4]}
    for hook in (hooks[1], hooks[3]):
        shown = (await idle_instance.http.get(f"/v1/webhooks/{hook}")).json()
        assert shown["filter_errors"], "the webhook says that its filter failed"
