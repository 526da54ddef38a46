"""The verdict of a drill, case by case: what passes, what fails, and under which name."""

from dataclasses import replace

import pytest

from drills.observations import Accepted, Logged, Observations, ReceivedRequest, Window
from drills.schedule import Kind
from drills.verdict import judge

IN_FLIGHT, UNLOGGED = "in flight at faults", "requests not in the log"
REPEATED, LATE = "requests sent again at once", "late responses"
T = 1_000.0
"""When the event was accepted."""


def request(
    arrived: float = T + 1, status: int | None = 200, seconds: float = 0.1, digest: str = "d"
) -> ReceivedRequest:
    return ReceivedRequest("evt-1", "steady", arrived, arrived + seconds, status, digest)


def logged(started: float = T + 1, status: int | None = 200, seconds: float = 0.1, error: str | None = None) -> Logged:
    return Logged("evt-1", "steady", started, started + seconds, status, error)


def window(target: str, began: float, ended: float | None = None, kind: Kind = "kill") -> Window:
    return Window(kind, target, began, ended or began)


GOOD = Observations(
    webhooks=("steady",),
    accepted=(Accepted("evt-1", T, "d"),),
    requests=(request(),),
    logged=(logged(),),
    statuses={"evt-1": "succeeded"},
    windows=(),
)


def failures(**changes: object) -> set[str]:
    return set(judge(replace(GOOD, **changes)).failures)  # type: ignore[arg-type]


def test_books_that_were_kept_pass() -> None:
    verdict = judge(GOOD)
    assert not verdict.failures
    assert [verdict.counts[name] for name in ("events accepted", "deliveries made", "duplicates", UNLOGGED)] == [
        1,
        1,
        0,
        0,
    ]
    assert verdict.longest == pytest.approx(1.1)


def test_a_delivery_that_no_receiver_took_is_lost() -> None:
    assert failures(webhooks=("steady", "flaky")) == {"lost"}
    assert judge(replace(GOOD, webhooks=("steady", "flaky"))).failures["lost"] == ("evt-1 flaky",)


def test_a_failed_request_is_no_delivery() -> None:
    assert failures(requests=(request(status=500),), logged=(logged(status=500),)) == {"lost"}


@pytest.mark.parametrize("statuses", [{}, {"evt-1": "delivering"}, {"evt-1": "failed"}])
def test_an_event_that_did_not_end_well_is_stuck(statuses: dict[str, str]) -> None:
    assert failures(statuses=statuses) == {"stuck"}


def test_nothing_accepted_is_no_success() -> None:
    assert "accepted" in failures(accepted=(), requests=(), logged=(), statuses={})


TWICE = (request(), request(T + 12))
"""The second is in the log, the first is not."""


@pytest.mark.parametrize(
    ("fault", "excused"),
    [
        (window("worker-1", T + 1.05), True),  # while it was under way
        (window("worker-1", T + 1.6), True),  # it was answered, but the answer was not recorded
        (window("worker-1", T + 2.8), True),
        (window("worker-1", T + 3.5), False),
        (window("worker-1", T + 0.3), False),  # it came before
        (window("worker-1", T + 11, T + 14), False),  # that it took long to come back excuses nothing
        (window("worker-2", T + 1.0, T + 14, "stop"), True),
        (window("worker-2", T - 2, T + 5, "stop"), False),
        (window("temporal", T + 0.5, T + 2), True),
        (window("temporal-history-2", T + 0.5, T + 2), True),
        (window("postgresql", T + 0.5, T + 2, "read-only"), True),  # it has Temporal's data as well
        (window("api-1", T + 1.05), False),
        (window("everything", T + 1, T + 6, "kill everything"), True),
        (window("api", T + 1.05), False),
        (window("registry", T + 1.05), False),
        (window("registry", T + 0.5, T + 2, "disk full"), False),
    ],
)
def test_a_duplicate_needs_a_fault_that_makes_forget(fault: Window, excused: bool) -> None:
    verdict = judge(replace(GOOD, requests=TWICE, logged=(logged(T + 12),), windows=(fault,)))
    assert verdict.counts["duplicates"] == 1
    assert bool(verdict.failures) is not excused
    assert bool(verdict.counts["  unexplained"]) is not excused
    assert bool(verdict.counts[IN_FLIGHT]) is excused


