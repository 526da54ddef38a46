"""A webhook that is given by its name."""

from typing import Any

import httpx
import pytest

from cli.client.api import Api
from cli.console import Failed

NAME = 'The "Orders" of our new online shop'


@pytest.fixture
def queries() -> list[dict[str, str]]:
    return []


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, queries: list[dict[str, str]]) -> Api:
    """An API with two pages of webhooks, of which the first has no match."""
    page: dict[str, Any] = {"items": [], "next_cursor": "second"}
    others = [{"id": f"wh_{number}", "name": "of our new online shop"} for number in (2, 3)]
    second: dict[str, Any] = {"items": [{"id": "wh_1", "name": NAME}, *others], "next_cursor": None}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/webhooks":
            queries.append(dict(request.url.params))
            return httpx.Response(200, json=second if "cursor" in request.url.params else page)
        found = request.url.path.removeprefix("/v1/webhooks/")
        return httpx.Response(200, json={"id": found}) if found == "wh_1" else httpx.Response(404)

    client = Api("http://127.0.0.1:1", "key")
    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(client, "_http", httpx.Client(base_url=f"{client.url}/v1", transport=transport))
    return client


def test_all_pages_are_searched_and_a_name_may_have_many_words_and_quotes(
    api: Api, queries: list[dict[str, str]]
) -> None:
    assert api.call("GET", "webhooks", NAME) == {"id": "wh_1"}
    assert [query["q"] for query in queries] == ['" of our new online shop"'] * 2


def test_a_group_of_statistics_has_no_name_and_none_is_looked_for(api: Api, queries: list[dict[str, str]]) -> None:
    assert api.webhook_name("(other)") == ""
    assert queries == []


def test_a_name_of_several_webhooks_is_refused_and_an_unknown_one_is_not_found(api: Api) -> None:
    with pytest.raises(Failed, match=r"several webhooks are named .* give an id, such as wh_2, wh_3"):
        api.call("GET", "webhooks", "of our new online shop")
    for unknown in ("Orders", '"', "wh_9"):
        with pytest.raises(Failed, match="404"):
            api.call("GET", "webhooks", unknown)
