"""The HTTP client of the command line. It uses only the public API.

It imports httpx at the first request: `hookkeeper dev` makes none, and httpx would take 5 MB of it.

Errors:

    Failed
    └── ApiUnavailable    the API does not respond, or a 502 to 504 comes; the same call may succeed later
        └── NotConnected  there is no connection: nothing was sent
"""

import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote, urlsplit

from cli.console import Failed, Json, WrongUsage
from cli.datadir import DEFAULT, DataDir
from hookkeeper.content.text import API_KEY

if TYPE_CHECKING:
    import httpx

NO_IDS = frozenset({"", ".", ".."})
"""They would make the path of something else."""
DEFAULT_URL = "http://127.0.0.1:8080"
MAX_SEARCHED = 256
"""Characters of a text in the search for a webhook."""
SEND_RETRY_WAITS = (1.0, 5.0)
"""Seconds before an event with an unknown result is sent again."""


class ApiUnavailable(Failed):
    """There is no response, or a 503, or a proxy in front of the API says so."""

    may_have_arrived = True
    """The server may have received and executed the request."""
    event_id: str | None = None
    """The event that the request may have made, if the response names it."""


class NotConnected(ApiUnavailable):
    """The request was never sent."""

    may_have_arrived = False


class TooMuch(Failed):
    """The statistics have more steps, points or counters than the API adds up."""


