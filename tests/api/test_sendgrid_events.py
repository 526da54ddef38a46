"""SendGrid's event webhook: signatures, the events that are read, and what is recorded. Keys are real, runs are not."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from callers import post_half
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import problem
from pydantic import SecretStr
from sqlalchemy import event
from structlog.testing import capture_logs
from temporalio.client import Client

from api.routes.providers import MAX_BYTES
from hookkeeper.messages.event import Receipt
from hookkeeper.registry.store import Store
from hookkeeper.services.mail.reports import (
    MAX_AGE,
    MAX_CONCURRENT_RUNS,
    MAX_SKEW,
    NotSigned,
    check_signature,
    check_time,
    read,
)
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server.error_translation import Unavailable
from instance_parts import app_of
from instances import KEY

PATH = "/v1/providers/sendgrid/events"
SENDGRID = ec.generate_private_key(ec.SECP256R1())
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JSON = {"content-type": "application/json"}
OURS = ("tenant", "event_id", "delivery", "attempt")
OUR_ARGUMENTS = {
    "hookkeeper_tenant": "acme",
    "hookkeeper_event_id": "evt_1",
    "hookkeeper_delivery": "wh_1.email.1",
    "hookkeeper_attempt": "2",
}
some = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def public(key: Any) -> str:
    """Write a public key as SendGrid's page shows it."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def sign(body: bytes, timestamp: str, key: ec.EllipticCurvePrivateKey = SENDGRID) -> str:
    return base64.b64encode(key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()


def sent(kind: str, **fields: Any) -> dict[str, Any]:
    """Make an event as SendGrid sends it; our arguments by their short names."""
    event = {
        "email": "Ann@Acme.example",
        "timestamp": 1767323045,
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": kind,
        "category": ["hookkeeper"],
        "sg_event_id": "ZGVsaXZlcmVkLTAtMTIwMDE0ODI",
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
        **OUR_ARGUMENTS,
    }
    return event | {f"hookkeeper_{name}" if name in OURS else name: value for name, value in fields.items()}


class Runs(Gateway):
    """Stands in for the runs: keeps what they would record. Temporal is not needed, and its client never connects."""

    def __init__(self, client: Client, store: Store) -> None:
        super().__init__(client, "hookkeeper", store.rows)
        self.recorded: list[tuple[str, str, str, Receipt]] = []
        self.closed: set[str] = set()
        self.out_of_reach: Callable[[str], bool] = lambda event_id: False
        self.at_once = self.most_at_once = 0
        self.busy: set[str] = set()

    async def record_receipt(self, tenant: str, event_id: str, delivery: str, receipt: Receipt) -> bool:
        assert event_id not in self.busy, "the reports of a run are recorded one after the other"
        self.busy.add(event_id)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(0.001)
            if self.out_of_reach(event_id):
                raise Unavailable("Temporal is out of reach")
            if event_id in self.closed:
                return False
            self.recorded.append((tenant, event_id, delivery, receipt))
            return True
        finally:
            self.at_once -= 1
            self.busy.discard(event_id)


class Door:
    """The API as SendGrid sees it: it has no key of ours."""

    def __init__(self, app: FastAPI, http: httpx.AsyncClient, store: Store, runs: Runs) -> None:
        self.app, self.http, self.store, self.runs = app, http, store, runs

    async def post(self, *events: Any, body: bytes | None = None, **headers: str) -> httpx.Response:
        """Post events, signed now by SendGrid where nothing else is said."""
        content = json.dumps(events).encode() if body is None else body
        timestamp = headers.get("timestamp", str(int(time.time())))
        return await self.http.post(
            PATH,
            content=content,
            headers={
                "content-type": "application/json",
                "x-twilio-email-event-webhook-timestamp": timestamp,
                "x-twilio-email-event-webhook-signature": headers.get("signature") or sign(content, timestamp),
            },
        )

    async def suppressed(self) -> dict[tuple[str, str], str]:
        found, _ = await self.store.suppressions.page(tenant=None, address=None, limit=100, cursor=None)
        return {(row.tenant, row.address): row.reason for row in found}


@asynccontextmanager
async def door_of(database_url: str, key: str | None) -> AsyncIterator[Door]:
    chosen = Settings(admin_key=SecretStr(KEY), database_url=database_url, sendgrid_verification_key=key)
    store = Store.connect(database_url)
    runs = Runs(await Client.connect("127.0.0.1:1", lazy=True), store)
    with app_of(chosen, store, runs) as app:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://hookkeeper.test", timeout=30) as http:
            yield Door(app, http, store, runs)
    await store.close()


@pytest.fixture
async def door(sqlite_url: str) -> AsyncIterator[Door]:
    async with door_of(sqlite_url, public(SENDGRID)) as built:
        await built.store.migrate()
        yield built


@pytest.fixture(scope="module")
async def lasting_door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    async with door_of(f"sqlite+aiosqlite:///{folder}/registry.db", public(SENDGRID)) as built:
        await built.store.migrate()
        yield built


# Who is let in


def test_a_signed_batch_is_accepted() -> None:
    body = '[{"email":"é@acme.example"}]\r\n'.encode()
    check_signature(public(SENDGRID), sign(body, "1767323045"), "1767323045", body)
    check_signature(f" {public(SENDGRID)}\n", sign(b"", "1"), "1", b"")


@pytest.mark.parametrize(
    ("signature", "timestamp", "body"),
    [
        (sign(b"[]", "1767323045"), "1767323045", b"[{}]"),
        (sign(b"[]", "1767323045"), "1767323046", b"[]"),
        (sign(b"[]", "1767323045", ec.generate_private_key(ec.SECP256R1())), "1767323045", b"[]"),
        (sign(b"\xff", "1767323045"), "1767323045", b"\xff"),
        (sign(b"[]", "1767323045")[:-8], "1767323045", b"[]"),
        *((garbage, "1767323045", b"[]") for garbage in ("", "A", "!", "é", "AAAA", "\0", "A" * 100_000)),
    ],
    ids=range(12),  # the signatures are different ones in each process
)
def test_a_batch_without_a_valid_signature_is_refused(signature: str, timestamp: str, body: bytes) -> None:
    with pytest.raises(NotSigned, match="does not match"):
        check_signature(public(SENDGRID), signature, timestamp, body)


NO_KEYS = {
    "empty": "",
    "garbage": "not a key",
    "base64": "AAAA",
    "not ASCII": "schlüssel",
    "cut off": public(SENDGRID)[:-10],
    "RSA": public(rsa.generate_private_key(65537, 2048)),
    "Ed25519": public(ed25519.Ed25519PrivateKey.generate()),
}


@pytest.mark.parametrize("key", NO_KEYS.values(), ids=NO_KEYS)
async def test_an_invalid_verification_key_refuses_every_batch(sqlite_url: str, key: str) -> None:
    async with door_of(sqlite_url, key) as door:
        with capture_logs() as logs:
            refused = problem(await door.post(sent("delivered")), 401)
    assert "HOOKKEEPER_SENDGRID_VERIFICATION_KEY" in refused["detail"]
    assert [(line["log_level"], line["detail"]) for line in logs] == [("warning", refused["detail"])]


async def test_no_batch_is_accepted_without_a_verification_key(sqlite_url: str) -> None:
    async with door_of(sqlite_url, None) as door:
        refused = problem(await door.post(sent("delivered")), 404)
        assert "HOOKKEEPER_SENDGRID_VERIFICATION_KEY is not set" in refused["detail"]
        assert door.runs.recorded == []


@pytest.mark.parametrize("age", [-MAX_SKEW, timedelta(0), timedelta(hours=24), MAX_AGE])
def test_a_timestamp_of_the_last_day_is_accepted(age: timedelta) -> None:
    check_time(str(int((NOW - age).timestamp())), NOW)


@pytest.mark.parametrize("age", [-MAX_SKEW, MAX_AGE])
def test_a_timestamp_of_another_day_is_refused(age: timedelta) -> None:
    beyond = age + timedelta(seconds=1 if age > timedelta(0) else -1)
    with pytest.raises(NotSigned, match="too old or in the future"):
        check_time(str(int((NOW - beyond).timestamp())), NOW)


@pytest.mark.parametrize("timestamp", ["", " ", "-1", "1e9", "1767323045.0", "٣", "²", "9" * 12, "9" * 5000, "now"])
def test_an_invalid_timestamp_is_refused(timestamp: str) -> None:
    with pytest.raises(NotSigned, match="no timestamp"):
        check_time(timestamp, NOW)


async def test_a_batch_needs_a_fresh_signature(door: Door) -> None:
    bounce = sent("bounce", type="bounce")
    old = str(int(time.time() - MAX_AGE.total_seconds() - 60))
    for answer in (
        await door.http.post(PATH, json=[bounce]),
        await door.http.post(PATH, json=[bounce], headers={"authorization": f"Bearer {KEY}"}),
        await door.post(bounce, signature=sign(b"[]", str(int(time.time())))),
        await door.post(bounce, timestamp=old),
    ):
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Signature"
    assert (door.runs.recorded, await door.suppressed()) == ([], {})
    assert (await door.post(bounce)).json() == {"recorded": 1, "ignored": 0}


header_text = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=120)
now_and_then = st.just(str(int(time.time())))


