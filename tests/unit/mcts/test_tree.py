"""The arena: indices stay, a child comes after its parent, and a frozen tree says what the live one said."""

from __future__ import annotations

from rstar_core.mcts.tree import ROOT, Tree
from rstar_core.types import Step, StepKind, Terminal

A, B, C = (Step(StepKind.CODE, body) for body in "abc")


def forked() -> Tree:
    """root -> a -> c, root -> b"""
    tree = Tree()
    tree.add(ROOT, A, 0.5, num_samples=3)
    tree.add(ROOT, B, -0.5, num_samples=1)
    tree.add(1, C, 0.25, num_samples=1)
    return tree


def test_a_new_tree_is_a_root_without_a_step() -> None:
    tree = Tree()
    assert (len(tree.nodes), tree[ROOT].parent, tree[ROOT].step, tree.prefix(ROOT)) == (1, -1, None, ())
    assert tree.path(ROOT) == [ROOT]


def test_children_know_their_parents_and_parents_their_children() -> None:
    tree = forked()
    assert [node.parent for node in tree.nodes] == [-1, 0, 0, 1]
    assert [node.children for node in tree.nodes] == [[1, 2], [3], [], []]


def test_path_and_prefix_run_from_the_root() -> None:
    tree = forked()
    assert tree.path(3) == [0, 1, 3]
    assert tree.prefix(3) == (A, C)


def test_the_guides_score_is_where_the_value_starts() -> None:
    node = forked()[1]
    assert (node.initial_value, node.value_sum, node.visit_count, node.num_samples) == (0.5, 0.5, 0, 3)


def test_a_frozen_tree_says_the_same() -> None:
    tree = forked()
    tree.num_rollouts, tree.num_tokens = 2, 17
    tree[3].terminal, tree[3].reward, tree[3].visit_count, tree[3].value_sum = Terminal.CODE_ERROR, -1.0, 2, -1.75
    frozen = tree.freeze("p", "r2", 1)
    assert (frozen.problem_id, frozen.round_id, frozen.tree_index) == ("p", "r2", 1)
    assert (frozen.num_rollouts, frozen.num_tokens) == (2, 17)
    for live, node in zip(tree.nodes, frozen.nodes, strict=True):
        assert all(getattr(live, name) == getattr(node, name) for name in node.__slots__)
    assert frozen.steps(3) == tree.prefix(3)
    assert [node.q_value for node in frozen.nodes] == [0.0, 0.5, -0.5, -0.875]
