"""The codec server decrypts payloads for the web UI, if its user has entered the admin key before."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from problems import problem
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import Client

from api.sessions import CODEC
from hookkeeper.crypto.keyring import Keyring, new_key
from hookkeeper.temporal.server.data_converter import EncryptionCodec
from instances import KEY, Instance, running_instance

KEYS = new_key("k1")
UI = "http://temporal-ui.test"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'{"customer": "Ann"}')
QUESTION = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-namespace"}


@pytest.fixture
async def sealed(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(KEYS)) as built:
        yield built


@pytest.fixture
async def browser(sealed: Instance) -> httpx.AsyncClient:
    """A client without a key."""
    del sealed.http.headers["authorization"]
    return sealed.http


async def encrypted(*payloads: Payload) -> dict[str, Any]:
    codec = EncryptionCodec(Keyring.parse(KEYS))
    return MessageToDict(Payloads(payloads=await codec.encode(payloads)))


async def sign_in(browser: httpx.AsyncClient, key: str = KEY) -> httpx.Response:
    return await browser.post("/codec", data={"key": key})


async def decode(browser: httpx.AsyncClient, payloads: Any, origin: str | None = UI) -> httpx.Response:
    """Ask as the web UI's page does."""
    headers = {"x-namespace": "default", **({"origin": origin} if origin else {})}
    return await browser.post("/codec/decode?preserveStorageRefs=true", json=payloads, headers=headers)


async def test_the_web_ui_can_decode_after_its_user_has_signed_in(browser: httpx.AsyncClient) -> None:
    payloads = await encrypted(PLAIN, PLAIN)
    answer = await decode(browser, payloads)
    assert "enter it at" in problem(answer, 401)["detail"]
    assert answer.headers["access-control-allow-origin"] == UI  # so that the page learns why

    cookie = (await sign_in(browser)).headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/codec", "Max-Age=43200"):
        assert part in cookie
    assert KEY not in cookie
    answer = await decode(browser, payloads)
    assert answer.status_code == 200
    assert answer.json() == MessageToDict(Payloads(payloads=[PLAIN, PLAIN]))
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["access-control-allow-credentials"] == "true"

    signed_out = await browser.post("/codec", data={"end": "1"})
    assert "Max-Age=0" in signed_out.headers["set-cookie"]
    assert (await decode(browser, payloads)).status_code == 401


