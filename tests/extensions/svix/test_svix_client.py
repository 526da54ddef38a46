"""Svix's own Python client, unchanged, against a server on a socket."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sockets import serving
from svix.api import (
    ApplicationIn,
    ApplicationListOptions,
    ApplicationPatch,
    AppPortalAccessIn,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EventExampleIn,
    EventTypeIn,
    EventTypePatch,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
    MessageIn,
    MessageListOptions,
    RecoverIn,
    SvixAsync,
    SvixOptions,
)
from svix.api.errors.http_error import HttpError
from svix.api.errors.http_validation_error import HTTPValidationError
from svix.api.message import MessageGetOptions
from svix.models import EndpointUpsertIn, EventTypeUpsertIn
from svix.webhooks import Webhook

from instances import KEY, Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT


@pytest.mark.promise("docs/svix.md")
async def test_the_python_client_of_svix_makes_the_calls_of_its_documentation(
    own_instance: Instance, inbox: Receiver
) -> None:
    async with serving(own_instance.app) as server:
        svix = SvixAsync(KEY, SvixOptions(server_url=f"http://127.0.0.1:{server.port}", timeout=WAIT_TIMEOUT))
        async with svix._httpx_client:  # the client offers no way to close it
            await svix.health.get()
            await _applications(svix, own_instance.tenant)
            await _event_types(svix)
            await _endpoints_and_messages(svix, own_instance.tenant, inbox)
            await _errors(svix, own_instance.tenant)


async def _applications(svix: SvixAsync, app: str) -> None:
    made = await svix.application.create(ApplicationIn(name="Acme", uid=app, metadata={"plan": "pro"}))
    assert (made.id, made.uid, made.name, made.metadata) == (app, app, "Acme", {"plan": "pro"})
    assert (await svix.application.get_or_create(ApplicationIn(name="Other", uid=app))).name == "Acme"
    nameless = await svix.application.create(ApplicationIn(name="Without a uid"))
    assert nameless.uid is None
    assert (await svix.application.patch(app, ApplicationPatch(name="Acme Ltd"))).metadata == {"plan": "pro"}
    assert (await svix.application.upsert(app, ApplicationIn(name="Acme", uid=app))).metadata == {}
    first = await svix.application.list(ApplicationListOptions(limit=1))
    second = await svix.application.list(ApplicationListOptions(limit=1, iterator=first.iterator))
    assert [first.data[0].id, second.data[0].id] == [app, nameless.id]
    assert (first.done, second.done) == (False, True)
    await svix.application.delete(nameless.id)
    with pytest.raises(HttpError) as gone:
        await svix.application.get(nameless.id)
    assert gone.value.code == "not_found"


async def _event_types(svix: SvixAsync) -> None:
    schema = {"type": "object", "required": ["order"], "examples": [{"order": 1}]}
    made = await svix.event_type.create(EventTypeIn(name="order.paid", description="Paid", schemas={"1": schema}))
    assert made.schemas == {"1": schema}
    assert (await svix.event_type.patch("order.paid", EventTypePatch(description="It is paid"))).schemas == {
        "1": schema
    }
    assert (await svix.event_type.upsert("order.sent", EventTypeUpsertIn(description="Sent"))).name == "order.sent"
    await svix.event_type.delete("order.sent")
    assert (await svix.event_type.get("order.sent")).archived
    assert [each.name for each in (await svix.event_type.list()).data] == ["order.paid"]


async def _endpoints_and_messages(svix: SvixAsync, app: str, inbox: Receiver) -> None:
    made = await svix.endpoint.create(
        app, EndpointIn(url=inbox.url, uid="shop", event_types=["order.paid"], channels=["eu"], throttle_rate=50)
    )
    assert (made.uid, made.event_types, made.channels, made.throttle_rate) == ("shop", ["order.paid"], ["eu"], 50)
    assert (await svix.endpoint.get(app, made.id)) == await svix.endpoint.get(app, "shop")
    assert (await svix.endpoint.patch(app, "shop", EndpointPatch(description="Shop"))).channels == ["eu"]
    replaced = await svix.endpoint.upsert(app, "shop", EndpointUpsertIn(url=inbox.url, uid="shop"))
    assert (replaced.description, replaced.event_types, replaced.channels) == ("", None, None)
    assert [each.id for each in (await svix.endpoint.list(app)).data] == [made.id]
    await svix.endpoint.set_headers(app, "shop", EndpointHeadersIn(headers={"x-shop": "1", "authorization": "a"}))
    await svix.endpoint.patch_headers(app, "shop", EndpointHeadersPatchIn(headers={"x-shop": "2"}))
    headers = await svix.endpoint.get_headers(app, "shop")
    assert (headers.headers, sorted(headers.sensitive)) == ({}, ["authorization", "x-shop"])
    old = (await svix.endpoint.get_secret(app, "shop")).key
    await svix.endpoint.rotate_secret(app, "shop", EndpointSecretRotateIn())
    new = (await svix.endpoint.get_secret(app, "shop")).key
    assert old != new

    given = MessageIn(event_type="order.paid", event_id="m-1", payload={"order": 4711}, channels=["eu"])
    message = await svix.message.create(app, given)
    assert (message.event_id, message.channels) == ("m-1", ["eu"])
    (request,) = await inbox.got(1)
    assert request.body == b'{"order":4711}'
    signed = {name: value for name, value in request.headers.items() if name.startswith("svix-")}
    assert signed["svix-id"] == message.id == request.webhook_id
    assert request.headers["x-shop"] == "2"
    for key in (old, new):
        Webhook(key).verify(request.body, signed)
    whole = await svix.message.get(app, message.id, MessageGetOptions(with_content=True))
    assert whole.payload == {"order": 4711}
    wanted = MessageListOptions(channel="eu", event_types=["order.paid", "order.sent"], with_content=True)
    assert (await svix.message.list(app, wanted)).data == [whole]

    with_content = MessageAttemptListByMsgOptions(with_content=True)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (attempts := (await svix.message_attempt.list_by_msg(app, message.id, with_content)).data):
            await asyncio.sleep(0.05)
    (attempt,) = attempts
    assert (attempt.status, attempt.response_status_code, attempt.response) == (0, 200, "ok")
    assert await svix.message_attempt.get(app, message.id, attempt.id) == attempt
    by_endpoint = MessageAttemptListByEndpointOptions(with_content=True)
    assert (await svix.message_attempt.list_by_endpoint(app, "shop", by_endpoint)).data == [attempt]
    (target,) = (await svix.message_attempt.list_attempted_destinations(app, message.id)).data
    assert (target.id, target.status) == (made.id, 0)
    (sent,) = (await svix.message_attempt.list_attempted_messages(app, "shop")).data
    assert (sent.id, sent.status) == (message.id, 0)
    await svix.message_attempt.resend(app, message.id, "shop")
    await inbox.got(2)
    assert (await svix.endpoint.send_example(app, "shop", EventExampleIn(event_type="order.paid"))).payload == {
        "order": 1
    }
    await inbox.got(3)
    task = await svix.endpoint.recover(app, "shop", RecoverIn(since=datetime.now(UTC) - timedelta(hours=1)))
    assert (task.status, task.task) == ("running", "endpoint.recover")
    assert (await svix.endpoint.get_stats(app, "shop")).fail == 0
    access = await svix.authentication.app_portal_access(app, AppPortalAccessIn())
    assert access.token not in access.url
    await svix.authentication.logout()
    await svix.message.expunge_content(app, message.id)
    await svix.endpoint.delete(app, "shop")
    assert (await svix.endpoint.list(app)).data == []


async def _errors(svix: SvixAsync, app: str) -> None:
    with pytest.raises(HTTPValidationError) as invalid:
        await svix.endpoint.create(app, EndpointIn(url="ftp://acme.example"))
    assert invalid.value.detail[0].loc == ["body", "url"]
    with pytest.raises(HTTPValidationError) as untranslatable:
        await svix.application.create(ApplicationIn(name="Slow", throttle_rate=5))
    assert untranslatable.value.detail[0].loc == ["body", "throttleRate"]
    with pytest.raises(HttpError) as known:
        await svix.application.create(ApplicationIn(name="Acme", uid=app))
    assert (known.value.status_code, known.value.code) == (409, "conflict")
