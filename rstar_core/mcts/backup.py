"""How a rollout's end becomes knowledge about every step on the way (paper 3.2)."""

from __future__ import annotations

from rstar_core.mcts.tree import Tree

FAILED = -1.0  # the reward of every terminal that is no answer


def back_up(tree: Tree, leaf: int, reward: float) -> None:
    """q(s)^k = q(s)^(k-1) + reward and one visit more, for every node from ``leaf`` to the root."""
    tree.num_rollouts += 1
    for index in tree.path(leaf):
        tree[index].visit_count += 1
        tree[index].value_sum += reward
