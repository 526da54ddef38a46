"""Receivers of the Python client, behind each framework, with requests that Hookkeeper has signed."""

import asyncio
import hmac
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from hookkeeper.crypto.signing_keys import new_secret, public_key, sign
from hookkeeper_client.receiving import Event, MemoryStore, Receiver, Refused, WrongSignature, verify
from timeouts import WAIT_TIMEOUT

SECRET = new_secret("v1")
BODY = b'{"id":"e1","type":"order.paid","timestamp":"2026-01-02T03:04:05.678Z","data":{"order":4711}}'


class Order(BaseModel):
    order: int


def signed(body: bytes = BODY, id_: str = "e1", at: int | None = None, secret: str = SECRET) -> dict[str, str]:
    at = int(time.time()) if at is None else at
    return {
        "content-type": "application/json",
        "webhook-id": id_,
        "webhook-timestamp": str(at),
        "webhook-signature": sign([secret], message_id=id_, timestamp=at, body=body),
    }


# Signatures


def test_a_signature_of_any_of_the_keys_is_accepted() -> None:
    verify(SECRET, BODY, signed())
    verify([new_secret("v1"), SECRET], BODY, {name.title(): value for name, value in signed().items()})
    both = f"v1,AAAA {signed()['webhook-signature']}"
    verify(SECRET, BODY, signed() | {"webhook-signature": both})


@pytest.mark.promise("docs/receivers.md")
@pytest.mark.parametrize(
    ("more", "seconds", "changes"),
    [
        (b" ", 0, {}),
        (b"", 0, {"webhook-id": "e2"}),
        (b"", 0, {"webhook-signature": "v1,ä"}),
        (b"", 0, {"webhook-signature": ""}),
        (b"", -600, {}),
        (b"", 600, {}),
        (b"", 0, {"webhook-timestamp": "²"}),
        (b"", 0, {"webhook-timestamp": ""}),
        (b"", 0, {"webhook-timestamp": "9" * 5000}),
        (b"", 0, {"webhook-id": "\ud800\udcff"}),
        (b"", 0, {"webhook-signature": "\ud800"}),
        (b"", 0, {"webhook-signature": "v1,\ud800"}),
    ],
)
def test_a_changed_or_old_request_is_refused(more: bytes, seconds: int, changes: dict[str, str]) -> None:
    with pytest.raises(WrongSignature):
        verify(SECRET, BODY + more, signed(at=int(time.time()) + seconds) | changes)