class Api:
    """One server and the key to it."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")  # examples of the API have it
        if not self.url.startswith(("http://", "https://")):
            raise Failed(f"HOOKKEEPER_URL {url!r} is invalid: it must start with http:// or https://")
        if key and not API_KEY.fullmatch(key):  # httpx would repeat it in its error
            raise Failed("HOOKKEEPER_API_KEY contains invalid characters, such as a space or a line break at its end")
        import httpx

        self.headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(base_url=f"{self.url}/v1", headers=self.headers, timeout=30, trust_env=False)
        except httpx.InvalidURL as error:
            raise Failed(f"HOOKKEEPER_URL {url!r} is invalid: {error}") from error
        self._names: dict[str, str] = {}

    @classmethod
    def of_environment(cls) -> Self:
        """Use `HOOKKEEPER_URL` and `HOOKKEEPER_API_KEY`, or those of the `dev` of this directory.

        The directory's address gets only the directory's key, and this key is sent to no other machine.
        """
        url, key = os.environ.get("HOOKKEEPER_URL"), os.environ.get("HOOKKEEPER_API_KEY")
        dev = DataDir(DEFAULT).dev_api()
        if dev is None:
            return cls(url or DEFAULT_URL, key)
        if not url and key in (None, "", dev.key):
            return cls(dev.url, dev.key)
        url = url or DEFAULT_URL
        return cls(url, key or (dev.key if url == dev.url or _is_loopback(url) else None))

    def call(self, method: str, *path: str, body: Any = None, **query: Any) -> Any:
        """Make a request and return the JSON of a 2xx. Raises `Failed` with the text of the problem document."""
        if wrong := [part for part in path if part in NO_IDS]:
            raise Failed(f"{wrong[0]!r} is no id: check the argument, such as a variable that is not set")
        try:
            url = "/".join(quote(part, safe="") for part in path)
            request = self._http.build_request(method, url, params=present(**query), json=body)
        except UnicodeEncodeError as error:
            raise Failed("an argument is not valid UTF-8") from error
        except ValueError as error:  # JSON has no such number
            raise Failed("an argument is not a finite number") from error
        response = self._send(request)
        is_unknown = response.status_code in (404, 422) and path[0] == "webhooks"
        if is_unknown and (id_ := self._webhook_named(*path[1:2])):
            return self.call(method, "webhooks", id_, *path[2:], body=body, **query)
        if not response.is_success:
            _raise_problem(response)
        return self._json(response)

    def _send(self, request: "httpx.Request") -> "httpx.Response":
        import httpx

        try:
            return self._http.send(request)
        except httpx.TransportError as error:
            kind = NotConnected if isinstance(error, httpx.ConnectError) else ApiUnavailable
            raise kind(
                f"cannot reach {self.url} ({error}). Is `hookkeeper dev` running? Else set HOOKKEEPER_URL."
            ) from error

    def _json(self, response: "httpx.Response") -> Any:
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise Failed(f"{self.url} is not a Hookkeeper API: check HOOKKEEPER_URL") from error

    def readiness(self) -> Json:
        """Return whether Temporal and workers run. Raises `Failed` if the server cannot accept events."""
        response = self._send(self._http.build_request("GET", f"{self.url}/readyz"))
        if not response.is_success:
            _raise_problem(response)
        return self._json(response)  # type: ignore[no-any-return]

    def stream(self, *path: str, last_id: str, **query: Any) -> Iterator[tuple[str, Any, str]]:
        """Yield kind, data and id of each server-sent event after the one with `last_id`, until the stream ends.

        Raises `Failed`, and `ApiUnavailable` also if the connection is lost.
        """
        import httpx

        url, headers = "/".join(path), {"last-event-id": last_id} if last_id else {}
        message: dict[str, str] = {}
        try:
            with self._http.stream("GET", url, params=present(**query), headers=headers) as response:
                if not response.is_success:
                    response.read()
                    _raise_problem(response)
                for line in response.iter_lines():
                    name, _, value = line.partition(": ")
                    message[name] = value
                    if not line:
                        last_id = message.get("id", last_id)
                        yield message.get("event", ""), json.loads(message.get("data", "null")), last_id
                        message.clear()
        except httpx.TransportError as error:
            raise ApiUnavailable(f"cannot reach {self.url} ({error}).") from error

    def send_event(self, event: Json, path: Sequence[str] = ("events",)) -> Any:
        """Send an event, and again if it is unknown whether it was accepted.

        All attempts have the same id, so they make one event, even if a response is lost.
        """
        return self.make_event({"id": f"evt_{secrets.token_hex(12)}"} | event, *path)

    def make_event(self, body: Json, *path: str, **query: Any) -> Any:
        """POST a request that makes an event, and again if it is unknown whether it was executed.

        The id in `body`, or else the one in the first response, makes all attempts one request.
        """
        may_have_arrived = False
        for wait in (*SEND_RETRY_WAITS, None):
            try:
                return self.call("POST", *path, body=body, **query)
            except ApiUnavailable as error:
                may_have_arrived |= error.may_have_arrived
                body = present(id=error.event_id) | body
                if not may_have_arrived or "id" not in body:
                    raise
                if wait is None:
                    raise ApiUnavailable(f"{error}\nTo repeat it as the same event, add: --id {body['id']}") from error
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def all(self, *path: str, **query: Any) -> Iterator[Any]:
        """Yield the items of a list, page by page."""
        cursor = None
        while True:
            page = self.call("GET", *path, limit=100, cursor=cursor, **query)
            yield from page["items"]
            if (cursor := page["next_cursor"]) is None:
                return

    def webhook_name(self, webhook_id: str) -> str:
        """Return the name of a webhook, which is read once; empty if it has none, or the key may not read it."""
        if not webhook_id.startswith("wh_"):  # `(other)`, which groups webhooks in statistics
            return ""
        if webhook_id not in self._names:
            try:
                self._names[webhook_id] = self.call("GET", "webhooks", webhook_id)["name"]
            except ApiUnavailable:
                return ""
            except Failed:
                self._names[webhook_id] = ""
        return self._names[webhook_id]

    def _webhook_named(self, name: str = "") -> str | None:
        """Return the id of the webhook with this name or uid, if there is one. Raises `Failed` if several have it."""
        text = max(name.split('"'), key=len)[:MAX_SEARCHED]  # a query has no way to write quotes
        if not text or name == "preview" or name.startswith("wh_"):
            return None
        listed = self.all("webhooks", q=f'"{text}"')
        found = [webhook["id"] for webhook in listed if name in (webhook["name"], webhook.get("uid"))]
        if len(found) > 1:
            raise Failed(f"several webhooks are named {name}: give an id, such as {', '.join(found[:3])}")
        return found[0] if found else None

    def close(self) -> None:
        self._http.close()


def present(**fields: Any) -> Json:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _raise_problem(response: "httpx.Response") -> NoReturn:
    error = _error(response)
    if response.status_code == 422 and response.url.path == "/v1/stats" and _wrong_fields(response) == ["step"]:
        raise TooMuch(error)
    if response.status_code == 422 and _wrong_fields(response) == ["webhook"]:
        raise WrongUsage(error)
    if response.status_code not in (502, 503, 504):
        raise Failed(error)
    unavailable = ApiUnavailable(error)
    unavailable.event_id = response.headers.get("hookkeeper-event-id")
    raise unavailable


def _wrong_fields(response: "httpx.Response") -> list[str]:
    return [error["path"] for error in response.json().get("errors", ())]


def _has_default_tenant(url: "httpx.URL") -> bool:
    """Whether the request is about one schedule, whose ids belong to a tenant, and names no tenant."""
    return url.path.startswith("/v1/schedules/") and "tenant" not in url.params


def _error(response: "httpx.Response") -> str:
    if "problem+json" not in response.headers.get("content-type", ""):
        return f"{response.url} answers {response.status_code} {response.reason_phrase}"
    problem = response.json()
    errors = [
        f"{field['path']}: {field['detail'].replace('`tenant`', '--tenant')}" for field in problem.get("errors", ())
    ]
    hint = ""
    if response.status_code == 401:
        hint = " Set HOOKKEEPER_API_KEY, or run this in the directory of `hookkeeper dev`."
    elif response.status_code == 404 and _has_default_tenant(response.url):
        hint = " Without --tenant, the tenant is the key's, or `default`."
    return f"{problem['status']} {problem['title']}: {problem['detail']}{hint}" + "".join(
        f"\n  {error}" for error in errors
    )
