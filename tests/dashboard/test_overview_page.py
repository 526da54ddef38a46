"""The overview: whether all is well, what is wrong, what has been counted, what runs. And the limits of a tenant."""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import NamedTuple, get_args

import httpx
import pytest
from browsers import Browser, Page, browsing, needing_attention
from callers import make_key
from sockets import serving
from temporalio.client import Client
from test_stats_api import report
from test_unavailable import KillableTemporal

from dashboard.overview import Clause, Number, Verdict, Wrong, clauses_of
from hookkeeper.messages.event import Delivery
from hookkeeper.registry.events import statistics
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.health import AttemptResult
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.times import utc_now
from instance_parts import new_app
from instances import Instance, running_instance
from temporal_processes import free_ports
from timeouts import WAIT_TIMEOUT

URL = "http://127.0.0.1:9000/"


class Sentence(NamedTuple):
    tone: str
    text: str
    links: list[str]


async def sentence(browser: Browser, path: str = "/") -> Sentence:
    """Return the sentence with which the overview begins."""
    answer = await browser.get(path)
    found = re.search(r'<p class="verdict banner (\w+)">(.*?)</p>', answer.text, re.DOTALL)
    assert found, answer.text
    text = " ".join(re.sub("<[^>]+>", "", found[2]).split())
    return Sentence(found[1], unescape(text), [unescape(link) for link in re.findall('href="([^"]+)"', found[2])])


async def wait_for_webhook(
    instance: Instance, webhook_id: str, event_id: str, status: DeliveryStatus, tenant: str | None = None
) -> None:
    """Write an event whose delivery to the webhook has this status."""
    delivery = Delivery(
        id=webhook_id, webhook_id=webhook_id, status=status, next_attempt_at=utc_now() + timedelta(minutes=9)
    )
    written = needing_attention(report(tenant or instance.tenant, event_id, status=status))
    await instance.store.rows.write([written._replace(deliveries=(delivery,))])


async def fail(instance: Instance, webhook_id: str, times: int = 1) -> None:
    """Record failed attempts of the URL of a webhook."""
    for _ in range(times):
        result = AttemptResult(
            webhook_id,
            "failed",
            utc_now(),
            status_code=503,
            error="http_503",
            text="<b>no database</b>",
            event_id="evt_failed_0",
        )
        await instance.store.health.record([result])


@pytest.mark.parametrize(
    ("numbers", "named", "tone"),
    [
        ({}, [], "good"),
        ({"failing": Number(2), "held": Number(181)}, ["failing", "held"], "bad"),
        ({"disabled": Number(1)}, ["disabled"], "bad"),
        ({"failed": Number(1)}, ["failed"], "bad"),
        ({"degraded": Number(1), "retrying": Number(1)}, ["degraded", "retrying"], "wait"),
        ({"paused": Number(1), "held": Number(20_000, is_least=True)}, ["paused", "held"], "wait"),
    ],
)
def test_the_sentence_names_what_is_wrong_and_is_green_only_if_nothing_is(
    numbers: Mapping[Wrong, Number], named: list[Wrong], tone: str
) -> None:
    nothing: dict[Wrong, Number] = dict.fromkeys(get_args(Wrong), Number(0))
    clauses = clauses_of({**nothing, **numbers}, None)
    assert [clause.what for clause in clauses] == named
    assert [(clause.number, clause.is_least) for clause in clauses] == [*numbers.values()]
    assert Verdict(True, clauses, healthy=3, new=0).tone == tone
    assert Verdict(False, clauses, healthy=3, new=0).tone == "bad", "it is never green beside a part that does not run"


def test_nothing_is_green_before_a_webhook_has_worked() -> None:
    assert Verdict(True, [], healthy=0, new=2).tone == "unknown"
    assert Verdict(True, [], healthy=3, new=0, late=61.0).tone == "wait"
    assert clauses_of({**dict.fromkeys(get_args(Wrong), Number(0)), "held": Number(1)}, "acme") == [
        Clause("held", 1, False, "/events?delivery_status=held&tenant=acme")
    ]


