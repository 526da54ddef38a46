"""A table of cases makes all of them, and names the one that fails."""

import pytest

from cases import each

made: list[object] = []


@pytest.fixture
def ten() -> int:
    return 10


@each(("a", "b"), [(1, 2), pytest.param(3, 4, id="three and four")])
@each("c", [5, 6])
async def test_each_case_is_made_with_the_fixtures_of_the_test(ten: int, a: int, b: int, c: int) -> None:
    made.append((ten, a, b, c))
    if (a, c) == (3, 6):
        assert made == [(10, 1, 2, 5), (10, 1, 2, 6), (10, 3, 4, 5), (10, 3, 4, 6)]


@pytest.mark.parametrize(
    ("case", "named"),
    [(1, "in the case 1"), ("é\n", r"in the case '\xe9\n'"), (pytest.param(7, id="seven"), "in the case 'seven'")],
)
def test_a_failure_names_its_case(case: object, named: str) -> None:
    @each("value", [0, case, 0])
    def fails(value: object) -> None:
        assert value == 0, "not nothing"

    with pytest.raises(AssertionError, match="not nothing") as raised:
        fails()
    assert raised.value.__notes__ == [named]


def test_a_table_without_cases_or_with_other_names_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="without cases"):
        each("value", [])(lambda value: None)
    with pytest.raises(AssertionError, match="not all arguments"):
        each("other", [1])(lambda value: None)