@some
@given(signature=header_text, timestamp=header_text | now_and_then, body=st.binary(max_size=200))
async def test_any_unsigned_body_is_refused(lasting_door: Door, signature: str, timestamp: str, body: bytes) -> None:
    headers = {
        b"x-twilio-email-event-webhook-signature": signature.encode("latin-1"),
        b"x-twilio-email-event-webhook-timestamp": timestamp.encode("latin-1"),
        b"content-type": b"application/json",
    }
    problem(await lasting_door.http.post(PATH, content=body, headers=headers), 401)


async def test_a_batch_that_is_too_large_is_refused(door: Door) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        for _ in range(MAX_BYTES // 65536 + 1):
            yield b" " * 65536

    signed = {"x-twilio-email-event-webhook-timestamp": str(int(time.time()))}
    problem(await door.post(body=b" " * (MAX_BYTES + 1)), 413)
    problem(await door.http.post(PATH, content=trickle(), headers=JSON | signed), 413)
    assert (await door.post(body=b"[]" + b" " * (MAX_BYTES - 2))).json() == {"recorded": 0, "ignored": 0}


async def test_a_batch_that_is_cut_off_is_no_internal_error(door: Door) -> None:
    """SendGrid hangs up before its body is whole: this is no bug."""
    signed = {"x-twilio-email-event-webhook-timestamp": str(int(time.time()))}
    with capture_logs() as logs:
        assert await post_half(door.app, PATH, signed) == 400
    assert logs == []


# What is read


@pytest.mark.parametrize(
    ("event", "kind", "suppressing"),
    [
        (sent("delivered", response="250 OK"), "delivered", None),
        (sent("deferred", response="400 try again later"), "deferred", None),
        (sent("bounce", type="bounce", reason="550 no such user", status="5.1.1"), "bounced", "bounced"),
        (sent("bounce", type="blocked", reason="421 blocked"), "bounced", None),
        (sent("bounce", reason="500 unknown"), "bounced", None),
        (sent("dropped", reason="Bounced Address"), "dropped", "bounced"),
        (sent("dropped", reason="Spam Reporting Address"), "dropped", "spam_report"),
        (sent("dropped", reason="Unsubscribed Address"), "dropped", None),
        (sent("dropped"), "dropped", None),
        (sent("spamreport"), "spam_report", "spam_report"),
    ],
    ids=lambda value: value["event"] if isinstance(value, dict) else str(value),
)
def test_each_kind_of_event_is_read_as_its_receipt(event: dict[str, Any], kind: str, suppressing: str | None) -> None:
    (report,), ignored = read(json.dumps([event]).encode())
    assert ignored == 0
    assert (report.tenant, report.event_id, report.delivery) == ("acme", "evt_1", "wh_1.email.1")
    assert report.suppressing == suppressing
    assert report.receipt == Receipt(
        id="ZGVsaXZlcmVkLTAtMTIwMDE0ODI",
        attempt=2,
        address="ann@acme.example",
        kind=kind,
        at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        detail=event.get("reason") or event.get("response") or "",
    )


REQUIRED = ("event", "email", "timestamp", *OUR_ARGUMENTS)


def events_with(kind: str, field: str, *values: Any) -> list[dict[str, Any]]:
    """Make an event for each value of a field."""
    return [sent(kind, **{field: value}) for value in values]


def without(*fields: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in sent("bounce").items() if name != field} for field in fields]


