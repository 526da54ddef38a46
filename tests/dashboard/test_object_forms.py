"""The forms of event types and schedules: add, change only what differs, explain what is refused, delete."""

from typing import Any

import pytest
from browsers import Form, Page, browsing
from callers import make_key
from test_portal_links import visiting

from hookkeeper.services.catalogue.event_types import NewEventType
from hookkeeper.services.field_texts import fields_of
from hookkeeper.services.schedules.fields import NewSchedule
from instances import Instance

HOSTILE = "</textarea><script>alert(1)</script>"
SCHEMA = '{"type": "object", "properties": {"order": {"type": "integer"}}}'


async def actions_of(instance: Instance, **params: str) -> list[str]:
    items = (await instance.http.get("/v1/audit", params=params)).json()["items"]
    return [entry["action"] for entry in reversed(items)]


async def test_an_event_type_is_added_changed_archived_restored_and_deleted(idle_instance: Instance) -> None:
    path, new = "/v1/event-types/order.paid", "/event-types/new"
    async with browsing(idle_instance.app) as browser:
        page = await browser.page(new)
        for field in fields_of(NewEventType).values():
            assert field.title in page.text
        fields = {"name": "order.paid", "description": f"{HOSTILE}\r\nTwo lines", "schema": SCHEMA}
        added = await browser.submit(new, new, **fields, examples='[{"order": 1}]')
        assert added.status_code == 303, Page(added.text).text
        assert "is in the catalogue" in (await browser.page(added.headers["location"])).text
        known = (await idle_instance.http.get(path)).json()
        assert (known["description"], known["examples"]) == (f"{HOSTILE}\nTwo lines", [{"order": 1}])
        edit = "/event-types/order.paid/edit"
        shown = (await browser.get(edit)).text
        assert "<script>alert" not in shown
        assert (await browser.http.post(edit, data=Form(shown, edit).fields)).status_code == 303
        assert (await idle_instance.http.get(path)).json() == known, "a form that is sent as it is changes nothing"
        assert (await browser.submit(edit, edit, **Form(shown, edit).fields | {"description": ""})).status_code == 303
        for command, archived in (("archive", True), ("restore", False)):
            answer = await browser.submit("/event-types", f"/event-types/order.paid/{command}")
            assert (await browser.get(answer.headers["location"])).status_code == 200
            assert (await idle_instance.http.get(path)).json()["archived"] is archived
        assert "/event-types/order.paid/delete" in (await browser.page("/event-types")).actions()
        assert (await browser.submit("/event-types", "/event-types/order.paid/delete")).status_code == 303
    assert (await idle_instance.http.get(path)).status_code == 404
    assert await actions_of(idle_instance) == [
        "event-type.create",
        *["event-type.update"] * 3,
        "event-type.delete",
    ]


@pytest.mark.parametrize(
    ("fields", "at", "text"),
    [
        ({"name": ""}, "name", "Field required"),
        ({"name": "no type!"}, "name", "words of letters"),
        ({"schema": "{"}, "schema", ""),
        ({"schema": '{"type": 1}'}, "schema", ""),
        ({"schema": SCHEMA, "examples": '[{"order": 1}, {"order": "x"}]'}, "examples", "entry 2/order:"),
        ({"examples": '{"order": 1}'}, "examples", "must be a list"),
    ],
)
async def test_a_refused_event_type_is_explained_and_stays_typed(
    idle_instance: Instance, fields: dict[str, str], at: str, text: str
) -> None:
    given = {"name": "order.paid", "description": "What was typed"} | fields
    async with browsing(idle_instance.app) as browser:
        answer = await browser.submit("/event-types/new", "/event-types/new", **given)
    assert answer.status_code == 422
    explained = answer.text.partition(f'id="{at}-error">')[2].partition("</p>")[0]
    assert explained
    assert text in explained
    assert Form(answer.text, "/event-types/new").fields.items() >= given.items()
    assert (await idle_instance.http.get("/v1/event-types")).json()["items"] == []


