"""Lists as files: the same filters and rows as the list, no formulas, bounds, and what a file says that ends early."""

import csv
import io
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from browsers import browsing
from callers import make_key
from test_portal_links import visiting
from test_stats_api import report

from dashboard import exports
from dashboard.exports import JSON, MAX_ROWS, ROWS_AT_ONCE, Page
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.times import utc_now
from instances import Instance
from reports import changed

FORMULA = '=HYPERLINK("https://evil.example";"Click")'


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


async def add_events(instance: Instance, count: int) -> None:
    now = utc_now()
    reports = [report(instance.tenant, f"evt_{n:04}", "http_500", status="failed") for n in range(count)]
    await instance.store.rows.write(
        [changed(each, accepted_at=now - timedelta(seconds=n)) for n, each in enumerate(reports)]
    )


async def test_events_are_exported_with_the_filter_of_their_list(instance: Instance) -> None:
    count = ROWS_AT_ONCE + 20
    await add_events(instance, count)
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        links = (await browser.page("/events?delivery_status=failed")).links()
        assert {"/events/export.csv?delivery_status=failed", "/events/export.json?delivery_status=failed"} <= links
        answer = await browser.get("/events/export.csv?delivery_status=failed")
        assert answer.headers["content-disposition"] == 'attachment; filename="events.csv"'
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        rows = rows_of(answer.text)
        assert [row["id"] for row in rows] == [f"evt_{n:04}" for n in range(count)]
        assert {(row["latest.status"], row["latest.error"], row["tenant"]) for row in rows} == {
            ("failed", "http_500", instance.tenant)
        }
        assert rows_of((await browser.get("/events/export.csv?delivery_status=succeeded")).text) == []
        found = (await browser.get("/events/export.json")).json()
        assert (len(found["items"]), found["cut_off"]) == (count, None)
        listed = (await instance.http.get("/v1/events", params={"tenant": instance.tenant})).json()
        assert found["items"][0].keys() == listed["items"][0].keys()
        assert (await browser.get("/events/export.csv?status=nowhere")).status_code == 422
        assert (await browser.get("/events/export.xls")).status_code == 422


async def test_webhooks_and_the_audit_log_are_exported_without_formulas_and_secrets(instance: Instance) -> None:
    webhook = await instance.webhook("https://shop.example/", name=FORMULA, headers={"x-key": "s3cret"})
    await instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")
    owner = f"?tenant={instance.tenant}"
    async with browsing(instance.app) as browser:
        (row,) = rows_of((await browser.get(f"/webhooks/export.csv{owner}&status=paused")).text)
        assert (row["id"], row["name"], row["health.status"]) == (webhook["id"], f"'{FORMULA}", "paused")
        found = await browser.get(f"/webhooks/export.json{owner}")
        assert found.json()["items"][0]["name"] == FORMULA, "JSON has no formulas"
        assert "s3cret" not in found.text
        assert webhook["secret"] not in found.text
        log = rows_of((await browser.get(f"/audit/export.csv{owner}")).text)
        assert [entry["action"] for entry in log] == ["webhook.pause", "webhook.create"]
        deliveries = await browser.get(f"/webhooks/{webhook['id']}/deliveries/export.csv")
        assert rows_of(deliveries.text) == []
        assert deliveries.text.startswith("event_id,")


@pytest.mark.promise("docs/dashboard.md")
async def test_a_customer_exports_only_what_is_theirs(instance: Instance) -> None:
    await add_events(instance, 3)
    async with visiting(instance, tenant=f"{instance.tenant}-other") as (browser, _):
        assert rows_of((await browser.get("/events/export.csv")).text) == []
        assert (await browser.get(f"/events/export.csv?tenant={instance.tenant}")).status_code == 403
        assert (await browser.get("/audit/export.csv")).status_code == 403


async def test_a_tenant_exports_two_lists_at_once_and_another_one_too(instance: Instance) -> None:
    limit = instance.app.state.api.exports
    busy, other = await make_key(instance, "busy"), await make_key(instance, "other")
    async with browsing(instance.app, busy["key"]) as busy_one, browsing(instance.app, other["key"]) as calm:
        while limit.acquire_now("busy"):
            pass
        held = limit.held("busy")
        refused = await busy_one.get("/events/export.csv")
        assert (held, refused.status_code) == (2, 429)
        assert (await calm.get("/events/export.csv")).status_code == 200
        limit.release("busy", held)
        assert (await busy_one.get("/events/export.csv")).status_code == 200
    assert limit.held("busy") == limit.held("other") == 0


async def written(read: Callable[[str | None], Awaitable[Page]], kind: str = "csv") -> str:
    format_ = JSON if kind == "json" else exports._csv(("id",))
    return "".join([part async for part in exports._parts(format_, await read(None), read)])


async def endless(_: str | None) -> Page:
    return [{"id": "e"}] * ROWS_AT_ONCE, "more"


async def test_a_file_that_is_cut_off_says_so_in_its_last_line() -> None:
    lines = (await written(endless)).splitlines()
    assert len(lines) == 1 + MAX_ROWS + 1
    assert "Narrow the filter" in lines[-1]
    assert '"cut_off": "The list goes on after these' in await written(endless, "json")


async def test_a_file_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_SECONDS", 0.0)
    assert len((await written(endless)).splitlines()) == 1 + ROWS_AT_ONCE + 1


async def test_a_file_whose_rows_cannot_be_read_further_says_so() -> None:
    async def failing(cursor: str | None) -> Page:
        if cursor:
            raise RegistryUnavailable("gone")
        return await endless(cursor)

    lines = (await written(failing)).splitlines()
    assert len(lines) == 1 + ROWS_AT_ONCE + 1
    assert "could not be read further" in lines[-1]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        *((f"{sign}1+1", f"'{sign}1+1") for sign in "\uff1d\uff0b\uff0d\uff20"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("a=1", "a=1"),
        (["=a", "b"], "'=a b"),
        (-5, "-5"),
        (None, ""),
        (True, "true"),
        ({"fields": ["url"]}, '{"fields": ["url"]}'),
    ],
)
def test_a_cell_is_never_a_formula(value: object, cell: str) -> None:
    assert exports._cell(value) == cell
