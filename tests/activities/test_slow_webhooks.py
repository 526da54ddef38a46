"""A webhook is slow if too many of its latest attempts took long."""

from activities.health import MAX_WEBHOOKS, SlowWebhooks


def test_a_webhook_that_always_takes_long_is_slow_from_the_second_attempt_on() -> None:
    slow = SlowWebhooks()
    assert [slow.note("wh", 1500) for _ in range(3)] == [False, True, True]
    assert not slow.note("other", 1500)


def test_one_long_attempt_of_many_makes_no_webhook_slow() -> None:
    slow = SlowWebhooks()
    assert not any(slow.note("wh", 5000 if n % 10 == 0 else 20) for n in range(1000))
    assert any(slow.note("wh", 5000 if n % 4 == 0 else 20) for n in range(1000))


def test_quick_attempts_make_a_webhook_quick_again() -> None:
    slow = SlowWebhooks()
    for _ in range(20):
        slow.note("wh", 1500)
    assert not slow.note("wh", 999)
    for _ in range(30):
        slow.note("wh", 20)
    assert not slow.note("wh", 1500)


def test_a_bounded_number_of_webhooks_is_remembered() -> None:
    slow = SlowWebhooks()
    for n in range(MAX_WEBHOOKS + 5):
        slow.note(f"wh_{n}", 1500)
    assert not slow.note("wh_0", 1500), "forgotten"
    assert slow.note(f"wh_{MAX_WEBHOOKS}", 1500)
