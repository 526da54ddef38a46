"""The schedule of faults: made by its seed alone, and as dense as it says."""

from itertools import pairwise

import pytest

from drills.schedule import CLOCKS, EVERYTHING, KINDS, Fault, Kind, make_schedule, make_tour
from drills.shape import EMBEDDED, POSTGRESQL, REGISTRY, WORKERS, Shape


def of(kind: Kind, schedule: tuple[Fault, ...]) -> list[Fault]:
    return [fault for fault in schedule if fault.kind == kind]


def test_the_seed_decides() -> None:
    assert make_schedule(7, 600) == make_schedule(7, 600)
    assert make_schedule(7, 600) != make_schedule(8, 600)


def test_a_longer_drill_begins_as_a_shorter_one() -> None:
    short = make_schedule(7, 300)
    assert make_schedule(7, 600)[: len(short)] == short


@pytest.mark.parametrize("left_out", KINDS)
def test_what_is_left_out_changes_nothing_else(left_out: Kind) -> None:
    kinds = [kind for kind in KINDS if kind != left_out]
    assert make_schedule(7, 600, kinds) == tuple(fault for fault in make_schedule(7, 600) if fault.kind != left_out)


def test_a_process_is_killed_every_five_seconds() -> None:
    kills = of("kill", make_schedule(7, 600))
    assert len(kills) == 120
    assert {fault.target for fault in kills} == set(EMBEDDED.targets)
    assert [int(fault.at // 5) for fault in kills] == list(range(120))


def test_a_worker_is_stopped_for_longer_than_its_heartbeat() -> None:
    stops = of("stop", make_schedule(7, 600))
    assert len(stops) == 20
    assert {fault.target for fault in stops} == set(WORKERS)
    assert all(fault.seconds > 10 for fault in stops)


def test_the_rest_comes_now_and_then() -> None:
    schedule = make_schedule(7, 600)
    assert [fault.target for fault in of("disk full", schedule)] == [REGISTRY] * 6
    assert [fault.target for fault in of("kill everything", schedule)] == [EVERYTHING] * 4


def test_clocks_are_set_by_less_than_makes_a_signature_old() -> None:
    steps = of("clock", make_schedule(7, 600))
    assert len(steps) == 15
    assert {fault.target for fault in steps} == set(CLOCKS)
    assert all(20 <= abs(fault.step) <= 100 for fault in steps)
    assert {fault.step > 0 for fault in steps} == {True, False}


def test_it_is_in_order_and_within_its_time() -> None:
    times = [fault.at for fault in make_schedule(7, 600)]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 600


def test_a_short_drill_has_a_stop_too() -> None:
    assert len(of("stop", make_schedule(7, 30))) == 1


@pytest.mark.parametrize("shape", [EMBEDDED, Shape("production"), Shape("roles")])
def test_a_tour_kills_each_process_once_and_then_fails_the_database_in_each_way(shape: Shape) -> None:
    tour = make_tour(shape)
    assert [fault.target for fault in of("kill", tour)] == list(shape.targets)
    assert {fault.kind: fault.target for fault in tour[-4:]} == {
        "immediate stop": shape.database,
        "read-only": shape.database,
        "disk full": shape.database,
        "kill everything": EVERYTHING,
    }
    assert all(later.at >= fault.at + fault.seconds for fault, later in pairwise(tour))


def test_faults_are_of_the_processes_that_run() -> None:
    shape = Shape("roles")
    assert {fault.target for fault in of("kill", make_schedule(7, 600, shape=shape))} == set(shape.targets)
    assert {fault.target for fault in of("read-only", make_schedule(7, 600, shape=shape))} == {POSTGRESQL}
