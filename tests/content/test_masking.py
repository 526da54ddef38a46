"""How the secrets of notifications are masked, and how masks that are sent back are resolved."""

from typing import Any

import pytest

from cases import each
from hookkeeper.content.masking import masked, unmasked
from hookkeeper.content.notifications import HttpCall, Notification

SLACK = "slack://T000/B000/secret"
URL = "https://api.example/hooks/secret"


def by_http(**fields: Any) -> Notification:
    return Notification(http=HttpCall(**({"url": URL} | fields)))


@each(
    ("notification", "shown", "target"),
    [
        (Notification(service=SLACK, title="t"), {"service": "slack://********", "title": "t"}, "slack"),
        (Notification(service="tgram://1:a/2"), {"service": "telegram://********"}, "telegram"),
        (by_http(), {"http": {"url": "https://api.example/********"}}, "POST https://api.example"),
        (
            by_http(
                method="PUT", url="http://h:81?key=secret", headers={"x-key": "secret", "Content-Type": "a/b+json"}
            ),
            {
                "http": {
                    "method": "PUT",
                    "url": "http://h:81/********",
                    "headers": {"x-key": "********", "Content-Type": "a/b+json"},
                }
            },
            "PUT http://h:81",
        ),
        (
            by_http(url="https://h/{{ event.id }}/secret", body="{{ event.id }}"),
            {"http": {"url": "https://h/********", "body": "{{ event.id }}"}},
            "POST https://h",
        ),
        (by_http(url="{{ 'https://secret' }}"), {"http": {"url": "https://********/********"}}, "POST …"),
        (by_http(url="http://{{ 'secret' }}.h/"), {"http": {"url": "http://********/********"}}, "POST …"),
        (by_http(url="https://h{{ 'secret' }}"), {"http": {"url": "https://********/********"}}, "POST …"),
    ],
)
def test_the_secrets_of_a_notification_are_masked(
    notification: Notification, shown: dict[str, Any], target: str
) -> None:
    mask = masked(notification)
    assert mask.model_dump(exclude_defaults=True) == shown
    assert notification.target == target
    assert Notification.model_validate(mask.model_dump()) == mask == masked(mask)
    assert "secret" not in repr(notification)


A = Notification(service="slack://a/a/a")
B = Notification(service="slack://b/b/b")
B_TITLED = Notification(service="slack://b/b/b", title="B")
C = Notification(service="telegram://1:c/3")
P = by_http(url="https://p.example/1", headers={"x-key": "p-key"})
Q = by_http(url="https://p.example/2", headers={"x-key": "q-key"}, body="1")
T = by_http(url="https://{{ 'h' }}/", headers={"x-key": "t-key"})
D = Notification(service="discord://4/d")


def titled(notification: Notification, title: str) -> Notification:
    return notification.model_copy(update={"title": title})


OPS, SALES, AUDIT = titled(A, "ops"), titled(B, "sales"), Notification(service="slack://c/c/c", title="audit")
NEW = Notification(service="slack://new/new/new", title="new")
Q2 = by_http(url="https://p.example/2", headers={"x-key": "q-key"}, body="2")


@each(
    ("known", "given", "meant"),
    [
        ((A, C, P), (A, C, P), (A, C, P)),
        ((A, C, P), (P, A, C), (P, A, C)),
        ((A, C, P), (P,), (P,)),
        ((A, B), (A, B), (A, B)),  # the same masks: their order tells
        ((A, B), (D, A, B), (D, A, B)),
        ((A, B), (A, B, D), (A, B, D)),
        ((A, B_TITLED), (B_TITLED, A), (B_TITLED, A)),  # the titles tell
        ((A, B_TITLED), (B_TITLED,), (B_TITLED,)),
        ((A, A), (A,), (A,)),
        ((A, C), (A, A, C), (A, A, C)),
        ((P, Q), (Q,), (Q,)),
        ((P, Q), (Q, P), (Q, P)),
        ((T, P), (P, T), (P, T)),
        ((OPS, SALES, AUDIT), (SALES, AUDIT), (SALES, AUDIT)),
        ((OPS, SALES, AUDIT), (AUDIT, OPS, SALES), (AUDIT, OPS, SALES)),
        ((OPS, SALES, AUDIT), (NEW, AUDIT, OPS), (NEW, AUDIT, OPS)),
        ((OPS, SALES), (SALES, NEW), (SALES, NEW)),
        ((OPS, SALES), (titled(NEW, "ops"), SALES), (titled(NEW, "ops"), SALES)),
        ((A, A, OPS), (A,), (A,)),
        ((OPS, titled(B, "ops")), (OPS, titled(B, "ops")), (OPS, titled(B, "ops"))),
    ],
)
def test_masks_that_come_back_stand_for_the_known_secrets(
    known: tuple[Notification, ...], given: tuple[Notification, ...], meant: tuple[Notification, ...]
) -> None:
    sent = tuple(masked(notification) if notification in known else notification for notification in given)
    assert unmasked(sent, known) == meant
    assert unmasked(given, known) == given


