"""Tables of cheap cases: one test makes them all, and what fails names its case.

A case of `pytest.mark.parametrize` costs more than such a case takes: each process of the suite collects it.
"""

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest

LONGEST_NAME = 300


@contextmanager
def naming(case: object) -> Iterator[None]:
    """Name the case in what fails in the block: pytest shows the note below the error."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the case {ascii(case)[:LONGEST_NAME]}")
        raise


def each(names: str | tuple[str, ...], cases: Collection[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Call a test with each of the cases, in their order; the arguments are those of `pytest.mark.parametrize`.

    All cases share the fixtures of the test. For a case that needs its own, or is slow, use `parametrize`.
    """

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        assert cases, "a test without cases proves nothing"

        @wraps(test)
        def call_each(**fixtures: Any) -> None:
            for case in cases:
                with naming(_name(case)):
                    test(**fixtures, **_arguments(names, case))

        @wraps(test)
        async def await_each(**fixtures: Any) -> None:
            for case in cases:
                with naming(_name(case)):
                    await test(**fixtures, **_arguments(names, case))

        made: Callable[..., Any] = await_each if inspect.iscoroutinefunction(test) else call_each
        signature = inspect.signature(test)
        given = {names} if isinstance(names, str) else set(names)
        assert given <= set(signature.parameters), f"{given} are not all arguments of the test"
        left = [parameter for name, parameter in signature.parameters.items() if name not in given]
        made.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return made

    return decorate


def _arguments(names: str | tuple[str, ...], case: Any) -> dict[str, Any]:
    if isinstance(case, type(pytest.param())):
        case = case.values if isinstance(names, tuple) else case.values[0]
    return {names: case} if isinstance(names, str) else dict(zip(names, case, strict=True))


def _name(case: Any) -> object:
    return case.id or case.values if isinstance(case, type(pytest.param())) else case