async def test_a_token_that_the_web_ui_passes_on_is_no_guess_beside_the_cookie(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    browser.headers["authorization"] = "Bearer token-of-an-identity-provider"
    payloads = await encrypted(PLAIN)
    assert {(await decode(browser, payloads)).status_code for _ in range(25)} == {200}


async def test_only_the_origin_of_the_web_ui_is_allowed_by_cors(browser: httpx.AsyncClient) -> None:
    allowed = await browser.options("/codec/decode", headers={"origin": UI, **QUESTION})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-headers"] == "content-type, x-namespace"
    assert allowed.headers["access-control-allow-credentials"] == "true"
    await sign_in(browser)
    for origin in ("http://evil.test", "http://temporal-ui.test:81", "https://temporal-ui.test", "null", ""):
        asked = await browser.options("/codec/decode", headers={"origin": origin, **QUESTION})
        answered = await decode(browser, await encrypted(PLAIN), origin=origin or None)
        for answer in (asked, answered):
            assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answered.status_code == (403 if origin else 200)


async def test_the_command_line_sends_the_key_itself(sealed: Instance) -> None:
    answer = await decode(sealed.http, await encrypted(PLAIN), origin=None)
    assert answer.json() == MessageToDict(Payloads(payloads=[PLAIN]))
    for wrong in ("Bearer nonsense", f"Basic {KEY}", KEY):
        answer = await sealed.http.post("/codec/decode", json={}, headers={"authorization": wrong})
        assert answer.status_code == 401


@pytest.mark.promise("docs/encryption.md")
async def test_a_tenants_key_is_not_enough(sealed: Instance) -> None:
    made = await sealed.http.post("/v1/keys", json={"name": "t", "tenant": sealed.tenant})
    headers = {"authorization": f"Bearer {made.json()['key']}"}
    assert (await sealed.http.post("/codec/decode", json={}, headers=headers)).status_code == 401
    assert (await sign_in(sealed.http, made.json()["key"])).status_code == 401


@pytest.mark.promise("docs/encryption.md")
async def test_an_encoded_payload_can_be_decoded(sealed: Instance) -> None:
    sent = MessageToDict(Payloads(payloads=[PLAIN]))
    answer = await sealed.http.post("/codec/encode", json=sent)
    assert b64encode(b"binary/encrypted").decode() == answer.json()["payloads"][0]["metadata"]["encoding"]
    assert (await decode(sealed.http, answer.json(), origin=None)).json() == sent


async def test_payloads_pass_unchanged_without_encryption(instance: Instance) -> None:
    sent = MessageToDict(Payloads(payloads=[PLAIN]))
    for what in ("decode", "encode"):
        assert (await instance.http.post(f"/codec/{what}", json=sent)).json() == sent


async def test_an_unreadable_payload_or_body_is_refused(sealed: Instance) -> None:
    foreign = await EncryptionCodec(Keyring.parse(new_key("k2"))).encode([PLAIN])
    answer = await decode(sealed.http, MessageToDict(Payloads(payloads=foreign)), origin=None)
    assert "encrypted with key k2, which is not in HOOKKEEPER_ENCRYPTION_KEYS" in problem(answer, 422)["detail"]
    damaged = await encrypted(PLAIN)
    damaged["payloads"][0]["data"] = "AAAA"
    problem(await decode(sealed.http, damaged, origin=None), 422)
    bodies = (
        "",
        "nonsense",
        "[]",
        *(f'{{"payloads": {payloads}}}' for payloads in ("1", "null", "[null]", '["a"]', "[[]]")),
        "\xff",
    )
    for body in bodies:
        answer = await sealed.http.post(
            "/codec/decode", content=body.encode("latin-1"), headers={"content-type": "application/json"}
        )
        problem(answer, 400)
    assert (await decode(sealed.http, {}, origin=None)).json() == {}
    assert (await decode(sealed.http, {"payloads": [{}], "unknown": 1}, origin=None)).json() == {"payloads": [{}]}


async def test_a_large_body_is_refused(sealed: Instance) -> None:
    async def pieces() -> AsyncIterator[bytes]:  # as from a socket: the event loop has other things to do between them
        yield b'{"payloads": [{"data": "'
        for _ in range(16):
            yield b"A" * 2**20
            await asyncio.sleep(0)

    answer = await sealed.http.post("/codec/decode", content=pieces(), headers={"content-type": "application/json"})
    problem(answer, 413)


async def test_the_page_takes_the_admin_key_only_and_reflects_no_input(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/codec")
    assert 'type="password"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    wrong = await sign_in(browser, '"><script>')
    assert wrong.status_code == 401
    assert "This is not the admin key." in wrong.text
    assert "set-cookie" not in wrong.headers
    assert "<script>" not in wrong.text
    right = await sign_in(browser)
    assert (right.status_code, right.headers["location"]) == (303, "/codec")
    assert "http://127.0.0.1:8080/codec" in (await browser.get("/codec")).text
    problem(await browser.post("/codec", content="key=" + "x" * 5000), 413)


async def test_over_https_the_cookie_goes_by_https_only(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, public_url="https://hooks.test") as built:
        assert "Secure" in (await sign_in(built.http)).headers["set-cookie"]


async def test_a_form_of_another_site_does_not_sign_out(browser: httpx.AsyncClient) -> None:
    """A browser sends such a form without the cookie: what it answers may not end the cookie that is there."""
    await sign_in(browser)
    cookie = browser.cookies[CODEC.name]
    browser.cookies.clear()
    for form in ({}, {"end": "1"}, {"other": "1"}):
        assert "set-cookie" not in (await browser.post("/codec", data=form)).headers
    browser.cookies.set(CODEC.name, cookie)
    assert "set-cookie" not in (await browser.post("/codec", data={})).headers
    assert "set-cookie" in (await browser.post("/codec", data={"end": "1"})).headers
