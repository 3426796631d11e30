"""Which child a rollout follows: UCT with unvisited children first (paper 3.2)."""

from __future__ import annotations

import math
import random

from rstar_core.mcts.tree import LiveNode, Tree


def uct_score(node: LiveNode, parent_visits: int, uct_c: float) -> float:
    """Q(s) + c * sqrt(ln N(parent) / N(s)); infinite for a node without a visit.

    A rollout under way counts as a visit that lost, so that the next one looks elsewhere (virtual loss).
    """
    visits = node.visit_count + node.num_under_way
    if visits == 0:
        return math.inf
    exploration = math.sqrt(math.log(parent_visits) / visits)
    return (node.value_sum - node.num_under_way) / visits + uct_c * exploration


def select_child(tree: Tree, index: int, uct_c: float, rng: random.Random) -> int:
    """The child with the highest score.

    Among several unvisited ones the guide's score decides, and what is equal there is drawn in proportion to how
    often the policy sampled it, which is what a draw among unmerged candidates would be.
    """
    parent = tree[index]
    visits = parent.visit_count + sum(tree[child].num_under_way for child in parent.children)
    scores = {child: (uct_score(tree[child], visits, uct_c), _first(tree[child])) for child in parent.children}
    best = max(scores.values())
    ties = [child for child, score in scores.items() if score == best]
    if len(ties) == 1:
        return ties[0]
    return rng.choices(ties, weights=[tree[child].num_samples for child in ties])[0]


def _first(node: LiveNode) -> float:
    """The order among unvisited children; visited ones differ by their scores."""
    return node.initial_value if node.visit_count + node.num_under_way == 0 else 0.0
