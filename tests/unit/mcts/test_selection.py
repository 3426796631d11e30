"""Which child a rollout follows: the formula by hand, unvisited children first, and fair ties."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from rstar_core.mcts.selection import select_child, uct_score
from rstar_core.mcts.tree import ROOT, LiveNode, Tree
from rstar_core.types import Step, StepKind


def visited(value_sum: float, visit_count: int) -> LiveNode:
    return LiveNode(0, Step(StepKind.CODE, "n"), visit_count=visit_count, value_sum=value_sum)


def fan(*children: tuple[float, int, float, int]) -> Tree:
    """A root with children of (prior, visits, value_sum, num_samples)."""
    tree = Tree()
    for number, (prior, visits, value_sum, num_samples) in enumerate(children):
        node = tree[tree.add(ROOT, Step(StepKind.CODE, f"n = {number}"), prior, num_samples)]
        node.visit_count, node.value_sum = visits, value_sum
    tree[ROOT].visit_count = sum(visits for _, visits, _, _ in children)
    return tree


def draws(tree: Tree, times: int = 2000, uct_c: float = 2.0) -> Counter[int]:
    rng = random.Random(1)
    return Counter(select_child(tree, ROOT, uct_c, rng) for _ in range(times))


@pytest.mark.parametrize(
    ("value_sum", "visits", "parent_visits", "uct_c", "score"),
    [
        (1.0, 1, 1, 2.0, 1.0),  # ln 1 = 0
        (2.0, 4, 9, 2.0, 0.5 + 2.0 * math.sqrt(math.log(9) / 4)),
        (-3.0, 3, 8, 1.0, -1.0 + math.sqrt(math.log(8) / 3)),
        (1.5, 2, 100, 0.0, 0.75),
    ],
)
def test_the_formula(value_sum: float, visits: int, parent_visits: int, uct_c: float, score: float) -> None:
    assert uct_score(visited(value_sum, visits), parent_visits, uct_c) == pytest.approx(score, abs=1e-12)


def test_an_unvisited_child_is_infinite_even_below_an_unvisited_parent() -> None:
    assert uct_score(visited(-1.0, 0), 0, 2.0) == math.inf


def test_the_unvisited_go_first_however_good_the_others_are() -> None:
    assert draws(fan((1.0, 5, 6.0, 9), (-1.0, 0, -1.0, 1))) == {2: 2000}


def test_among_the_unvisited_the_guides_score_decides() -> None:
    assert draws(fan((0.1, 0, 0.1, 9), (0.2, 0, 0.2, 1), (0.3, 3, 3.3, 9))) == {2: 2000}


def test_equal_ones_are_drawn_as_often_as_they_were_sampled() -> None:
    drawn = draws(fan((0.0, 0, 0.0, 3), (0.0, 0, 0.0, 1), (-0.1, 0, -0.1, 9)))
    assert set(drawn) == {1, 2}
    assert drawn[1] / drawn[2] == pytest.approx(3.0, rel=0.2)


def test_equal_visited_ones_are_drawn_too_whatever_they_started_with() -> None:
    drawn = draws(fan((0.9, 2, 1.0, 1), (-0.9, 2, 1.0, 1)))
    assert drawn[1] / drawn[2] == pytest.approx(1.0, rel=0.2)


def test_exploration_weighs_as_much_as_c_says() -> None:
    tree = fan((0.0, 9, 4.5, 1), (0.0, 1, -0.5, 1))
    assert draws(tree, 1, uct_c=0.0) == {1: 1}
    assert draws(tree, 1, uct_c=2.0) == {2: 1}