@pytest.mark.promise("docs/dashboard.md")
async def test_the_overview_begins_with_what_is_wrong(instance: Instance) -> None:
    """Timeline: nothing yet; a healthy webhook; one that begins to fail, and fails; another stops; events wait.

    Proves: each part of the sentence leads to a list with what it counts, and it is green only if all is well.
    """
    tenant, store = instance.tenant, instance.store
    key = await make_key(instance, tenant)
    async with browsing(instance.app, key["key"]) as browser:
        assert await sentence(browser) == ("unknown", "No event has been sent yet.", [])
        works, fails, paused = [(await instance.webhook(URL, name=name))["id"] for name in ("Works", "Fails", "Paused")]
        await store.rows.write([report(tenant, "evt_1", None)])
        assert await sentence(browser) == ("unknown", "No webhook has had an event yet.", [])
        for webhook in (works, paused):
            await store.health.record([AttemptResult(webhook, "succeeded", utc_now())])
        assert await sentence(browser) == (
            "good",
            "All is well: 2 webhooks are healthy, 1 has had no event yet.",
            [],
        )
        await fail(instance, fails)
        tone, text, _ = await sentence(browser)
        assert (tone, text) == ("wait", "1 webhook has just begun to fail.")
        await fail(instance, fails, times=4)
        await instance.http.post(f"/v1/webhooks/{paused}/pause")
        await fail(instance, paused)
        statuses: list[DeliveryStatus] = ["failed", "retrying", "retrying", "held"]
        for n, status in enumerate(statuses):
            webhook = paused if status == "held" else fails
            await wait_for_webhook(instance, webhook, f"evt_{status}_{n}", status)
        tone, text, links = await sentence(browser)
        assert (tone, text) == (
            "bad",
            "1 webhook is failing, 1 is paused, 1 event has failed, 2 deliveries are retrying, 1 delivery is held.",
        )
        for link, shown in zip(links, (fails, paused, "evt_failed_0", "evt_retrying_2", "evt_held_3"), strict=True):
            listed = (await browser.page(link)).links()
            assert any(shown in each for each in listed), link
            assert not any("evt_1?" in each or works in each for each in listed), link
        page = await browser.page("/")
        text = cells(page)
        assert re.search(
            r"failing since [-0-9: ]{19} 503 5 failures ?The receiver's proxy cannot reach it: "
            r"503 Service Unavailable: <b>no database</b>Its latest event 2 ?at 20",
            text,
        )
        assert f"/events/evt_failed_0?tenant={tenant}" in page.links()
        assert re.search(
            r"Paused. paused since [-0-9: ]{19} 503 1 failure ?The receiver.* Unavailable: "
            r"<b>no database</b>Its latest event 1 ",
            text,
        ), text
        await instance.http.patch(f"/v1/webhooks/{paused}", json={"enabled": False})
        assert "1 webhook is failing, 1 is disabled, 1 event" in (await sentence(browser)).text
    async with browsing(instance.app) as browser:
        tone, _, links = await sentence(browser, f"/?tenant={tenant}")
        assert (tone, {f"tenant={tenant}" in link for link in links}) == ("bad", {True})


@pytest.mark.promise("docs/dashboard.md")
async def test_the_sentence_is_never_green_while_a_part_does_not_run(idle_instance: Instance) -> None:
    """Setup: no worker. A customer reads no operator's words."""
    webhook = await idle_instance.webhook(URL)
    await idle_instance.store.health.record([AttemptResult(webhook["id"], "succeeded", utc_now())])
    await idle_instance.store.rows.write([report(idle_instance.tenant, "evt_1", None)])
    async with browsing(idle_instance.app) as browser:
        tone, text, _ = await sentence(browser)
        assert tone == "bad"
        assert text.startswith("Not all parts of Hookkeeper run.")
        html = (await browser.get("/")).text
        assert html.index("events are accepted and wait") < html.index("Not all parts")
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        tone, text, _ = await sentence(browser)
        assert tone == "bad"
        assert text.startswith("Deliveries are late at the moment.")
        assert "Workers" not in (await browser.get("/")).text