def test_an_unknown_sender_costs_one_look_at_the_body_for_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many signatures are refused before it, and so are long headers. Of few, the body is hashed once for each key."""
    headers, hashed, digest = signed(), list[bytes](), hmac.digest

    def counting(key: bytes, message: bytes, method: str) -> bytes:
        hashed.append(message)
        return digest(key, message, method)

    monkeypatch.setattr(hmac, "digest", counting)
    genuine = headers["webhook-signature"]
    for changes in (
        {"webhook-signature": " ".join(["v1,"] * 2000)},
        {"webhook-signature": f"{'v1,AAAA ' * 10}{genuine}"},
        {"webhook-signature": f"{genuine} v2,{'A' * 2048}"},
        {"webhook-id": "e" * 2049},
    ):
        with pytest.raises(WrongSignature, match="too long"):
            verify(SECRET, BODY, headers | changes)
    assert hashed == []
    verify([new_secret("v1"), SECRET], BODY, headers | {"webhook-signature": f"{'v1,AAAA ' * 9}{genuine}"})
    assert len(hashed) == 2


def test_a_public_key_verifies_what_its_secret_signed() -> None:
    secret = new_secret("v1a")
    verify(public_key(secret), BODY, signed(secret=secret))
    verify([SECRET, public_key(secret)], BODY, signed(secret=secret))
    for other in (public_key(new_secret("v1a")), SECRET):
        with pytest.raises(WrongSignature):
            verify(other, BODY, signed(secret=secret))
    with pytest.raises(WrongSignature):
        verify(public_key(secret), BODY, signed())


def test_another_key_is_refused() -> None:
    with pytest.raises(WrongSignature):
        verify(new_secret("v1"), BODY, signed())


# Receivers


def test_handlers_get_typed_events_of_their_types() -> None:
    receiver, got = Receiver(SECRET), list[tuple[str, Any]]()
    receiver.on("order.*", Order)(lambda event: got.append(("orders", event.data.order)))
    receiver.on("user.*")(lambda event: got.append(("users", event)))
    receiver.on("*")(lambda event: got.append(("all", event.data)))
    event = receiver.receive(BODY, signed())
    assert event is not None
    receiver.close()
    assert got == [("orders", 4711), ("all", {"order": 4711})]


@pytest.mark.parametrize("key", ["", "hk_key", "whsec_…", "whsec_abc", "whpk_AAAA", "whsec_", "whsec_AAAA"])
def test_an_invalid_signing_key_is_refused_at_once(key: str) -> None:
    with pytest.raises(ValueError, match="signing key"):
        Receiver(SECRET, key)
    with pytest.raises(ValueError, match="signing key"):
        verify(key, BODY, signed())


def test_an_async_function_is_no_handler() -> None:
    async def handler(event: Event[Any]) -> None:
        raise AssertionError(event)

    with pytest.raises(TypeError, match="handler is async"):
        Receiver(SECRET).on("*")(handler)


@pytest.mark.promise("docs/receivers.md")
def test_a_duplicate_is_handled_once() -> None:
    put = list[Event[Any]]()
    receiver = Receiver(SECRET, put=put.append)
    assert receiver.receive(BODY, signed())
    assert receiver.receive(BODY, signed()) is None
    assert [event.id for event in put] == ["e1"]


def test_an_event_that_could_not_be_put_can_come_again() -> None:
    answers: Iterator[Callable[[], None]] = iter([lambda: 1 / 0, lambda: None])  # type: ignore[list-item]
    receiver = Receiver(SECRET, put=lambda event: next(answers)())
    with pytest.raises(ZeroDivisionError):
        receiver.receive(BODY, signed())
    assert receiver.receive(BODY, signed())


def test_a_cloud_event_is_an_event() -> None:
    body = BODY.replace(b'"timestamp"', b'"specversion":"1.0","source":"shop","time"')
    event = Receiver(SECRET).receive(body, signed(body))
    assert event is not None
    assert (event.type, event.timestamp.year, event.data) == ("order.paid", 2026, {"order": 4711})


@pytest.mark.parametrize("body", [b"{}", b"<xml>", BODY.replace(b"4711", b'"many"')])
def test_a_body_of_another_form_is_refused_before_its_id_is_remembered(body: bytes) -> None:
    receiver = Receiver(SECRET)
    receiver.on("order.*", Order)(print)
    with pytest.raises(Refused) as caught:
        receiver.receive(body, signed(body))
    assert caught.value.status == 422
    assert receiver.receive(BODY, signed())


def test_memory_forgets_the_oldest_and_expired_ids() -> None:
    store = MemoryStore(maximum=2)
    assert [store.add(id_, 60) for id_ in ("a", "b", "a", "c", "a")] == [True, True, False, True, True]
    assert store.add("d", 0)
    assert store.add("d", 0)


def test_one_of_many_threads_gets_an_event() -> None:
    store, got, start = MemoryStore(), list[bool](), threading.Barrier(8)

    def add() -> None:
        start.wait(WAIT_TIMEOUT)
        got.append(store.add("e1", 60))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]


# Frameworks

Post = Callable[[bytes, dict[str, str]], Awaitable[tuple[int, str]]]


def fastapi_app(receiver: Receiver) -> Post:
    from hookkeeper_client.fastapi import webhook

    app = FastAPI()

    @app.post("/hook", status_code=202)
    async def hook(event: Annotated[Event[Any], Depends(webhook(receiver))]) -> str:
        if event.type == "order.lost":
            raise OSError
        if event.type == "order.cancelled":
            raise asyncio.CancelledError
        return "accepted"

    async def post(body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver.test") as http:
            answer = await http.post("/hook", content=body, headers=headers)
            return answer.status_code, answer.text

    return post


def flask_app(receiver: Receiver) -> Post:
    flask = pytest.importorskip("flask")
    from hookkeeper_client.flask import webhook

    app = flask.Flask(__name__)
    app.add_url_rule("/hook", view_func=webhook(receiver))

    async def post(body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        answer = app.test_client().post("/hook", data=body, headers=headers)
        return answer.status_code, answer.text

    return post


def django_app(receiver: Receiver) -> Post:
    pytest.importorskip("django")
    from django.conf import settings
    from django.test import RequestFactory

    if not settings.configured:
        settings.configure()
    from hookkeeper_client.django import webhook

    view = webhook(receiver)

    async def post(body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        rest = {name: value for name, value in headers.items() if name != "content-type"}
        request = RequestFactory().post("/hook", body, content_type="application/json", headers=rest)
        answer = view(request)
        return answer.status_code, answer.content.decode()

    return post


@pytest.mark.parametrize("app", [fastapi_app, flask_app, django_app])
async def test_each_framework_answers_alike(app: Callable[[Receiver], Post]) -> None:
    put = list[str]()
    post = app(Receiver(SECRET, put=lambda event: put.append(event.id)))
    status, text = await post(BODY, signed())
    assert (status, "accepted" in text) == (202, True)
    status, text = await post(BODY, signed())
    assert (status, "duplicate" in text) == (202, True)
    assert (await post(BODY + b" ", signed()))[0] == 400
    assert (await post(b"{}", signed(b"{}")))[0] == 422
    assert put == ["e1"]


async def test_an_event_whose_route_fails_can_come_again() -> None:
    put = list[str]()
    post = fastapi_app(Receiver(SECRET, put=lambda event: put.append(event.id)))
    body = json.dumps(json.loads(BODY) | {"type": "order.lost"}).encode()
    assert (await post(body, signed(body)))[0] == 500
    assert (await post(body, signed(body)))[0] == 500
    assert put == ["e1", "e1"]


async def test_an_event_whose_route_is_cancelled_can_come_again() -> None:
    put = list[str]()
    post = fastapi_app(Receiver(SECRET, put=lambda event: put.append(event.id)))
    body = json.dumps(json.loads(BODY) | {"type": "order.cancelled"}).encode()
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await post(body, signed(body))
    assert put == ["e1", "e1"]


async def test_a_body_that_is_too_large_is_not_read() -> None:
    body = b" " * (2 * 1024 * 1024)
    for app in (fastapi_app, flask_app, django_app):
        assert (await app(Receiver(SECRET))(body, signed(body)))[0] == 413