@each(
    ("known", "changed"),
    [
        ((OPS, SALES), (OPS, titled(B, "sales team"))),
        ((OPS, SALES), (titled(A, "all"), SALES)),
        ((OPS, SALES), (titled(A, "1"), titled(B, "2"))),
        ((OPS, C, SALES), (titled(A, "all"), SALES, C)),  # the order within one service counts
        ((OPS, SALES), (titled(NEW, "new"), titled(B, "sales team"))),
        ((OPS, titled(A, "sales")), (titled(A, "sales"), titled(A, "sales team"))),  # one secret behind both
        ((P, Q), (P, Q2)),
    ],
)
def test_masks_are_resolved_by_order_where_a_text_changes(
    known: tuple[Notification, ...], changed: tuple[Notification, ...]
) -> None:
    assert (
        unmasked(
            tuple(notification if notification == NEW else masked(notification) for notification in changed), known
        )
        == changed
    )


def test_what_changes_beside_a_mask_is_kept() -> None:
    retitled = masked(A).model_copy(update={"title": "new"})
    assert unmasked((retitled, masked(B_TITLED)), (A, B_TITLED)) == (A.model_copy(update={"title": "new"}), B_TITLED)
    shown = masked(P).http
    assert shown is not None
    moved = by_http(url="https://p.example/new", headers=shown.headers | {"x-more": "1"})
    [restored] = unmasked((moved,), (P,))
    assert restored == by_http(url="https://p.example/new", headers={"x-key": "p-key", "x-more": "1"})


@each(
    ("known", "given", "field"),
    [
        ((), (masked(A),), "0.service"),
        ((C,), (masked(A),), "0.service"),
        ((A, B), (masked(A),), "0.service"),  # which of the two?
        # Some have changed, and by their order they are others than by their looks.
        ((OPS, SALES), (masked(SALES), titled(masked(A), "sales team")), "1.service"),
        ((OPS, SALES), (masked(SALES), titled(masked(A), "ops team")), "1.service"),
        ((OPS, SALES), (masked(SALES), masked(SALES)), "0.service"),
        ((OPS, SALES), (titled(NEW, "sales"), titled(masked(A), "sales team")), "1.service"),
        ((OPS, SALES), (titled(B, "both"), titled(masked(A), "all")), "1.service"),
        ((OPS, titled(B, "ops")), (titled(B, "ops"), masked(OPS)), "1.service"),
        ((OPS, SALES, AUDIT), (masked(SALES), masked(AUDIT), titled(masked(A), "last")), "2.service"),
        ((OPS, SALES, AUDIT), (masked(SALES), titled(masked(A), "new"), masked(AUDIT)), "1.service"),
        ((P, Q), (masked(Q), masked(Q2)), "1.http.url"),
        # Some have changed, others are gone.
        ((OPS, SALES, AUDIT), (masked(OPS), titled(masked(A), "new")), "1.service"),
        ((C,), (C, by_http(url="https://p.example/********")), "1.http.url"),
        ((P,), (by_http(url="https://p.example/1", headers={"x-other": "********"}),), "0.http.headers.x-other"),
        ((P,), (by_http(url="https://evil.example/", headers={"x-key": "********"}),), "0.http.headers.x-key"),
        ((P,), (by_http(url="http://p.example/1", headers={"x-key": "********"}),), "0.http.headers.x-key"),
        ((T,), (by_http(url="https://{{ 'evil' }}/", headers={"x-key": "********"}),), "0.http.headers.x-key"),
    ],
)
def test_a_mask_with_no_certain_secret_behind_it_is_refused(
    known: tuple[Notification, ...], given: tuple[Notification, ...], field: str
) -> None:
    with pytest.raises(ValueError, match=f"^{field} has the mask of a secret as its value"):
        unmasked(given, known)


def test_a_refusal_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"no secret is stored: send the full value$"):
        unmasked((masked(A),), (C,))
    with pytest.raises(
        ValueError, match=r"several secrets could be meant: send the full value, or change texts in one request and"
    ):
        unmasked((masked(SALES), titled(masked(A), "sales team")), (OPS, SALES))