async def test_numbers_and_bars_lead_to_the_events_behind_them(instance: Instance) -> None:
    tenant = instance.tenant
    await instance.store.rows.write(
        [
            report(tenant, "evt_good", None),
            report(tenant, "evt_late", "http_500", None),
            needing_attention(report(tenant, "evt_bad", "http_400", status="failed")),
            needing_attention(report("someone-else", "evt_theirs", "http_400", status="failed")),
        ]
    )
    async with browsing(instance.app) as browser:
        for path, ranges in (
            (f"/?tenant={tenant}", {f"/?range={name}&tenant={tenant}" for name in ("1h", "7d", "30d")}),
            (f"/?tenant={tenant}&range=1h", {f"/?tenant={tenant}"}),
        ):
            links = (await browser.page(path)).links()
            assert ranges <= links
            all_, bad = sorted((link for link in links if "until=" in link), key=lambda link: "failed" in link)
            assert await listed(browser, all_) == {"evt_good", "evt_late", "evt_bad"}
            assert await listed(browser, bad) == {"evt_bad"}
            (repeated,) = [link for link in links if "min_attempts=" in link]
            assert await listed(browser, repeated) == {"evt_late"}


async def listed(browser: Browser, path: str) -> set[str]:
    """Return the ids of the events in a list."""
    links = (await browser.page(path)).links()
    return {match[1] for link in links if (match := re.match(r"/events/(evt_\w+)", link))}


async def test_times_are_in_utc_without_scripts(idle_instance: Instance) -> None:
    bad = needing_attention(report(idle_instance.tenant, "evt_bad", "http_400", status="failed"))
    await idle_instance.store.rows.write([bad])
    async with browsing(idle_instance.app) as browser:
        text = cells(await browser.page("/"))
        assert "Times in UTC" in text
        assert f"{bad.event.accepted_at:%Y-%m-%d %H:%M:%S}" in text


