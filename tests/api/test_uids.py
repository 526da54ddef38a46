"""The user's own id of a webhook, in place of its id."""

import httpx
import pytest
from callers import calling, make_key
from problems import problem

from instances import Instance

HOOK = {"url": "https://acme.example/hook", "uid": "shop"}


@pytest.mark.promise("docs/api.md")
async def test_a_uid_names_a_webhook_wherever_its_id_does(instance: Instance) -> None:
    """Timeline: a tenant's key uses the uid in paths, a preview and filters; a key of all tenants names the tenant."""
    key = await make_key(instance, instance.tenant)
    async with calling(instance.app, key["key"]) as http:
        made = (await http.post("/v1/webhooks", json=HOOK)).json()
        assert made["uid"] == "shop"
        for path in ("", "/secret", "/held", "/deliveries"):
            by_uid, by_id = [await http.get(f"/v1/webhooks/{each}{path}") for each in ("shop", made["id"])]
            assert by_uid.status_code == 200
            assert _timeless(by_uid) == _timeless(by_id)
        assert (await http.patch("/v1/webhooks/shop", json={"name": "Shop"})).json()["name"] == "Shop"
        assert (await http.post("/v1/webhooks/shop/pause")).json()["id"] == made["id"]
        assert (await http.post("/v1/webhooks/preview", json={"webhook_id": "shop"})).status_code == 200
        for path in ("/v1/events", "/v1/stats", "/v1/recoveries"):
            answers = [await http.get(path, params={"webhook": each}) for each in ("shop", made["id"])]
            assert answers[0].json()["items"] == answers[1].json()["items"], path
        sent = (await http.post("/v1/webhooks/shop/test")).json()["id"]
        assert [each["id"] for each in (await http.get("/v1/events?webhook=shop")).json()["items"]] == [sent]
        assert [each["id"] for each in (await http.get("/v1/webhooks?q=shop")).json()["items"]] == [made["id"]]
    problem(await instance.http.get("/v1/webhooks/shop"), 404)
    named = {"tenant": instance.tenant}
    assert (await instance.http.get("/v1/webhooks/shop", params=named)).json()["id"] == made["id"]
    assert (await instance.http.delete("/v1/webhooks/shop", params=named)).status_code == 204


async def test_a_uid_is_unique_in_its_tenant(instance: Instance) -> None:
    http, tenant = instance.http, instance.tenant
    first = (await http.post("/v1/webhooks", json=HOOK | {"tenant": tenant})).json()
    taken = problem(await http.post("/v1/webhooks", json=HOOK | {"tenant": tenant}), 409)
    assert taken["detail"] == "Another webhook of the tenant has the uid shop."
    other = (await http.post("/v1/webhooks", json=HOOK | {"tenant": f"{tenant}-b"})).json()
    assert other["uid"] == "shop"
    second = (await http.post("/v1/webhooks", json=HOOK | {"tenant": tenant, "uid": "till"})).json()
    problem(await http.patch(f"/v1/webhooks/{second['id']}", json={"uid": "shop"}), 409)
    assert (await http.patch(f"/v1/webhooks/{first['id']}", json={"uid": None})).json()["uid"] is None
    assert (await http.patch(f"/v1/webhooks/{second['id']}", json={"uid": "shop"})).json()["uid"] == "shop"


async def test_a_uid_that_looks_like_an_id_is_refused(instance: Instance) -> None:
    answer = problem(await instance.http.post("/v1/webhooks", json=HOOK | {"uid": "wh_shop"}), 422)
    assert answer["errors"] == [{"path": "uid", "detail": "must not begin with `wh_`, as ids of webhooks do"}]


def _timeless(answer: httpx.Response) -> dict[str, object]:
    return answer.json() | {"counted_at": None}  # type: ignore[no-any-return]
