"""`hookkeeper events tail` prints each event once, also if its stream is resumed."""

import json
from itertools import islice
from typing import Any

import httpx
import pytest

from cli.client import events
from cli.client.api import Api
from cli.console import out


def event(id_: str, *, is_new: bool = True) -> dict[str, Any]:
    return {"tenant": "acme", "id": id_, "is_new": is_new, "deliveries": []}


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


AT = "2026-01-02T03:04:05.000Z"
CHANGED = {
    "id": "wh_1",
    "webhook_id": "wh_1",
    "status": "succeeded",
    "reason": None,
    "attempts": 1,
    "status_code": 200,
    "error": None,
    "next_attempt_at": None,
    "finished_at": "2026-01-02T03:04:05.084Z",
}
FAILED = {"finished_at": None, "status_code": 500, "error": "http_500"}


@pytest.mark.parametrize(
    ("delivery", "shown"),
    [
        ({}, "Orders[1]  delivered 200 in 84 ms"),
        ({"finished_at": "2026-01-02T03:06:05.000Z", "attempts": 3}, "Orders[1]  delivered 200 in 2 min"),
        (FAILED | {"status": "retrying"}, "Orders[1]  failed 500"),
        (FAILED | {"status": "retrying", "next_attempt_at": AT}, "Orders[1]  failed 500, next in 0 s"),
        (FAILED | {"status": "failed", "reason": "exhausted"}, "Orders[1]  failed 500 (exhausted)"),
        (FAILED | {"status": "held", "reason": "webhook_paused"}, "Orders[1]  held (webhook paused)"),
        ({"status": "held", "reason": "webhook_paused", "attempts": 0}, "Orders[1]  held (webhook paused)"),
        ({"id": "wh_1.email.2", "status": "sent", "status_code": 250}, "Orders[1] email 2  sent 250"),
        (
            {"id": "wh_2", "webhook_id": "wh_2", "status_code": None, "status": "failed", "error": "timeout"},
            "wh_2  failed timeout",
        ),
    ],
)
def test_an_outcome_is_a_line_with_the_name_of_its_webhook(
    delivery: dict[str, Any], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = CHANGED | {"status": "pending", "attempts": 0, "status_code": None, "finished_at": None}
    changed = {
        "id": "e1",
        "tenant": "acme",
        "accepted_at": AT,
        "finished_at": None,
        "is_new": False,
        "deliveries": [CHANGED | delivery, waiting],
    }
    (line,) = events.lines_of(changed, lambda id_: "Orders[1]" if id_ == "wh_1" else "")
    out.print(line)
    assert capsys.readouterr().out.partition("  ")[2] == f"e1  {shown}\n"
    assert len([*events.lines_of(changed | {"type": "t", "is_new": True}, lambda _: "")]) == 2


def test_an_event_of_the_list_is_followed_by_its_latest_result(capsys: pytest.CaptureFixture[str]) -> None:
    latest = CHANGED | FAILED | {"delivery": "wh_1.email.1", "status": "failed", "reason": "exhausted"}
    listed = {"id": "e1", "type": "t", "tenant": "acme", "accepted_at": AT, "finished_at": AT, "latest": latest}
    for line in events.lines_of(listed, lambda _: "Orders"):
        out.print(line)
    assert capsys.readouterr().out == f"{AT}  e1  t  acme\n{AT}  e1  Orders email 1  failed 500 (exhausted)\n"
