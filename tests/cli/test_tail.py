"""`hookkeeper events tail` prints each event once, also if its stream is resumed."""

import json
from itertools import islice
from typing import Any

import httpx
import pytest

from hookkeeper.cli import events
from hookkeeper.cli.client import Api


def event(id_: str, *, is_new: bool = True) -> dict[str, Any]:
    return {"tenant": "acme", "id": id_, "is_new": is_new}


def message(kind: str, id_: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\nid: {id_}\n\n"


def test_each_event_comes_once_also_if_the_stream_is_resumed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Timeline: a stream that begins, and repeats an event of the list; a lost connection; a stream that goes on."""
    monkeypatch.setattr(events, "RECONNECT_AFTER", 0)
    latest = [event("3"), event("2"), event("1")]
    streams = [
        message("ready", "a", {}) + message("event", "b", event("3")) + message("event", "c", event("4")) + "id: d\n\n",
        None,
        message("event", "e", event("4", is_new=False)) + message("reset", "f", {}) + message("event", "g", event("5")),
    ]
    resumed_after = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/events":
            return httpx.Response(200, json={"items": latest})
        resumed_after.append(request.headers.get("last-event-id"))
        if (text := streams.pop(0)) is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, text=text)

    api = Api("http://127.0.0.1:1", "key")
    monkeypatch.setattr(api, "_http", httpx.Client(base_url=f"{api.url}/v1", transport=httpx.MockTransport(answer)))
    found = [found["id"] for found in islice(events.tail(api, 2, tenant="acme"), 4)]
    api.close()
    assert found == ["2", "3", "4", "5"]
    assert resumed_after == [None, "d", "d"]
    assert capsys.readouterr().err.splitlines() == [
        "cannot reach http://127.0.0.1:1 (refused). Trying again.",
        events.LEFT_OUT,
    ]
