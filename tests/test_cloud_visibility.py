"""The table "Requests to visibility" of docs/temporal-cloud.md has the requests that are counted here."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from cloud_actions import Actions, counting
from hookkeeper.services.system.state import SystemState
from hookkeeper.temporal import diagnosis
from hookkeeper.times import utc_now
from instances import Instance, running_instance
from receivers import Receiver
from test_docs import ROOT

TABLE = (ROOT / "docs/temporal-cloud.md").read_text().split("\n## Requests to visibility\n")[1].split("\n## ")[0]
DOCUMENTED = {
    what: (int(lists), queues)
    for what, lists, queues in re.findall(r"^\| (.+?) \| (\d+) \| (\d+|some) \|", TABLE, re.MULTILINE)
}
LISTS = ("ListWorkflowExecutions", "CountWorkflowExecutions", "ListSchedules")


async def an_event(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    await instance.until_final((await instance.send(id="e1"))["id"])


async def lists(instance: Instance, _: Receiver) -> None:
    daily = {"tenant": instance.tenant, "event": {"type": "order.paid"}, "every": 86400}
    assert (await instance.http.post("/v1/schedules", json=daily)).status_code == 201
    for path in ("events", "stats", "webhooks", "schedules"):
        assert (await instance.http.get(f"/v1/{path}", params={"tenant": instance.tenant})).status_code == 200


async def an_erasure(instance: Instance, inbox: Receiver) -> None:
    await an_event(instance, inbox)
    answer = await instance.http.delete("/v1/events/e1/data", params={"tenant": instance.tenant})
    assert answer.status_code == 202, answer.text


async def recoveries(instance: Instance, _: Receiver) -> None:
    assert (await instance.http.get("/v1/recoveries")).status_code == 200


async def a_recovery(instance: Instance, _: Receiver) -> None:
    scope = {"tenant": instance.tenant, "since": "2020-01-01T00:00:00Z"}
    assert (await instance.http.post("/v1/recoveries", json=scope)).status_code == 202


async def readiness(instance: Instance, _: Receiver) -> None:
    assert (await instance.http.get("/readyz")).status_code == 200


async def metrics(instance: Instance, _: Receiver) -> None:
    await SystemState(instance.store, instance.gateway).registries()


async def doctor(instance: Instance, _: Receiver) -> None:
    await diagnosis.examine(instance.settings, utc_now, client=instance.temporal)


SHAPES: dict[str, Callable[[Instance, Receiver], Awaitable[None]]] = {
    "an event that is accepted, delivered and read": an_event,
    "`GET /v1/events`, `/v1/stats`, `/v1/webhooks`, `/v1/schedules`; `POST /v1/schedules`": lists,
    "`DELETE /v1/events/{event_id}/data`": an_erasure,
    "`GET /v1/recoveries`": recoveries,
    "`POST /v1/recoveries` of a tenant": a_recovery,
    "`GET /readyz`": readiness,
    "metrics of an API, of which the one in the first column is once a minute": metrics,
    "`hookkeeper doctor`": doctor,
}


@pytest.fixture
async def actions(temporal: Client) -> Actions:
    return await counting(temporal)


def test_the_table_has_all_requests() -> None:
    assert {*DOCUMENTED} == {*SHAPES}


@pytest.mark.parametrize("what", SHAPES)
async def test_a_request_asks_visibility_as_often_as_the_table_says(
    actions: Actions, tmp_path: Path, inbox: Receiver, what: str
) -> None:
    async with (
        running_instance(actions.client, tmp_path, heartbeat_delay=timedelta(seconds=10)) as instance,
        instance.working(),
    ):
        await instance.until_polled()
        before = actions.requests().copy()
        await SHAPES[what](instance, inbox)
        asked = actions.requests() - before
    lists, queues = DOCUMENTED[what]
    assert sum(asked[each] for each in LISTS) == lists
    assert str(asked["DescribeTaskQueue"]) == queues or queues == "some"
