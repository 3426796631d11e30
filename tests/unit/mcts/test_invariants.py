"""What holds for every finished tree, whatever the policy, the guide and the sandbox did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_core.engines.scripted import ScriptedReward
from rstar_core.mcts.search import guides_judge
from rstar_core.mcts.tree import ROOT, Tree
from rstar_core.seeds import derived_seed
from rstar_core.types import Question, Step, StepKind, Terminal
from tests.unit.mcts.scripts import answer, code, end, grow, truth

TEXTS = (code("a"), code("b"), end("c"), end("print(5)"), code("raise"), end("raise"), "cut off")
REPLIES = (answer("5"), answer("6"), answer("?"), "<answer>no box<end_of_answer>", code("too late"))
SCORES = (-1.0, -0.25, 0.0, 0.5, 1.0)

texts_of_a_shelf = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4)
replies_of_a_shelf = st.lists(st.sampled_from(REPLIES), min_size=1, max_size=3)
shelves = st.lists(st.tuples(texts_of_a_shelf, replies_of_a_shelf), min_size=1, max_size=5)
budgets = st.fixed_dictionaries(
    {
        "num_candidates": st.integers(1, 4),
        "num_rollouts": st.integers(1, 12),
        "extra_rollouts": st.integers(0, 6),
        "max_depth": st.integers(1, 5),
        "uct_c": st.sampled_from([0.0, 0.5, 2.0]),
        "settled_after": st.sampled_from([None, 2, 3]),
        "mixed_rollouts": st.integers(0, 4),
        "num_parallel_leaves": st.integers(1, 4),
    }
)


@st.composite
def searches(draw: st.DrawFn) -> tuple[Tree, dict[str, Any]]:
    """A tree whose policy opens, at each prefix, one of a few shelves of texts; and its budget."""
    shelf, scores = draw(shelves), draw(st.lists(st.sampled_from(SCORES), min_size=1, max_size=4))
    budget = draw(budgets)

    def script(question: Question, prefix: Sequence[Step]) -> list[str]:
        texts, replies = shelf[place(prefix) % len(shelf)]
        return replies if any(step.kind is StepKind.CODE_END for step in prefix) else texts

    def score(question: Question, prefix: Sequence[Step], step: Step) -> float:
        return scores[place((*prefix, step)) % len(scores)]

    judge = draw(st.sampled_from([truth("5"), guides_judge]))
    arguments = {"is_drawn": draw(st.booleans()), "seed": draw(st.integers(0, 99))}
    return grow(script, guide=ScriptedReward(score), judge=judge, **arguments, **budget), budget


def place(prefix: Sequence[Step]) -> int:
    return derived_seed(0, *(step.body for step in prefix))


def subtree(tree: Tree, index: int) -> list[int]:
    return [index, *(below for child in tree[index].children for below in subtree(tree, child))]


@given(searches())
def test_parents_come_before_children(made: tuple[Tree, dict[str, Any]]) -> None:
    tree, _ = made
    assert tree[ROOT].parent == -1
    for index, node in enumerate(tree.nodes[1:], start=1):
        assert 0 <= node.parent < index
        assert index in tree[node.parent].children
    assert sorted(subtree(tree, ROOT)) == list(range(len(tree.nodes)))


@given(searches())
def test_every_visit_of_a_node_goes_on_to_a_child_or_ends_there(made: tuple[Tree, dict[str, Any]]) -> None:
    tree, _ = made
    assert tree[ROOT].visit_count == tree.num_rollouts
    for node in tree.nodes:
        if node.terminal is None:
            assert node.visit_count == sum(tree[child].visit_count for child in node.children)
        else:
            assert not node.children
    assert sum(node.visit_count for node in tree.nodes if node.terminal) == tree.num_rollouts


@given(searches())
def test_a_value_is_the_prior_and_the_rewards_of_the_rollouts_below(made: tuple[Tree, dict[str, Any]]) -> None:
    tree, _ = made
    for index, node in enumerate(tree.nodes):
        rewards = sum(tree[end].visit_count * (tree[end].reward or 0.0) for end in subtree(tree, index))
        assert node.value_sum == pytest.approx(node.initial_value + rewards, abs=1e-9)


@given(searches())
def test_ends_have_a_reason_and_the_visited_ones_a_reward(made: tuple[Tree, dict[str, Any]]) -> None:
    tree, _ = made
    for node in tree.nodes:
        assert (node.reward is not None) == (node.terminal is not None and node.visit_count > 0)
        assert (node.answer is not None) == (node.terminal is Terminal.ANSWERED)
        if node.reward is not None and node.terminal is not Terminal.ANSWERED:
            assert node.reward == -1.0


@given(searches())
def test_siblings_differ_and_are_no_more_than_the_candidates(made: tuple[Tree, dict[str, Any]]) -> None:
    tree, budget = made
    for node in tree.nodes:
        steps = [tree[child].step for child in node.children]
        assert len(set(steps)) == len(steps)
        assert sum(tree[child].num_samples for child in node.children) <= budget["num_candidates"]


@given(searches())
def test_no_unvisited_node_has_a_sibling_with_two_visits(made: tuple[Tree, dict[str, Any]]) -> None:
    tree, _ = made
    for node in tree.nodes:
        visits = [tree[child].visit_count for child in node.children]
        assert not visits or min(visits) > 0 or max(visits) <= 1


@given(searches())
def test_the_budget_holds(made: tuple[Tree, dict[str, Any]]) -> None:
    tree, budget = made
    most = budget["num_rollouts"] + budget["extra_rollouts"] + budget["mixed_rollouts"]
    is_solved = any(node.reward is not None and node.reward > 0 for node in tree.nodes)
    assert 0 < tree.num_rollouts <= most
    if budget["settled_after"] is None:
        assert tree.num_rollouts >= budget["num_rollouts"]
        assert is_solved or tree.num_rollouts >= budget["num_rollouts"] + budget["extra_rollouts"]
    assert max(len(tree.path(index)) - 1 for index in range(len(tree.nodes))) <= budget["max_depth"]


@given(searches())
def test_a_frozen_tree_keeps_the_shape(made: tuple[Tree, dict[str, Any]]) -> None:
    tree, _ = made
    frozen = tree.freeze("q", "r1", 0)
    assert all(list(frozen.path(index)) == tree.path(index)[1:] for index in range(len(tree.nodes)))
