"""Sending an event again: if it may have been accepted, the error names its id."""

import json
import socket
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import cli.client.api
from cli.client import sending
from cli.client.api import Api, ApiUnavailable, NotConnected

EVENT = {"type": "order.paid", "data": {}}


def test_the_error_names_the_id_if_the_server_dies_after_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request arrives and gets no response; the next one finds a closed port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)

        accepting = threading.Thread(target=accept_one)
        accepting.start()

        def wait(_: float) -> None:
            """Stop the server before the next request, instead of waiting."""
            accepting.join(60)
            listener.close()

        monkeypatch.setattr(cli.client.api, "time", SimpleNamespace(sleep=wait))
        client = Api(f"http://127.0.0.1:{listener.getsockname()[1]}", "key")
        with pytest.raises(ApiUnavailable, match=r"add: --id evt_[0-9a-f]{24}$"):
            client.send_event(EVENT)
        client.close()


def test_a_request_is_repeated_with_the_id_in_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger has no id of its own before the API has named its event."""
    monkeypatch.setattr(cli.client.api, "time", SimpleNamespace(sleep=lambda _: None))
    bodies: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(503, headers={"hookkeeper-event-id": "daily-20260102T090000Z"})

    client = Api("http://127.0.0.1:1", "key")
    monkeypatch.setattr(client, "_http", httpx.Client(base_url=client.url, transport=httpx.MockTransport(answer)))
    with pytest.raises(ApiUnavailable, match=r"add: --id daily-20260102T090000Z$"):
        client.make_event({}, "schedules", "daily", "trigger")
    client.close()
    assert bodies == [{}, *[{"id": "daily-20260102T090000Z"}] * (len(bodies) - 1)]
    assert len(bodies) > 1


def test_a_request_that_was_never_sent_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(cli.client.api, "time", SimpleNamespace(sleep=waits.append))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = Api(f"http://127.0.0.1:{port}", "key")
    with pytest.raises(NotConnected):
        client.send_event(EVENT)
    client.close()
    assert waits == []


def test_many_events_are_sent_again_until_they_are_accepted_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeline: no answer to the first batch; then one event accepted, one refused, one put off."""
    monkeypatch.setattr(sending, "time", SimpleNamespace(sleep=lambda _: None))
    problem = {"detail": "Bad.", "errors": [{"path": "type", "detail": "is missing"}]}
    refused = {"status": 422, "event": None, "problem": problem}
    busy = {"status": 429, "event": None, "problem": {"detail": "Too many."}}
    answers = [
        httpx.Response(503),
        httpx.Response(207, json={"items": [accepted(duplicate=True), refused, busy]}),
        httpx.Response(207, json={"items": [accepted()]}),
        httpx.Response(207, json={"items": [accepted()]}),
    ]
    batches: list[list[Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        batches.append([event["data"] for event in json.loads(request.content)["events"]])
        return answers.pop(0)

    monkeypatch.setattr(sending, "MAX_BATCH", 4)
    client = Api("http://127.0.0.1:1", "key")
    monkeypatch.setattr(client, "_http", httpx.Client(base_url=client.url, transport=httpx.MockTransport(answer)))
    events = [(n, EVENT | {"data": n}) for n in (1, 2, 3)]
    sent = sending.send_all(client, iter([*events, (4, "the line is not JSON"), (5, EVENT | {"data": 5})]))
    client.close()
    assert batches == [[1, 2, 3], [1, 2, 3], [3], [5]]
    assert (sent.accepted, sent.duplicates, sent.error) == (2, 1, None)
    assert [(each["number"], each["status"], each["reason"]) for each in sent.refused] == [
        (4, None, "the line is not JSON"),
        (2, 422, "Bad.; type: is missing"),
    ]


def test_events_after_an_outage_are_not_sent_and_the_first_of_them_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "time", SimpleNamespace(sleep=lambda _: None))
    client = Api("http://127.0.0.1:1", "key")
    sent = sending.send_all(client, iter([(n, EVENT) for n in range(1, 300)]))
    client.close()
    assert (sent.accepted, sent.refused) == (0, [])
    assert sent.error is not None
    assert "from number 1 on" in sent.error


def accepted(*, duplicate: bool = False) -> dict[str, Any]:
    return {"status": 202, "event": {"duplicate": duplicate}, "problem": None}
