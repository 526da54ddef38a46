"""The HTTP client of the command line. It speaks only what any other client of the API could."""

import os
from typing import Any, NoReturn

import httpx
import typer
from rich.console import Console

from cli.datadir import DEFAULT, DataDir

DEFAULT_URL = "http://127.0.0.1:8080"
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Api:
    """One server and the key to it."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    @classmethod
    def of_environment(cls) -> "Api":
        """Use `HOOKKEEPER_URL` and `HOOKKEEPER_API_KEY`, or what a `dev` of this directory has left."""
        data = DataDir(DEFAULT)
        url = os.environ.get("HOOKKEEPER_URL") or data.known_url() or DEFAULT_URL
        return cls(url, os.environ.get("HOOKKEEPER_API_KEY") or data.known_key())

    def call(self, method: str, path: str, *, body: Any = None, **query: Any) -> Any:
        """Make a request; give the JSON of a 2xx, end the command with the problem otherwise."""
        params = {name: value for name, value in query.items() if value is not None}
        try:
            answer = self._http.request(method, f"/v1{path}", params=params, json=body)
        except httpx.TransportError as error:
            fail(f"cannot reach {self.url}: {error}. Is `hookkeeper dev` running? HOOKKEEPER_URL names another server.")
        if not answer.is_success:
            _fail_with_problem(answer)
        return answer.json() if answer.content else None

    def close(self) -> None:
        self._http.close()


def fail(message: str) -> NoReturn:
    """End the command: 1, and why on standard error."""
    err.print(f"[red]Error:[/red] {message}", markup=True)
    raise typer.Exit(1)


def _fail_with_problem(answer: httpx.Response) -> NoReturn:
    if "problem+json" not in answer.headers.get("content-type", ""):
        fail(f"{answer.status_code} {answer.reason_phrase}")
    problem = answer.json()
    fields = "".join(f"\n  {each['path']}: {each['detail']}" for each in problem["errors"])
    hint = ""
    if answer.status_code == 401:
        hint = " Set HOOKKEEPER_API_KEY, or run this where `hookkeeper dev` keeps its data."
    fail(f"{problem['status']} {problem['title']}: {problem['detail']}{hint}{fields}")
