"""Sending an event again: if it may have been accepted, the error names its id."""

import json
import socket
import threading
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import hookkeeper.cli.client
from hookkeeper.cli.client import Api, ApiUnavailable, NotConnected

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

        monkeypatch.setattr(hookkeeper.cli.client, "time", SimpleNamespace(sleep=wait))
        client = Api(f"http://127.0.0.1:{listener.getsockname()[1]}", "key")
        with pytest.raises(ApiUnavailable, match=r"add: --id evt_[0-9a-f]{24}$"):
            client.send_event(EVENT)
        client.close()


def test_a_request_is_repeated_with_the_id_in_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger has no id of its own before the API has named its event."""
    monkeypatch.setattr(hookkeeper.cli.client, "time", SimpleNamespace(sleep=lambda _: None))
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
    monkeypatch.setattr(hookkeeper.cli.client, "time", SimpleNamespace(sleep=waits.append))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = Api(f"http://127.0.0.1:{port}", "key")
    with pytest.raises(NotConnected):
        client.send_event(EVENT)
    client.close()
    assert waits == []