async def test_the_last_day_is_counted(idle_instance: Instance) -> None:
    tenant = idle_instance.tenant
    await idle_instance.store.rows.write(
        [
            *(report(tenant, f"evt_{n}", None) for n in range(8)),
            report(tenant, "evt_8", "http_500", None),
            needing_attention(report(tenant, "evt_bad", "http_400", status="failed")),
            needing_attention(report(tenant, "evt_wait", "timeout", status="retrying")),
            needing_attention(report("someone-else", "evt_theirs", "http_400", status="failed")),
        ]
    )
    key = await make_key(idle_instance, tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        page = await browser.page("/")
        text = " ".join(page.text.split())
        assert "evt_bad" in text, "events of one type are told apart"
        assert "Events 11" in text.replace("Events11", "Events 11")
        assert len(re.findall(r"\b(?:00|04|08|12|16|20):00(?!:)", text)) >= 5, "the chart names hours"
        for shown in ("81.8 %", "9 succeeded", "3 failed", "evt_bad"):
            assert shown in text or any(shown in link for link in page.links()), shown
        assert "someone-else" not in text
        assert not any("evt_theirs" in link for link in page.links())
        assert "Temporal" not in text, "what runs is for the operator"
        assert not any(link.startswith("/events/evt_wait") for link in page.links()), "it may succeed next time"
    async with browsing(idle_instance.app) as browser:
        assert any("evt_theirs" in link for link in (await browser.page("/")).links())
        assert not any("evt_theirs" in link for link in (await browser.page(f"/?tenant={tenant}")).links())


async def test_an_empty_product_shows_the_first_steps(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app, key["key"]) as browser:
        text = (await browser.page("/")).text
        assert "First steps" in text
        assert "curl -s http://127.0.0.1:8080/v1/webhooks" in text
        await idle_instance.store.rows.write([report(idle_instance.tenant, "evt_1", None)])
        assert "First steps" not in (await browser.page("/")).text


@pytest.mark.promise("docs/dashboard.md")
async def test_a_worker_that_does_not_run_is_named(idle_instance: Instance) -> None:
    async with browsing(idle_instance.app) as browser:
        assert "events are accepted and wait" in (await browser.page("/")).text
        async with idle_instance.working():
            async with asyncio.timeout(WAIT_TIMEOUT):
                while "events are accepted and wait" in (text := (await browser.page("/")).text):
                    await asyncio.sleep(0.1)
    assert "Workers run" in text


async def test_a_key_for_webhooks_only_has_their_list(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant, scopes=["webhooks:read"])
    async with browsing(instance.app, key["key"]) as browser:
        assert (await browser.get("/")).headers["location"] == "/webhooks"
        page = await browser.page("/webhooks")
    assert {"/events"} & page.links() == set()


async def test_the_overview_shows_all_else_if_counters_are_too_many(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = idle_instance.tenant
    await idle_instance.store.rows.write([needing_attention(report(tenant, "evt_bad", "http_400", status="failed"))])
    webhook = await idle_instance.webhook("https://acme.example/hook")
    monkeypatch.setattr(statistics, "MAX_ROWS", -1)
    async with browsing(idle_instance.app) as browser:
        page = await browser.page("/")
        assert "too many counters to add up for all tenants together" in page.text
        assert {"/limits", f"/events/evt_bad?tenant={tenant}"} <= page.links()
        assert (await sentence(browser)).text.endswith("1 event has failed.")
        for path in (
            f"/?tenant={tenant}",
            "/webhooks",
            f"/webhooks/{webhook['id']}",
            f"/limits?tenant={tenant}",
            "/limits",
        ):
            page = await browser.page(path)
            assert path == "/limits" or "There are too many counters to add up" in page.text, path


def cells(page: Page) -> str:
    """Return the text of a page, with single spaces."""
    return re.sub(r"\s+", " ", page.text)


async def test_a_tenant_sees_what_it_has_and_may_have(temporal: Client, tmp_path: Path) -> None:
    limits = {"max_webhooks_per_tenant": 2, "max_schedules_per_tenant": 3}
    async with running_instance(temporal, tmp_path, **limits) as instance:
        tenant = instance.tenant
        for _ in range(2):
            await instance.webhook(URL)
        await instance.webhook(URL, tenant="other")
        body = {"tenant": tenant, "event": {"type": "report.due"}, "every": 86_400 * 300}
        schedule = (await instance.http.post("/v1/schedules", json=body)).json()["id"]
        await instance.http.post("/v1/portal-links", json={"tenant": tenant})
        await instance.store.rows.write([report(tenant, "evt_1", "http_503", status="retrying")])
        key = await make_key(instance, tenant)
        async with browsing(instance.app, key["key"]) as browser:
            page = cells(await browser.page("/limits"))
            for text in (
                "Webhooks 2 at the limit 2",
                "Schedules 1 3",
                "sessions of the portal 1 200",
                "last 24 hours 1 none",
                "retry now 1 none",
                "counted in this one 1 8",
                "96 MiB",
            ):
                assert text in page, text
            assert (await browser.get("/limits?tenant=other")).status_code == 403
        await instance.http.delete(f"/v1/schedules/{schedule}", params={"tenant": tenant})


async def test_a_tenant_sees_its_streams(temporal: Client, tmp_path: Path) -> None:
    """Setup: a stream of a tenant, and one of another tenant, which does not count."""
    async with running_instance(temporal, tmp_path) as instance:
        mine, other = [(await make_key(instance, tenant))["key"] for tenant in (instance.tenant, "other")]
        async with browsing(instance.app, mine) as browser:
            none = cells(await browser.page("/limits"))
            async with (
                serving(instance.app) as server,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=WAIT_TIMEOUT) as http,
                http.stream("GET", "/v1/events/stream", headers={"authorization": f"Bearer {other}"}),
                http.stream("GET", "/v1/events/stream", headers={"authorization": f"Bearer {mine}"}),
            ):
                one = cells(await browser.page("/limits"))
                async with http.stream("GET", "/v1/events/stream", headers={"authorization": f"Bearer {mine}"}):
                    two = cells(await browser.page("/limits"))
    for number, page in enumerate((none, one, two)):
        assert re.search(rf"Streams of events[^0-9]* {number} 10", page), page


async def test_a_key_sees_what_its_scopes_show(instance: Instance) -> None:
    for scopes, shown, hidden in (
        (["webhooks:read"], "Webhooks 0", "Schedules"),
        (["webhooks:read"], "Webhooks 0", "Streams"),
        (["events:read"], "Schedules 0", "Webhooks 0"),
    ):
        key = await make_key(instance, instance.tenant, scopes=scopes)
        async with browsing(instance.app, key["key"]) as browser:
            page = cells(await browser.page("/limits"))
        assert (shown in page, hidden in page) == (True, False)
        assert "of the portal" not in page


async def test_the_operator_sees_the_tenants(instance: Instance) -> None:
    for n in range(52):
        await instance.webhook(URL, tenant=f"tenant-{n:02}")
    await instance.webhook(URL, tenant="tenant-00")
    await instance.store.rows.write([report("tenant-00", "evt_1", "http_503", status="retrying")])
    async with browsing(instance.app) as browser:
        first = await browser.page("/limits")
        assert ("tenant-51" in first.text, "tenant-02" in first.text, "tenant-01" in first.text) == (True, True, False)
        (following,) = [link for link in first.links() if "cursor=" in link]
        second = await browser.page(following)
        assert "tenant-00 2 1 0 % 1 0" in cells(second)
        assert "/limits?tenant=tenant-00" in second.links()
        assert "Webhooks 2" in cells(await browser.page("/limits?tenant=tenant-00"))
    key = await make_key(instance, None, scopes=["events:read"])
    async with browsing(instance.app, key["key"]) as browser:
        assert "tenant-51 – 0" in cells(await browser.page("/limits"))


async def test_without_temporal_all_that_was_recorded_is_shown(tmp_path: Path) -> None:
    server = KillableTemporal(tmp_path)
    await server.start()
    client = await server.connect()
    async with running_instance(client, tmp_path) as instance, browsing(instance.app) as browser:
        await instance.send(id="evt_1", data={"order": 4711})
        await instance.settled()
        await server.kill()
        await instance.store.rows.write(
            [needing_attention(report(instance.tenant, "evt_2", "http_503", status="failed"))]
        )
        event = f"/events/evt_1?tenant={instance.tenant}"
        events, overview, limits, answer, unknown = await asyncio.gather(  # each waits some seconds for Temporal
            browser.page(f"/events?tenant={instance.tenant}"),
            browser.page("/"),
            browser.page(f"/limits?tenant={instance.tenant}"),
            browser.get(event),
            browser.get(f"/events/evt_3?tenant={instance.tenant}"),
        )
        assert "evt_1" in events.text
        assert "does not answer: events are accepted and wait. 0 wait now." in overview.text
        assert any("evt_2" in link for link in overview.links())
        assert "Schedules" in limits.text
        assert (answer.status_code, "4711" in answer.text) == (200, True)
        assert unknown.status_code == 404
        answer = await browser.submit("/events", f"/events/evt_1/retry?tenant={instance.tenant}")
        assert answer.status_code == 503
        assert event in answer.text, "the page goes back, and repeats no command"


async def test_without_the_registry_pages_say_so(instance: Instance) -> None:
    event = await instance.send(data={"order": 4711})
    key = await make_key(instance, instance.tenant)
    store = Store.connect(f"postgresql+asyncpg://hook:secret-password@127.0.0.1:{free_ports().ui}/hookkeeper")
    app = new_app(instance.settings, store, instance.gateway)
    async with browsing(app) as browser:
        answer = await browser.get("/events")
        assert answer.status_code == 503
        assert "The registry is unavailable" in answer.text
        assert "secret-password" not in answer.text
        answer = await browser.get("/")
        assert (answer.status_code, "deliveries wait until it does" in answer.text) == (503, True)
        assert (await browser.get("/webhooks")).status_code == 503
        assert (await browser.get(f"/events/{event['id']}?tenant={instance.tenant}")).status_code == 503
    async with browsing(app, key=None) as browser:
        answer = await browser.log_in(key["key"])
        assert (answer.status_code, "The registry is unavailable" in answer.text) == (503, True)
    await store.close()
