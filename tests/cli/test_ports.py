"""The ports of a stack are its own even before its servers listen."""

import socket
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from cli.console import Failed
from cli.ports import LOCALHOST, Ports, free_ports, reserved


@pytest.fixture
def ports() -> Ports:
    return some_ports()


def some_ports() -> Ports:
    """Return free ports."""
    with ExitStack() as sockets:
        servers = [sockets.enter_context(socket.create_server((LOCALHOST, 0))) for _ in range(3)]
        return Ports(*(server.getsockname()[1] for server in servers))


def refusal(ports: Ports) -> str:
    with pytest.raises(Failed) as refused, reserved(LOCALHOST, ports):
        raise AssertionError("the ports were reserved")
    return str(refused.value)


def test_another_stack_cannot_take_a_port_before_its_server_listens(ports: Ports) -> None:
    other = replace(some_ports(), temporal=ports.temporal)
    with reserved(LOCALHOST, ports):
        assert f"port {ports.temporal} for Temporal is in use" in refusal(other)
    with reserved(LOCALHOST, other):
        assert f"port {ports.temporal} for Temporal is in use" in refusal(ports)


def test_free_ports_are_not_those_of_a_stack_whose_servers_do_not_listen_yet() -> None:
    """Two stacks may start at the same time, and so may tests beside this one: then the ports are taken meanwhile."""
    for _ in range(20):
        first = free_ports()
        with suppress(Failed), reserved(LOCALHOST, first):
            assert not {*free_ports().by_name.values()} & {*first.by_name.values()}
            return
    raise AssertionError("all free ports were taken meanwhile")


def test_a_port_on_which_a_server_listens_is_refused(ports: Ports) -> None:
    with socket.create_server((LOCALHOST, ports.ui)):
        assert f"port {ports.ui} for the Temporal web UI is in use" in refusal(ports)


def test_ports_have_to_differ(ports: Ports) -> None:
    assert "need different ports" in refusal(replace(ports, ui=ports.api))


def test_only_a_port_in_use_is_replaced_and_one_that_was_given_is_refused() -> None:
    wanted = replace(some_ports(), metrics=some_ports().api)
    with socket.create_server((LOCALHOST, wanted.ui)):
        chosen = free_ports(wanted)
        assert chosen.ui > wanted.ui
        assert replace(chosen, ui=wanted.ui) == wanted
        assert free_ports(wanted, given=["ui"]) == wanted
        assert f"port {wanted.ui} for the Temporal web UI is in use" in refusal(wanted)