async def test_a_schedule_is_created_once_changed_and_deleted(instance: Instance) -> None:
    tenant, new = instance.tenant, "/schedules/new"
    fields = {"tenant": tenant, "event.type": "report.due", "event.data": '{"n": 1}', "cron": "0 9 * * 1\r\n0 8 * * 6"}
    async with browsing(instance.app) as browser:
        html = (await browser.get(new)).text
        for field in fields_of(NewSchedule).values():
            assert field.title in html
        form = Form(html, new).fields | fields
        first, again = [await browser.http.post(new, data=form) for _ in range(2)]
        assert first.status_code == 303, Page(first.text).text
        assert again.headers["location"].endswith("done=again")
        (known,) = (await instance.http.get("/v1/schedules", params={"tenant": tenant})).json()["items"]
        assert (known["cron"], known["type"]) == (["0 9 * * 1", "0 8 * * 6"], "report.due")
        edit = f"/schedules/{known['id']}/edit?tenant={tenant}"
        shown = Form((await browser.get(edit)).text, edit).fields
        assert (await browser.http.post(edit, data=shown)).status_code == 303
        refused = await browser.http.post(edit, data=shown | {"every": "1h"})
        assert refused.status_code == 422
        assert "not both" in refused.text.partition('id="every-error">')[2].partition("</p>")[0]
        changed = await browser.http.post(edit, data=shown | {"every": "1h", "cron": "", "name": HOSTILE})
        assert changed.status_code == 303, Page(changed.text).text
        page = await browser.get(changed.headers["location"])
        assert "<script>alert" not in page.text
        assert "The schedule was changed" in page.text
        path = f"/v1/schedules/{known['id']}"
        now = (await instance.http.get(path, params={"tenant": tenant})).json()
        assert (now["every"], now["cron"], now["event"]["data"]) == (3600, None, {"n": 1})
        assert (
            await browser.submit("/schedules", f"/schedules/{known['id']}/delete?tenant={tenant}")
        ).status_code == 303
        assert (await instance.http.get(path, params={"tenant": tenant})).status_code == 404
    assert await actions_of(instance, tenant=tenant) == ["schedule.create", "schedule.update", "schedule.delete"]


async def test_a_refused_schedule_is_explained_and_stays_typed(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    given = {"event.type": "no type!", "cron": "0 9 * * 1\r\nnever", "timezone": "Nowhere", "name": "Typed"}
    async with browsing(instance.app, key["key"]) as browser:
        assert "tenant" not in Form((await browser.get("/schedules/new")).text, "/schedules/new").fields
        answer = await browser.submit("/schedules/new", "/schedules/new", **given)
        assert answer.status_code == 422
        for at, text in {"event.type": "words of letters", "cron": "entry 2:", "timezone": ""}.items():
            explained = answer.text.partition(f'id="{at}-error">')[2].partition("</p>")[0]
            assert explained, at
            assert text in explained
        kept: dict[str, Any] = Form(answer.text, "/schedules/new").fields
        assert {name: kept[name].replace("\r\n", "\n") for name in given} == {
            name: text.replace("\r\n", "\n") for name, text in given.items()
        }
        theirs = await browser.submit(
            "/schedules/new", "/schedules/new", **{"event.type": "a.b", "every": "1h", "tenant": "x"}
        )
        assert theirs.status_code == 403


async def test_the_portal_pauses_schedules_and_makes_none(instance: Instance) -> None:
    async with visiting(instance, capabilities=["redeliver"], pages=["schedules"]) as (browser, _):
        page = await browser.page("/schedules")
        assert "/schedules/new" not in page.links()
        assert (await browser.get("/schedules/new")).status_code == 403
        answer = await browser.submit("/schedules", "/schedules/new", **{"event.type": "a.b", "every": "1h"})
        assert answer.status_code == 403
    assert (await instance.http.get("/v1/schedules", params={"tenant": instance.tenant})).json()["items"] == []
