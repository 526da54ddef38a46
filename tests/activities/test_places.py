"""Places: no tenant has more than it leaves free for others, and what finds none fails at once, to be tried again."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from activities.places import MAX_DELAY, NO_PLACE, Places


def taken(places: Places, tenants: str, *, queue: str = "q", attempt: int = 1) -> str:
    """Give the tenants that find a place, one after the other, while all before them hold theirs."""

    def take() -> str:
        found = ""
        with ExitStack() as stack:
            for tenant in tenants:
                try:
                    stack.enter_context(places.taken(tenant))
                except ApplicationError:
                    continue
                found += tenant
        return found

    environment = ActivityEnvironment()
    environment.info = replace(environment.info, task_queue=queue, attempt=attempt)
    return environment.run(take)


@pytest.mark.parametrize(
    ("total", "per_tenant", "found"),
    [(1, 9, "a"), (2, 9, "ab"), (8, 9, "aaaabbc"), (8, 2, "aabbc"), (100, 1, "abc")],
)
def test_a_tenant_leaves_places_for_others(total: int, per_tenant: int, found: str) -> None:
    places = Places(total, per_tenant)
    assert taken(places, "aaaaaaabbbbbbc") == found
    assert taken(places, "aaaaaaabbbbbbc") == found  # all were given back


def test_each_queue_has_places_of_its_own() -> None:
    places = Places(2, 2)
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, task_queue="one")

    def take() -> str:
        with places.taken("a"):
            return taken(places, "a", queue="one") + taken(places, "a", queue="two")

    assert environment.run(take) == "a"


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (5, 16), (7, MAX_DELAY), (5000, MAX_DELAY)])
def test_what_finds_no_place_is_tried_again_later(attempt: int, seconds: float) -> None:
    places = Places(1, 1)

    def take() -> None:
        with places.taken("a"), places.taken("a"):
            pass

    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=attempt)
    with pytest.raises(ApplicationError) as raised:
        environment.run(take)
    assert raised.value.type == NO_PLACE
    assert raised.value.category == ApplicationErrorCategory.BENIGN
    assert raised.value.next_retry_delay is not None
    assert 0.5 <= raised.value.next_retry_delay / timedelta(seconds=seconds) <= 1.5