def test_a_worker_that_wakes_up_sends_what_others_have_sent() -> None:
    books = replace(GOOD, requests=TWICE, logged=(logged(),))
    assert not judge(replace(books, windows=(window("worker-2", T - 2, T + 11.5, "stop"),))).failures
    assert failures(requests=TWICE, logged=(logged(),), windows=(window("worker-2", T - 2, T + 9, "stop"),)) == {
        "duplicates",
        "duplicates without a fault",
        "requests that are not in the log",
    }


def test_more_duplicates_than_were_in_flight_fail() -> None:
    """One request was under way at the kill; two copies of it cannot both come of that."""
    books = replace(
        GOOD,
        requests=(*TWICE, request(T + 24)),
        logged=(logged(T + 12), logged(T + 24)),
        windows=(window("worker-1", T + 1.05),),
    )
    verdict = judge(books)
    assert (verdict.counts["duplicates"], verdict.counts[IN_FLIGHT]) == (2, 1)
    assert set(verdict.failures) == {"duplicates"}


def test_a_request_that_the_log_does_not_show_needs_a_fault() -> None:
    seen = (request(T + 0.5, 500), request())
    assert failures(requests=seen) == {"requests that are not in the log"}
    assert not failures(requests=seen, windows=(window("worker-2", T + 0.55),))


def test_a_kept_connection_that_breaks_is_sent_again_within_its_attempt() -> None:
    broke, again = request(status=None), request(T + 1.12)  # less than the second that a retry waits
    verdict = judge(replace(GOOD, requests=(broke, again), logged=(logged(seconds=0.25),)))
    assert not verdict.failures
    assert verdict.counts[REPEATED] == 1
    both_broke = (request(T, None), request(T + 0.12, None), request(T + 2))
    verdict = judge(replace(GOOD, requests=both_broke, logged=(logged(T, None, 0.25), logged(T + 2))))
    assert not verdict.failures
    assert verdict.counts[REPEATED] == 1


def test_an_answer_after_the_timeout_is_no_delivery() -> None:
    """A receiver on a busy machine reads a request late, and answers when the sender has given up."""
    late, timed_out = request(T + 1, seconds=2.5), logged(T + 1, None, 2, "timeout")
    verdict = judge(replace(GOOD, requests=(late, request(T + 5)), logged=(timed_out, logged(T + 5))))
    assert not verdict.failures
    assert (verdict.counts["duplicates"], verdict.counts[LATE]) == (0, 1)
    assert verdict.longest == pytest.approx(5.1)
    assert failures(requests=(late,), logged=(timed_out,)) == {"lost"}
    read_late = request(T + 4, seconds=0.5)
    assert not failures(requests=(read_late, request(T + 5)), logged=(timed_out, logged(T + 5)))


def test_a_request_that_hung_is_the_attempt_that_timed_out() -> None:
    """The next attempt comes soon after it, and is lost with its worker."""
    hung, cut_off = request(T + 1, None, seconds=2.6), request(T + 4.5, seconds=0.3)
    books = replace(
        GOOD, requests=(hung, cut_off, request(T + 9)), logged=(logged(T + 1, None, 2, "timeout"), logged(T + 9))
    )
    verdict = judge(replace(books, windows=(window("worker-1", T + 4.6),)))
    assert not verdict.failures
    assert (verdict.counts["duplicates"], verdict.counts[LATE], verdict.counts[UNLOGGED]) == (1, 0, 1)


