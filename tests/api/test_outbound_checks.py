"""What is refused when a webhook is registered or changed, as no delivery would reach it: a clear 422, and no row."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from problems import problem
from temporalio.client import Client

from drills.authorities import Authority
from forbidden import BAD_PORTS, NO_HOSTS, PRIVATE
from hookkeeper.content.headers import MASK
from instances import Instance, running_instance

WEBHOOKS = "/v1/webhooks"
URL = "https://acme.example/hook"


@dataclass
class Door(Instance):
    known: dict[str, Any]
    """A webhook that no request here changes."""


@pytest.fixture(scope="module")
async def door(temporal: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """An instance for all tests here: nearly all is refused at the door. It allows 127.0.0.0/8."""
    async with running_instance(temporal, tmp_path_factory.mktemp("door")) as built:
        known = await built.webhook(URL)
        shown = (await built.http.get(f"{WEBHOOKS}/{known['id']}")).json()
        yield Door(**vars(built), known=shown)


async def refused(door: Door, fields: dict[str, Any], *paths: str) -> str:
    """See that neither a POST nor a PATCH takes it; give what is said of it."""
    said = problem(await door.http.post(WEBHOOKS, json={"tenant": door.tenant, **fields}), 422, *paths)["errors"]
    path = f"{WEBHOOKS}/{door.known['id']}"
    assert problem(await door.http.patch(path, json=fields), 422, *paths)["errors"] == said
    assert (await door.http.get(path)).json() == door.known
    return "; ".join(error["detail"] for error in said)


@pytest.mark.promise("docs/retries.md")
async def test_a_webhook_with_an_unreachable_host_is_refused(door: Door) -> None:
    for host in (*PRIVATE, *NO_HOSTS, *BAD_PORTS):
        await refused(door, {"url": f"https://{host}/hook"}, "url")


@pytest.mark.promise("docs/retries.md")
@pytest.mark.parametrize("host", [*PRIVATE[::4], *BAD_PORTS])
async def test_a_notification_with_an_unreachable_host_is_refused(door: Door, host: str) -> None:
    note = {"http": {"url": f"https://{host}/{{{{ event.id }}}}"}}
    await refused(door, {"notifications": [note]}, "notifications.0.http.url")
    await refused(door, {"url": URL, "on_failure": {"notifications": [note]}}, "on_failure.notifications.0.http.url")


@pytest.mark.parametrize(
    ("host", "detail"),
    [
        ("10.0.0.1", "has an address that is not public: only the operator can allow it (HOOKKEEPER_ALLOWED_NETWORKS)"),
        ("0xa9fea9fe", "must write an IPv4 address as four decimal numbers"),
        (
            "[::ffff:10.0.0.1]",
            "has an address that is not public: only the operator can allow it (HOOKKEEPER_ALLOWED_NETWORKS)",
        ),
        (
            "metadata.google.internal",
            "has a host of a private network: only the operator can allow it (HOOKKEEPER_ALLOWED_NETWORKS)",
        ),
        ("8.8.8.8:22", "has port 22, which belongs to another protocol than HTTP"),
        ("[fe80::1%25eth0]", "must name a host"),
    ],
)
async def test_the_refusal_of_a_host_has_its_reason(door: Door, host: str, detail: str) -> None:
    assert await refused(door, {"url": f"https://{host}/"}, "url") == detail


async def test_a_host_that_the_operator_allows_is_accepted(door: Door) -> None:
    for host in ("127.0.0.1:8080", "localhost:9000", "a.localhost"):
        await door.webhook(f"http://{host}/hook")
    problem(await door.http.post(WEBHOOKS, json={"url": "http://[::1]/"}), 422, "url")


async def test_a_host_from_a_template_is_accepted_when_saved(door: Door) -> None:
    await door.webhook(None, notifications=[{"http": {"url": "https://{{ event.data.host }}/"}}])


# Headers


@pytest.mark.promise("docs/retries.md")
@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings"),
        *("Proxy-Authorization", "Proxy-Connection", "Content-Length", "Content-Encoding", "Webhook-Id", "Cookie"),
        *("X-Forwarded-For", "x-forwarded-host", "Forwarded", "Via", "X-Real-IP"),
        *("Metadata-Flavor", "Metadata", "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"),
        *("X-Google-Metadata-Request", "X-aliyun-ecs-metadata-token"),
    ],
)
async def test_a_reserved_header_is_refused(door: Door, name: str) -> None:
    assert name in await refused(door, {"url": URL, "headers": {name: "x"}}, "headers")
    await refused(door, {"notifications": [{"http": {"url": URL, "headers": {name: "x"}}}]})


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\rb", "a\0b", "ü", "日本", "\N{NO-BREAK SPACE}", ""])
async def test_an_invalid_header_value_is_refused(door: Door, value: str) -> None:
    await refused(door, {"url": URL, "headers": {"X-Token": value}}, "headers")


LARGE = {f"x-{n}": "v" * 4000 for n in range(4)}
TOO_LARGE = LARGE | {"x-more": "v" * 400}


async def test_headers_that_are_too_large_together_are_refused(door: Door) -> None:
    """30 headers of 4 KiB each were taken, and cost the worker 0.3 s at each attempt."""
    detail = "names and values of all headers are 16418 bytes, and may be 16384 together"
    assert await refused(door, {"url": URL, "headers": TOO_LARGE}, "headers") == detail
    call = {"http": {"url": URL, "headers": TOO_LARGE}}
    assert detail in await refused(door, {"notifications": [call]})
    assert detail in await refused(door, {"url": URL, "on_failure": {"notifications": [call]}})


async def test_masked_headers_count_with_their_stored_size(door: Door) -> None:
    call = {"http": {"url": URL, "headers": LARGE}}
    made = await door.webhook(URL, headers=LARGE, notifications=[call])
    path = f"{WEBHOOKS}/{made['id']}"
    more = dict.fromkeys(LARGE, MASK) | {"x-more": "v" * 400}
    problem(await door.http.patch(path, json={"headers": more}), 422)
    shown = made["notifications"][0]["http"]
    patch = {"notifications": [{"http": shown | {"headers": more}}]}
    problem(await door.http.patch(path, json=patch), 422)
    assert (await door.http.patch(path, json={"headers": dict.fromkeys(LARGE, MASK)})).status_code == 200


async def test_the_size_of_headers_is_bounded_in_what_a_template_makes(instance: Instance) -> None:
    call = {"method": "POST", "url": URL, "headers": {"x-large": "{{ event.data.text }}", **LARGE}}
    webhook = {"url": URL, "notifications": [{"http": call}]}
    assert await previewed_problem(instance, webhook, "v" * 10) is None
    assert "may be 16384 together" in str(await previewed_problem(instance, webhook, "v" * 2048))


async def previewed_problem(door: Instance, webhook: dict[str, Any], text: str) -> str | None:
    """Return what is wrong with the only notification of a webhook for an event with this text."""
    body = {"webhook": webhook, "event": {"type": "a", "data": {"text": text}}}
    answer = await door.http.post(f"{WEBHOOKS}/preview", json=body)
    assert answer.status_code == 200, answer.text
    (shown,) = answer.json()["notifications"]
    problem_: str | None = shown["problem"]
    return problem_


async def test_other_headers_are_accepted_and_masked(door: Door) -> None:
    headers = {"Authorization": "Bearer s3cret", "X-Forwarded": "x", "X-Google": "x", "X-Metadata": "x"}
    made = await door.webhook(URL, headers=headers)
    assert made["headers"] == dict.fromkeys(headers, MASK)


# TLS

AUTHORITY = Authority()
PAIR = AUTHORITY.certify("client.example")
TLS = {"ca": AUTHORITY.pem, "certificate": PAIR.certificate, "key": PAIR.key}


async def test_a_tls_key_is_accepted_masked_and_kept(door: Door) -> None:
    made = await door.webhook(URL, tls=TLS)
    path = f"{WEBHOOKS}/{made['id']}"
    masked = {**TLS, "key": MASK}
    assert made["tls"] == masked
    for answer in (
        await door.http.get(path),
        await door.http.patch(path, json={"tls": masked, "name": "sent back as it was shown"}),
        await door.http.patch(path, json={"tls": {**masked, "ca": None}}),
    ):
        assert answer.status_code == 200
        assert PAIR.key.splitlines()[1] not in answer.text
    kept = await door.store.webhooks.get(made["id"])
    assert kept is not None
    assert kept.tls is not None
    assert (kept.tls.ca, kept.tls.key) == (None, PAIR.key)
    assert (await door.http.patch(path, json={"tls": None})).json()["tls"] is None


async def test_unusable_tls_settings_are_refused(door: Door) -> None:
    other = AUTHORITY.certify("other.example")
    for tls, detail in (
        ({**TLS, "key": other.key}, "key: does not belong to the certificate (the first one, if there are several)"),
        ({"ca": "nonsense"}, "ca: is not a certificate in PEM, such as -----BEGIN CERTIFICATE----- …"),
        ({**TLS, "key": MASK}, "key has the mask of a secret as its value, but no secret is stored"),
    ):
        assert await refused(door, {"url": URL, "tls": tls}, "tls") == detail
    for bad in ({}, {"certificate": PAIR.certificate}, {"ca": "ü"}, {"verify": False}, "x"):
        problem(await door.http.post(WEBHOOKS, json={"url": URL, "tls": bad}), 422)


async def test_a_masked_tls_key_with_another_certificate_is_refused(door: Door) -> None:
    made = await door.webhook(URL, tls=TLS)
    other = AUTHORITY.certify("other.example")
    tls = {"certificate": other.certificate, "key": MASK}
    problem(await door.http.patch(f"{WEBHOOKS}/{made['id']}", json={"tls": tls}), 422, "tls")


async def test_a_preview_accepts_masked_tls_settings(door: Door) -> None:
    wanted = {"webhook": {"url": URL, "tls": {**TLS, "key": MASK}}}
    assert (await door.http.post(f"{WEBHOOKS}/preview", json=wanted)).status_code == 200
