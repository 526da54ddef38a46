"""Whatever cookies come with a request: no answer is 5xx, forged cookies open nothing, and none takes long to read."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from callers import calling
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sockets import HEALTHY, connected, serving
from temporalio.client import Client

from api.sessions import CODEC, FRAMED, SESSION, SESSION_DURATION, SessionCookie
from dashboard.login import FORM, FRAMED_LINK_FORM, LINK_FORM
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now
from instances import KEY, Instance, running_instance

COOKIES = (SESSION, FRAMED, FORM, LINK_FORM, FRAMED_LINK_FORM, CODEC)
REQUESTS = (
    *(("GET", path) for path in ("/", "/events", "/codec", "/login", "/healthz", "/nowhere", "/v1/events")),
    *(("POST", path) for path in ("/login", "/logout", "/codec", "/codec/decode", "/webhooks/new", "/portal/x")),
)
GUARDED = {"/events", "/", "/v1/events", "/codec/decode", "/webhooks/new"}
OURS = Settings(admin_key=SecretStr(KEY))
OTHERS = Settings(admin_key=SecretStr("another-admin-key"))
NOW = utc_now()


def with_proof(cookie: SessionCookie) -> str:
    """Return a token that ends in the proof of a form, which is a MAC that a page shows to everyone."""
    token = cookie.token("admin", OURS, NOW)
    return f"form {token}.{cookie.proof(token, OURS)}"


def tokens() -> list[str]:
    """Return tokens that are no session here: of another purpose, of another admin key, ended, of no key, changed."""
    wrong = [other.token("admin", OURS, NOW) for other in (LINK_FORM, FRAMED_LINK_FORM)]
    wrong += [SESSION.token("admin", OTHERS, NOW), SESSION.token("admin", OURS, NOW - SESSION_DURATION)]
    wrong += [cookie.token("key_1", OURS, NOW + timedelta(days=1)) for cookie in COOKIES]
    return [
        *wrong,
        *map(with_proof, COOKIES),
        wrong[0][:-1],
        wrong[0].upper(),
        f"{wrong[0]}.",
        "admin.nan.0",
        "..",
        ".",
    ]


names = st.sampled_from([cookie.name.encode() for cookie in COOKIES]) | st.binary(max_size=8)
values = (
    st.binary(max_size=60)
    | st.sampled_from(tokens()).map(str.encode)
    | st.sampled_from(tokens()).map(lambda token: f'"{token}"'.replace(".", "\\056").encode())
    | st.sampled_from([b'"\\', b"\\", b"\\377", b"\xff", b'"', b"=", b"%", b" "]).map(lambda part: part * 3000)
)
pairs = st.tuples(names, values).map(b"=".join) | st.binary(max_size=20) | st.just(b";" * 3000)
headers = st.lists(st.lists(pairs, max_size=4).map(b"; ".join), max_size=3)


@pytest.fixture(scope="module")
async def door(temporal: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    async with running_instance(temporal, tmp_path_factory.mktemp("door")) as built:
        yield built


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(asked=st.sampled_from(REQUESTS), cookies=headers)
@example(asked=("POST", "/login"), cookies=[f"{FORM.name}={with_proof(FORM)}".encode()])
@example(asked=("GET", "/events"), cookies=[f"{SESSION.name}={with_proof(SESSION)}".encode()])
async def test_any_cookie_is_answered_without_5xx_and_opens_nothing(
    door: Instance, asked: tuple[str, str], cookies: list[bytes]
) -> None:
    method, path = asked
    sent = [(b"cookie", cookie) for cookie in cookies]
    async with calling(door.app, None) as http:
        answer = await http.request(method, path, headers=[*sent, (b"sec-fetch-site", b"same-origin")])
    assert answer.status_code < 500, answer.text
    assert path not in GUARDED or answer.status_code in (303, 401, 415)


@pytest.mark.parametrize("part", ["\\", "\\1", "\\a", '"\\', "\\377"])
async def test_a_long_cookie_takes_no_time(instance: Instance, part: str) -> None:
    """Python before 3.12.6 needs seconds to unquote 32 KB of backslashes, in which the event loop does nothing else."""
    cookie = (part * 31_000)[:31_000]
    async with serving(instance.app) as server, connected(server.port) as client:
        client.send(f'GET /healthz HTTP/1.1\r\nhost: x\r\nCookie: x="{cookie}"\r\n\r\n'.encode())
        assert await client.answer() == (200, HEALTHY)