def test_an_answer_after_the_timeout_of_what_was_sent_again_at_once_is_no_delivery() -> None:
    broke, late = request(T + 1, None), request(T + 1.5, seconds=1.7)
    books = replace(
        GOOD, requests=(broke, late, request(T + 5)), logged=(logged(T + 1, None, 2, "timeout"), logged(T + 5))
    )
    verdict = judge(books)
    assert not verdict.failures
    assert (verdict.counts[LATE], verdict.counts[REPEATED]) == (1, 1)


def test_what_broke_off_and_was_sent_again_within_its_attempt_is_one_attempt_however_late_it_is_read() -> None:
    broke, late = request(T + 1, None), request(T + 3.4, seconds=1)
    books = replace(
        GOOD, requests=(broke, late, request(T + 5)), logged=(logged(T + 1, None, 2, "timeout"), logged(T + 5))
    )
    assert not judge(books).failures
    both_broke = replace(books, requests=(broke, request(T + 4.4, None), request(T + 5)))
    assert not judge(both_broke).failures
    before = request(T - 3, None)
    assert set(judge(replace(books, requests=(before, *books.requests))).failures) == {
        "requests that are not in the log"
    }


def test_what_was_sent_again_within_an_attempt_need_not_come_at_once() -> None:
    broke, again = request(T, None), request(T + 1.8, None)
    reset = logged(T, None, 2, "connection_reset")
    assert not failures(requests=(broke, again, request(T + 5)), logged=(reset, logged(T + 5)))
    shorter = logged(T, None, 0.5, "connection_reset")
    assert failures(requests=(broke, again, request(T + 5)), logged=(shorter, logged(T + 5))) == {
        "requests that are not in the log"
    }


def test_an_answer_before_the_timeout_is_a_delivery() -> None:
    """The log calls it a timeout: then it has lost an answer, and what came again came twice."""
    assert failures(
        requests=(request(T + 1), request(T + 5)), logged=(logged(T + 1, None, 2, "timeout"), logged(T + 5))
    ) == {"duplicates", "duplicates without a fault"}


def test_an_answer_in_the_log_that_no_receiver_gave_fails() -> None:
    assert failures(logged=(logged(), logged(T + 3, 503))) == {"responses that no receiver gave"}
    assert failures(logged=(logged(status=201),)) == {
        "responses that no receiver gave",
        "requests that are not in the log",
    }
    assert not failures(logged=(logged(), logged(T - 3, None)))  # it may never have arrived


@pytest.mark.parametrize("digest", ["other", ""])
def test_other_data_or_a_wrong_signature_fails(digest: str) -> None:
    assert failures(requests=(request(digest=digest),)) == {"altered"}


def test_events_that_are_refused_and_changes_that_are_lost_fail() -> None:
    assert failures(unaccepted=("evt-2",)) == {"never accepted"}
    assert failures(refused=("evt-2: 500",)) == {"refused"}
    assert failures(changes_lost=("change 3",)) == {"changes lost"}


def test_faults_are_counted_by_kind_and_target() -> None:
    windows = (window("api", T), window("api", T + 9), window("worker-1", T, T + 12, "stop"))
    assert judge(replace(GOOD, windows=windows)).faults == {"kill api": 2, "stop worker-1": 1}


@pytest.mark.parametrize(
    ("ahead", "found"),
    [(30.0, set()), (-30.0, set()), (10.0, {"requests that are not in the log", "responses that no receiver gave"})],
)
def test_an_attempt_is_logged_by_the_clock_of_its_worker(ahead: float, found: set[str]) -> None:
    clock = Window("clock", "worker-1", T, T + 8, 30.0 if ahead > 0 else -30.0)
    assert failures(logged=(logged(T + 1 + ahead),), windows=(clock,)) == found


def test_a_wrong_clock_excuses_no_duplicate() -> None:
    clock = Window("clock", "worker-1", T, T + 8, 30.0)
    twice = (request(), request(T + 2))
    assert failures(requests=twice, logged=(logged(), logged(T + 2)), windows=(clock,)) >= {"duplicates"}
