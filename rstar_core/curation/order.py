"""A round's data lies in the order of its problems, so that one pass brings together what belongs to each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TypeVar

from rstar_core.errors import UserError
from rstar_core.types import Problem

Item = TypeVar("Item")


def by_problem(
    problems: Iterable[Problem], items: Iterable[Item], key: Callable[[Item], str], what: str
) -> Iterator[tuple[Problem, list[Item]]]:
    """Each problem with its items, of which ``key`` tells the problem's id; none where it has none.

    Raises:
        UserError: an item's problem is not among the problems, or its place is not theirs.
    """
    groups = groupby(items, key)
    waiting = next(groups, None)
    for problem in problems:
        its: list[Item] = []
        if waiting is not None and waiting[0] == problem.id:
            its = list(waiting[1])
            waiting = next(groups, None)
        yield problem, its
    if waiting is not None:
        raise UserError(
            f"problem {waiting[0]} has {what} but is not among the problems, or not in their order; rebuild them"
        )