NOT_OURS: list[Any] = [
    *(sent(kind) for kind in ("processed", "open", "click", "unsubscribe", "group_unsubscribe", "")),
    *(event for field in REQUIRED for event in events_with("bounce", field, None)),
    *without("event", "email", "timestamp", "sg_event_id", *OUR_ARGUMENTS),
    *events_with("delivered", "tenant", "", "a b", "a\n", 1, "a" * 65),
    *events_with("delivered", "event_id", "", "a/b", "a" * 129),
    *events_with("delivered", "attempt", "", "one", "0", -1, 1.5, [], 10**400),
    *events_with("delivered", "timestamp", -1, 10**12, float("nan"), "yesterday"),
    *events_with("delivered", "email", "", "a\0@b.example", "a b@c.example", "\ud800@b.example", "a" * 321),
    *events_with("delivered", "sg_event_id", "", "a b", "é", "a" * 129),
    *events_with("bounce", "reason", 1, {}),
    *(None, 1, "delivered", [], {}, [sent("delivered")]),
]


def test_an_unknown_or_malformed_event_is_ignored_and_affects_no_other() -> None:
    ours = sent("delivered", sg_event_id="ours")
    reports, ignored = read(json.dumps([*NOT_OURS, ours]).encode())
    assert ignored == len(NOT_OURS)
    assert [report.receipt.id for report in reports] == ["ours"]


