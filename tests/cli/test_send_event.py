"""Posting an event again: as long as it may have been accepted, the person is told its id."""

import socket
import threading
from types import SimpleNamespace

import pytest

import hookkeeper.cli.client
from hookkeeper.cli.client import Api, NotConnected, OutOfReach

EVENT = {"type": "order.paid", "data": {}}


def test_a_server_that_dies_after_it_got_the_event_leaves_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first post gets through and is not answered; the next finds nobody listening."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)

        taking = threading.Thread(target=take_one)
        taking.start()

        def wait(_: float) -> None:
            """Take the place of the wait before the next post: the server is gone by then."""
            taking.join(60)
            listener.close()

        monkeypatch.setattr(hookkeeper.cli.client, "time", SimpleNamespace(sleep=wait))
        client = Api(f"http://127.0.0.1:{listener.getsockname()[1]}", "key")
        with pytest.raises(OutOfReach, match=r"add: --id evt_[0-9a-f]{24}$"):
            client.send_event(EVENT)
        client.close()


def test_what_was_never_sent_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(hookkeeper.cli.client, "time", SimpleNamespace(sleep=waits.append))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = Api(f"http://127.0.0.1:{port}", "key")
    with pytest.raises(NotConnected):
        client.send_event(EVENT)
    client.close()
    assert waits == []
