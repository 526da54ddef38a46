"""What clients and end-to-end tests of Svix expect of a server, beyond its routes, which `test_svix_api.py` has."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from callers import calling, make_key
from svix.webhooks import Webhook

from extensions.svix.errors import PREFIX
from hookkeeper.crypto.signing_keys import new_secret, public_key
from hookkeeper.times import rfc3339, utc_now
from instances import Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT

APP = f"{PREFIX}/app/{{}}"


async def post(http: httpx.AsyncClient, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await http.post(PREFIX + path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def app_of(instance: Instance, inbox: Receiver | None = None, **fields: Any) -> str:
    """Make the tenant an application, with an endpoint `shop` if there is a receiver; return its path."""
    await post(instance.http, "/app", {"name": "Acme", "uid": instance.tenant}, 201)
    path = f"/app/{instance.tenant}"
    if inbox:
        await post(instance.http, f"{path}/endpoint", {"url": inbox.url, "uid": "shop", **fields}, 201)
    return path


async def send(instance: Instance, event_id: str = "m-1", **fields: Any) -> None:
    body = {"eventType": "order.paid", "payload": {"order": 1}, "eventId": event_id, **fields}
    await post(instance.http, f"/app/{instance.tenant}/msg", body, 202)


async def test_a_page_of_applications_is_not_empty_because_of_one_that_is_being_deleted(
    idle_instance: Instance,
) -> None:
    for uid in ("a", "b"):
        await post(idle_instance.http, "/app", {"name": uid, "uid": uid}, 201)
    assert (await idle_instance.http.delete(f"{PREFIX}/app/a")).status_code == 204  # without a worker, it stays
    page = (await idle_instance.http.get(f"{PREFIX}/app", params={"limit": 1})).json()
    assert [each["id"] for each in page["data"]] == ["b"]


# Recoveries


async def recover(instance: Instance, since: timedelta, status: int = 202, **fields: Any) -> dict[str, Any]:
    path, body = f"/app/{instance.tenant}/endpoint/shop/recover", {"since": rfc3339(utc_now() - since), **fields}
    return await post(instance.http, path, body, status)  # type: ignore[no-any-return]


async def test_a_recovery_sends_at_once_what_is_being_retried(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, uid="shop", retry={"schedule": [86_400]})
    await instance.send(id="m-1")
    await instance.until_delivery("m-1", "retrying", attempts=1)
    await recover(instance, timedelta(hours=1))
    await inbox.got(2)
    (delivery,) = (await instance.until_final("m-1"))["deliveries"]
    assert [attempt["trigger"] for attempt in delivery["attempts"]] == ["scheduled", "manual"]


async def test_recoveries_while_one_runs_do_what_all_of_them_ask(idle_instance: Instance, inbox: Receiver) -> None:
    await idle_instance.webhook(inbox.url, uid="shop")
    ids = [(await recover(idle_instance, timedelta(hours=hours)))["id"] for hours in (1, 5, 2)]
    scopes = [await idle_instance.gateway.recoveries.scope_of(each) for each in ids]
    assert [scope.since and round((utc_now() - scope.since) / timedelta(hours=1)) for scope in scopes] == [1, 5, 5]
    async with idle_instance.working(), asyncio.timeout(WAIT_TIMEOUT):
        for each, status in zip(ids, ("cancelled", "cancelled", "finished"), strict=True):
            while (await idle_instance.gateway.recoveries.read(each)).status != status:
                await asyncio.sleep(0.05)


async def test_a_recovery_adds_one_attempt_to_what_failed_since_then(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, uid="shop", retry={"schedule": []})
    await instance.send(id="m-1")
    failed = await instance.until_closed("m-1")
    for since, attempts in ((utc_now(), 1), (utc_now() - timedelta(hours=1), 2)):
        await recover(instance, utc_now() - since)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while len(inbox.requests) < attempts:
                await asyncio.sleep(0.02)
        assert len(inbox.requests) == attempts
    assert failed["status"] == "failed"


async def test_two_weeks_before_the_end_can_be_recovered(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url, uid="shop")
    await recover(instance, timedelta(days=14))
    await recover(instance, timedelta(days=20), until=rfc3339(utc_now() - timedelta(days=10)))
    refused = await recover(instance, timedelta(days=15), status=422)
    assert refused["detail"][0]["loc"] == ["body", "since"]


# Browsers


async def test_scripts_of_any_page_may_use_the_api_of_svix_and_no_other(instance: Instance) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    asked |= {"access-control-request-headers": "authorization,content-type,idempotency-key"}
    allowed = await instance.http.options(f"{PREFIX}/app/acme/endpoint", headers=asked)
    assert allowed.status_code == 200, allowed.text
    assert allowed.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in allowed.headers
    assert "idempotency-key" in allowed.headers["access-control-allow-headers"]
    for answer in (
        await instance.http.get(f"{PREFIX}/app", headers=asked),
        await instance.http.get(f"{PREFIX}/app/nobody", headers=asked),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
    other = await instance.http.get("/v1/webhooks", headers=asked)
    assert "access-control-allow-origin" not in other.headers
    assert (await instance.http.options("/v1/webhooks", headers=asked)).status_code == 405


async def token_of(instance: Instance, path: str, **fields: Any) -> str:
    access = await post(instance.http, path.replace("/app/", "/auth/app-portal-access/"), fields)
    return access["token"]  # type: ignore[no-any-return]


async def test_a_token_of_the_portal_is_for_its_application_only(instance: Instance, inbox: Receiver) -> None:
    path = await app_of(instance, inbox)
    await send(instance)
    await post(instance.http, "/app", {"name": "Other", "uid": f"{instance.tenant}-other"}, 201)
    token = await token_of(instance, path)
    message = {"eventType": "a", "payload": {}}
    # An address of its own: others of this process may have had twenty unknown keys in the last minute, then it is 429.
    async with calling(instance.app, token, "192.0.2.77") as portal:
        for method, given, body, status in (
            ("GET", path, None, 200),
            ("GET", f"{path}-other", None, 404),
            ("GET", "/app", None, 403),
            ("POST", "/app", {"name": "New"}, 403),
            ("PUT", path, {"name": "New"}, 403),
            ("DELETE", path, None, 403),
            ("POST", f"{path}/msg", message, 403),
            ("DELETE", f"{path}/msg/m-1/content", None, 403),
            ("DELETE", f"{path}/msg/m-1/attempt/any/content", None, 403),
            ("POST", f"/auth/app-portal-access/{instance.tenant}", {}, 403),
            ("POST", f"{path}/endpoint/shop/send-example", {"eventType": "svix.ping"}, 403),
            ("POST", "/event-type", {"name": "a", "description": ""}, 403),
            ("GET", "/event-type", None, 200),
            ("GET", f"{path}/msg/m-1", None, 200),
            ("GET", f"{path}/endpoint/shop/secret", None, 200),
            ("PATCH", f"{path}/endpoint/shop", {"description": "Shop"}, 200),
            ("GET", f"{path}/attempt/endpoint/shop", None, 200),
            ("POST", f"{path}/msg/m-1/endpoint/shop/resend", None, 202),
        ):
            answer = await portal.request(method, PREFIX + given, json=body)
            assert answer.status_code == status, (method, given, answer.text)
        refused = await portal.get("/v1/webhooks")
        assert refused.status_code == 401, "the token is for Svix's API alone"
        assert (await portal.post(f"{PREFIX}/auth/logout")).status_code == 204
        assert (await portal.get(PREFIX + path)).status_code == 401


async def test_a_token_that_may_only_read_changes_nothing(instance: Instance, inbox: Receiver) -> None:
    path = await app_of(instance, inbox)
    async with calling(instance.app, await token_of(instance, path, readOnly=True)) as portal:
        assert (await portal.get(f"{PREFIX}{path}/endpoint/shop")).status_code == 200
        for method, given in (
            ("PATCH", "/endpoint/shop"),
            ("GET", "/endpoint/shop/secret"),
            ("DELETE", "/endpoint/shop"),
        ):
            answer = await portal.request(method, PREFIX + path + given, json={} if method == "PATCH" else None)
            assert answer.status_code == 403, given


async def test_a_token_ends_and_so_does_what_its_key_has_made(instance: Instance, inbox: Receiver) -> None:
    path = await app_of(instance, inbox)
    key = await make_key(
        instance, instance.tenant, scopes=["events:read", "events:write", "webhooks:write", "webhooks:read"]
    )
    async with calling(instance.app, key["key"]) as http:
        token = (await post(http, f"/auth/app-portal-access/{instance.tenant}", {"expiry": 3600}))["token"]
    link = token.removeprefix("hkp_")
    async with calling(instance.app, token) as portal, calling(instance.app, None) as nobody:
        assert (await portal.get(PREFIX + path)).status_code == 200
        for opened in (token, link):
            assert (await nobody.get(f"/portal/{opened}")).status_code != 200
        assert (await instance.http.delete(f"/v1/keys/{key['id']}")).is_success
        assert (await portal.get(PREFIX + path)).status_code == 401


# Rates


async def test_a_request_over_the_rate_of_its_key_waits(instance: Instance) -> None:
    await app_of(instance)
    key = await make_key(instance, instance.tenant, rate_limit="4/second")
    async with calling(instance.app, key["key"]) as http:
        answers = await asyncio.gather(*[http.get(APP.format(instance.tenant)) for _ in range(10)])
        assert [answer.status_code for answer in answers] == [200] * 10
        others = await asyncio.gather(*[http.get("/v1/webhooks") for _ in range(10)])
        assert 429 in {answer.status_code for answer in others}


async def test_a_request_does_not_wait_for_long(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    await app_of(instance)
    monkeypatch.setattr("extensions.svix.base.PATIENCE", 0.2)
    key = await make_key(instance, instance.tenant, rate_limit="1/day")
    async with calling(instance.app, key["key"]) as http:
        assert (await http.get(APP.format(instance.tenant))).status_code == 200
        refused = await http.get(APP.format(instance.tenant))
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert int(refused.headers["retry-after"]) > 1


# Endpoints


async def test_an_endpoint_may_work_on_a_request_for_as_long_as_at_svix(instance: Instance, inbox: Receiver) -> None:
    await app_of(instance, inbox)
    (webhook,) = (await instance.http.get("/v1/webhooks", params={"tenant": instance.tenant})).json()["items"]
    assert webhook["timeout"] == 30


async def test_a_message_is_sent_to_an_endpoint_that_it_did_not_go_to(instance: Instance, inbox: Receiver) -> None:
    path = await app_of(instance)
    await send(instance)
    await instance.until_closed("m-1")
    await post(instance.http, f"{path}/endpoint", {"url": inbox.url, "uid": "new", "channels": ["eu"]}, 201)
    await post(instance.http, f"{path}/msg/m-1/endpoint/new/resend", None, 202)
    (request,) = await inbox.got(1)
    assert json.loads(request.body) == {"order": 1}
    assert request.webhook_id != "m-1"
    await instance.until_final(request.webhook_id)
    await post(instance.http, f"{path}/msg/nothing/endpoint/new/resend", None, 404)


async def test_keys_can_be_rotated_again_while_earlier_ones_sign(instance: Instance, inbox: Receiver) -> None:
    symmetric, asymmetric = new_secret("v1"), new_secret("v1a")
    path = await app_of(instance, inbox, secret=symmetric)
    rotate = f"{path}/endpoint/shop/secret/rotate"
    keys = [symmetric]
    for given in (None, asymmetric, new_secret("v1")):
        await post(instance.http, rotate, {"key": given}, 204)
        keys.append((await instance.http.get(f"{PREFIX}{path}/endpoint/shop/secret")).json()["key"])
    assert keys[2] == public_key(asymmetric)
    await send(instance)
    (request,) = await inbox.got(1)
    signatures = request.headers["svix-signature"].split()
    assert sorted(signature.partition(",")[0] for signature in signatures) == ["v1", "v1", "v1", "v1a"]
    for key in (keys[0], keys[1], keys[3]):
        Webhook(key).verify(request.body, request.headers)
    for _ in range(6):
        await post(instance.http, rotate, {}, 204)
    refused = await post(instance.http, rotate, {}, 409)
    assert "`gracePeriodSeconds: 0`" in refused["detail"]
    await post(instance.http, rotate, {"gracePeriodSeconds": 0}, 204)
    await send(instance, "m-2")
    assert len((await inbox.got(2))[1].headers["svix-signature"].split()) == 1


async def test_the_uid_of_an_endpoint_changes(instance: Instance, inbox: Receiver) -> None:
    path = PREFIX + await app_of(instance, inbox)
    for before, after in (("shop", "shop-2"), ("shop-2", None)):
        changed = await instance.http.patch(f"{path}/endpoint/{before}", json={"uid": after})
        assert (changed.status_code, changed.json()["uid"]) == (200, after), changed.text
        assert (await instance.http.get(f"{path}/endpoint/{before}")).status_code == 404


# Expunging


@pytest.mark.parametrize("is_retried", [False, True])
async def test_an_expunged_message_has_no_payload_from_then_on(
    instance: Instance, inbox: Receiver, is_retried: bool
) -> None:
    path = PREFIX + await app_of(instance, inbox)
    if is_retried:
        inbox.fails(500)
    await send(instance, channels=["eu"])
    await instance.until_delivery("m-1", "retrying" if is_retried else "succeeded", attempts=1)
    before = (await instance.http.get(f"{path}/msg/m-1")).json()
    for _ in range(2):
        expunged = await instance.http.delete(f"{path}/msg/m-1/content")
        assert expunged.status_code == 204, expunged.text
    assert (await instance.http.get(f"{path}/msg/m-1")).json() == before | {"payload": {"expired": True}}
    for others in ("attempt/msg/m-1", "msg/m-1/attempt/atmpt_1_any_m-1"):
        assert (await instance.http.get(f"{path}/{others}", params={"with_msg": True})).status_code == 404
    entries = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    assert [entry["object_id"] for entry in entries if entry["action"] == "event.erase"] == ["m-1"]


async def test_a_message_in_flight_is_expunged_once_the_request_is_over(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookkeeper.temporal.events.erasure.WAITS", (0.01, 0.01))
    path = f"{PREFIX}{await app_of(instance, inbox)}/msg/m-1"
    gate = asyncio.Event()
    inbox.answers.append(Answer(500, gate=gate))
    await send(instance)
    await inbox.got(1)
    refused = await instance.http.delete(f"{path}/content")
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert refused.json()["detail"].startswith("A request with the message is in flight; what waited is cancelled.")
    assert (await instance.http.get(path)).json()["payload"] == {"order": 1}
    gate.set()
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.http.delete(f"{path}/content")).status_code == 503:
            await asyncio.sleep(0.05)
    assert (await instance.http.get(path)).json()["payload"] == {"expired": True}


# Fields and answers


async def test_what_is_unknown_is_ignored(instance: Instance) -> None:
    path = await app_of(instance)
    raw = {"rawPayload": '{"order": 2}', "headers": {"content-type": "application/json"}}
    body = {"eventType": "a", "payload": {}, "transformationsParams": raw, "sent-by": "a later client"}
    answer = await instance.http.post(f"{PREFIX}{path}/msg", json=body, params={"later": "1"})
    assert (answer.status_code, answer.json()["payload"]) == (202, {"order": 2}), answer.text


async def test_no_schema_and_no_versions_of_one_differ(instance: Instance) -> None:
    await post(instance.http, "/event-type", {"name": "order.paid", "description": "", "schemas": {"1": {"a": 1}}}, 201)
    for given in ({}, None, {"1": {"type": "object"}}):
        changed = await instance.http.patch(f"{PREFIX}/event-type/order.paid", json={"schemas": given})
        assert changed.json()["schemas"] == given
        assert (await instance.http.get(f"{PREFIX}/event-type/order.paid")).json()["schemas"] == given
    await app_of(instance)


async def test_attempts_without_content_show_no_response(instance: Instance, inbox: Receiver) -> None:
    path = PREFIX + await app_of(instance, inbox)
    await send(instance)
    await instance.until_delivery("m-1", "succeeded", attempts=1)
    for given in ("attempt/endpoint/shop", "attempt/msg/m-1"):
        for with_content, response, payload in (("true", "ok", {"order": 1}), ("false", "{}", {})):
            params = {"with_content": with_content, "with_msg": "true"}
            async with asyncio.timeout(WAIT_TIMEOUT):
                while not (found := (await instance.http.get(f"{path}/{given}", params=params)).json()["data"]):
                    await asyncio.sleep(0.05)
            assert (found[0]["response"], found[0]["msg"]["payload"]) == (response, payload)


async def test_errors_have_the_words_of_this_api(instance: Instance, inbox: Receiver) -> None:
    path = await app_of(instance, inbox)
    known = await post(instance.http, "/app", {"name": "Acme", "uid": instance.tenant}, 409)
    assert known["detail"] == f"The application {instance.tenant} exists."
    taken = await post(instance.http, f"{path}/endpoint", {"url": inbox.url, "uid": "shop"}, 409)
    assert "endpoint" in taken["detail"] and "webhook" not in taken["detail"], taken
    missing = await post(instance.http, f"{path}/msg/m-1/endpoint/shop/resend", None, 404)
    assert "message" in missing["detail"] and "event" not in missing["detail"], missing
    unknown = await post(instance.http, "/whoami", None, 404)
    assert unknown == {"code": "not_found", "detail": "There is no such path."}


async def test_an_example_of_a_type_without_one_is_not_sent(instance: Instance, inbox: Receiver) -> None:
    path = f"{await app_of(instance, inbox)}/endpoint/shop/send-example"
    await post(instance.http, path, {"eventType": "order.paid"}, 404)
    await post(instance.http, "/event-type", {"name": "order.paid", "description": ""}, 201)
    await post(instance.http, path, {"eventType": "order.paid"}, 422)
    assert inbox.requests == []
