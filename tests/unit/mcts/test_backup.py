"""A rollout's end counts for every step on the way, and for no other."""

from __future__ import annotations

from rstar_core.mcts.backup import FAILED, back_up
from rstar_core.mcts.tree import ROOT, Tree
from rstar_core.types import Step, StepKind


def forked(prior: float = 0.0) -> Tree:
    """root -> 1 -> 3, root -> 2"""
    tree = Tree()
    for parent in (ROOT, ROOT, 1):
        tree.add(parent, Step(StepKind.CODE, f"n = {len(tree.nodes)}"), prior, num_samples=1)
    return tree


def counts(tree: Tree) -> list[tuple[int, float]]:
    return [(node.visit_count, node.value_sum) for node in tree.nodes]


def test_the_path_gets_the_reward_and_a_visit() -> None:
    tree = forked()
    back_up(tree, 3, 1.0)
    assert counts(tree) == [(1, 1.0), (1, 1.0), (0, 0.0), (1, 1.0)]
    assert tree.num_rollouts == 1


def test_a_failure_is_backed_up_like_any_other_end() -> None:
    tree = forked()
    back_up(tree, 3, 1.0)
    back_up(tree, 2, FAILED)
    back_up(tree, 3, FAILED)
    assert counts(tree) == [(3, -1.0), (2, 0.0), (1, -1.0), (2, 0.0)]
    assert tree.num_rollouts == 3


def test_the_guides_score_stays_in_the_sum() -> None:
    """q(s)^0 is counted once, not once a visit (paper 3.2)."""
    tree = forked(prior=0.5)
    for _ in range(4):
        back_up(tree, 3, 1.0)
    assert counts(tree) == [(4, 4.0), (4, 4.5), (0, 0.5), (4, 4.5)]


def test_a_root_that_failed_takes_its_own_reward() -> None:
    tree = Tree()
    back_up(tree, ROOT, FAILED)
    assert counts(tree) == [(1, -1.0)]