def test_a_batch_is_read_oldest_first_and_each_event_once() -> None:
    events = [sent("delivered", sg_event_id=f"id{n}", timestamp=1767323045 + t) for n, t in enumerate((3, 1, 2))]
    reports, ignored = read(json.dumps([*events, *events, sent("open")]).encode())
    assert [report.receipt.id for report in reports] == ["id1", "id2", "id0"]
    assert ignored == 4


def test_a_long_odd_reason_is_cut_to_a_line_that_can_be_stored() -> None:
    reason = "550-5.1.1\r\n 550 \0\x1b[31m\u2028\ud800é" + "x" * 300
    ((report,), _) = read(json.dumps([sent("bounce", reason=reason)]).encode())
    assert report.receipt.detail == ("550-5.1.1 550 [31m é" + "x" * 300)[:256]


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[", b'"x"', b"[" * 100_000, b"[" + b"9" * 5000 + b"]"])
async def test_json_that_is_no_batch_is_refused(door: Door, body: bytes) -> None:
    problem(await door.post(body=body), 400)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
odd_events = st.builds(
    lambda kind, odd: sent(kind) | odd,
    st.sampled_from(["delivered", "deferred", "bounce", "dropped", "spamreport"]),
    st.dictionaries(st.sampled_from([*sent("x"), "type", "reason", "response"]), values, max_size=3),
)


@some
@given(events=st.lists(odd_events | values, max_size=5))
async def test_any_signed_json_is_answered_without_5xx(lasting_door: Door, events: list[Any]) -> None:
    answer = await lasting_door.post(*events)
    assert answer.status_code == 200, answer.text
    assert sum(answer.json().values()) == len(events)


# What is kept


async def test_a_batch_reaches_runs_and_suppressions(door: Door) -> None:
    door.runs.closed = {"evt_over"}
    answer = await door.post(
        sent("delivered", sg_event_id="a", email="bob@acme.example"),
        sent("bounce", sg_event_id="b", type="bounce", reason="550 no such user"),
        sent("bounce", sg_event_id="c", type="blocked", email="cy@acme.example"),
        sent("spamreport", sg_event_id="d", tenant="bolt", event_id="evt_over", email="Dee@acme.example"),
        sent("open", sg_event_id="e"),
    )
    assert (answer.status_code, answer.json()) == (200, {"recorded": 3, "ignored": 2})
    assert {(report[:3], report[3].address, report[3].kind) for report in door.runs.recorded} == {
        (("acme", "evt_1", "wh_1.email.1"), "bob@acme.example", "delivered"),
        (("acme", "evt_1", "wh_1.email.1"), "ann@acme.example", "bounced"),
        (("acme", "evt_1", "wh_1.email.1"), "cy@acme.example", "bounced"),
    }
    assert await door.suppressed() == {
        ("acme", "ann@acme.example"): "bounced",
        ("bolt", "dee@acme.example"): "spam_report",
    }
    kept = await door.store.suppressions.get("acme", "ann@acme.example")
    assert kept is not None
    assert kept.detail == "550 no such user"


async def test_a_batch_that_comes_again_changes_nothing(door: Door) -> None:
    batch = (sent("bounce", type="bounce"), sent("spamreport", sg_event_id="later"))
    assert (await door.post(*batch)).json() == {"recorded": 2, "ignored": 0}
    assert (await door.post(*batch)).status_code == 200
    assert await door.suppressed() == {("acme", "ann@acme.example"): "bounced"}


async def test_many_addresses_are_suppressed_in_one_transaction(door: Door) -> None:
    """Before, each had one, and those of a batch took half a minute."""
    batch = [sent("bounce", type="bounce", sg_event_id=f"b{n}", email=f"a{n}@acme.example") for n in range(60)]
    transactions: list[object] = []
    event.listen(door.store._engine.sync_engine, "commit", transactions.append)
    assert (await door.post(*batch)).json() == {"recorded": 60, "ignored": 0}
    assert len(transactions) == 1
    assert len(await door.suppressed()) == 60


async def test_twenty_runs_at_once_each_in_order(door: Door) -> None:
    batch = [
        sent(kind, event_id=f"evt_{run}", sg_event_id=f"{run}{kind}", timestamp=1767323045 + later)
        for later, kind in enumerate(("deferred", "delivered"))
        for run in range(100)
    ]
    assert (await door.post(*reversed(batch))).json() == {"recorded": 200, "ignored": 0}
    assert door.runs.most_at_once == MAX_CONCURRENT_RUNS
    for run in range(100):
        receipts = [receipt for _, event_id, _, receipt in door.runs.recorded if event_id == f"evt_{run}"]
        assert [receipt.kind for receipt in receipts] == ["deferred", "delivered"]


async def test_a_batch_is_answered_with_503_while_temporal_is_unreachable(door: Door) -> None:
    """SendGrid has to retry; suppressions apply already, and what runs have recorded stays recorded."""
    batch = [sent("bounce", type="bounce", event_id=f"evt_{n}", sg_event_id=f"id{n}") for n in range(100)]
    door.runs.out_of_reach = lambda event_id: event_id >= "evt_3"
    answer = await door.post(*batch)
    problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert len(door.runs.recorded) < MAX_CONCURRENT_RUNS, "no run waits for the others"
    assert await door.suppressed() == {("acme", "ann@acme.example"): "bounced"}
    assert door.runs.at_once == 0
    door.runs.out_of_reach = lambda event_id: False
    assert (await door.post(*batch)).json() == {"recorded": 100, "ignored": 0}


async def test_a_batch_is_answered_with_503_while_the_registry_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with door_of(f"sqlite+aiosqlite:///{tmp_path}/file/registry.db", public(SENDGRID)) as door:
        answer = await door.post(sent("bounce", type="bounce"))
        problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert door.runs.recorded == [], "it would try again before the address is suppressed"
        assert (await door.post(sent("delivered"))).json() == {"recorded": 1, "ignored": 0}
