"""Which pairs a tree gives, on trees small enough to see; and a split that no problem crosses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rstar_core.curation.pairs import final_pairs, node_pairs, split_by_problem
from rstar_core.types import Node, PreferencePair, SearchTree, Step, StepKind, Terminal, Trajectory


def node(
    parent: int,
    name: str,
    q: float = 0.0,
    *,
    kind: StepKind = StepKind.CODE,
    visits: int = 1,
    terminal: Terminal | None = None,
    reward: float | None = None,
) -> Node:
    step = Step(kind, name)
    answer = name if terminal is Terminal.ANSWERED else None
    return Node(parent, step, 0.0, visits, q * visits, terminal=terminal, answer=answer, reward=reward)


def answer(parent: int, name: str, reward: float | None, q: float = 0.0) -> Node:
    return node(parent, name, q, kind=StepKind.ANSWER, terminal=Terminal.ANSWERED, reward=reward)


def failure(parent: int, name: str, q: float) -> Node:
    return node(parent, name, q, terminal=Terminal.MAX_DEPTH, reward=-1.0)


def tree(*nodes: Node) -> SearchTree:
    root = Node(-1, None, 0.0, sum(one.visit_count for one in nodes if one.parent == 0), 0.0)
    return SearchTree("p", "r1", 3, (root, *nodes), 8, 100)


def names(pairs: list[PreferencePair]) -> list[tuple[str, str]]:
    return [(pair.chosen[-1].body, pair.rejected[-1].body) for pair in pairs]


def fan(*qs: float, good: int) -> SearchTree:
    """A root with one child per Q; the first ``good`` of them lead to an answer (its leaf follows its parent)."""
    children = [node(0, f"c{i}", q) if i < good else failure(0, f"c{i}", q) for i, q in enumerate(qs)]
    return tree(*children, *(answer(1 + i, "42", 1.0) for i in range(good)))


def verdicts(some: SearchTree, *right: int) -> dict[int, bool]:
    """The leaves ``right`` are right, all others with a reward are wrong; 0 says that nobody could tell."""
    return {i: i in right for i, one in enumerate(some.nodes) if one.reward or i in right}


def as_searched(some: SearchTree) -> dict[int, bool]:
    return verdicts(some, *(i for i, one in enumerate(some.nodes) if (one.reward or 0) > 0))


def test_a_pair_has_so_many_visits_behind_each_of_its_steps() -> None:
    some = tree(
        node(0, "often", 0.9, visits=3),
        node(0, "once", 1.0),
        failure(0, "wrong", -1.0),
        answer(1, "42", 1.0),
        answer(2, "42", 1.0),
    )
    assert names(node_pairs(some, as_searched(some), 2, 2)) == [("once", "wrong"), ("often", "wrong")]
    assert node_pairs(some, as_searched(some), 2, 2, min_visits=2) == []


def test_the_best_two_right_children_meet_the_worst_two_wrong_ones() -> None:
    some = fan(0.3, 0.9, 0.6, -0.1, -1.0, -0.5, good=3)
    assert names(node_pairs(some, as_searched(some), 2, 2)) == [("c1", "c4"), ("c1", "c5"), ("c2", "c4"), ("c2", "c5")]


def test_ties_go_to_the_lower_index() -> None:
    some = fan(0.5, 0.5, 0.5, -1.0, -1.0, -1.0, good=3)
    assert names(node_pairs(some, as_searched(some), 1, 2)) == [("c0", "c3"), ("c0", "c4")]


def test_all_right_or_all_wrong_gives_no_pair() -> None:
    for good in (0, 3):
        some = fan(0.5, 0.1, -0.5, good=good)
        assert node_pairs(some, as_searched(some), 2, 2) == []


def test_a_positive_must_have_the_higher_q() -> None:
    some = fan(0.1, 0.5, 0.1, 0.3, good=2)
    assert names(node_pairs(some, as_searched(some), 2, 2)) == [("c1", "c2"), ("c1", "c3")]


def test_the_verified_verdict_counts_not_the_searchs() -> None:
    """Both children were rewarded; one of the answers did not survive verification."""
    some = tree(node(0, "true", 0.9), node(0, "lucky", 0.8), answer(1, "42", 1.0), answer(2, "42", 1.0))
    assert names(node_pairs(some, verdicts(some, 3), 2, 2)) == [("true", "lucky")]


def test_a_child_with_mixed_ends_is_no_negative() -> None:
    some = tree(
        *(node(0, "right", 0.9), node(0, "mixed", -0.9)),
        *(answer(1, "42", 1.0), answer(2, "42", 1.0), answer(2, "7", -1.0)),
    )
    assert node_pairs(some, verdicts(some, 3, 4), 2, 2) == []


def test_an_end_that_the_grader_could_not_judge_is_not_wrong() -> None:
    some = tree(node(0, "right", 0.9), node(0, "unclear", 0.0), answer(1, "42", 1.0), answer(2, "?", 0.0))
    assert node_pairs(some, verdicts(some, 3), 2, 2) == []


def test_a_child_with_an_end_that_nobody_knows_is_no_negative() -> None:
    """One answer is wrong; the other was called right by the search and never verified."""
    some = tree(
        *(node(0, "right", 0.9), node(0, "maybe", -0.9)),
        *(answer(1, "42", 1.0), answer(2, "7", -1.0), answer(2, "42", 1.0)),
    )
    assert node_pairs(some, {3: True, 4: False}, 2, 2) == []
    assert names(node_pairs(some, {3: True, 4: False, 5: False}, 2, 2)) == [("right", "maybe")]


def test_an_end_that_no_rollout_reached_is_not_wrong() -> None:
    some = tree(node(0, "right", 0.9), node(0, "open", -0.9), answer(1, "42", 1.0), answer(2, "7", None))
    assert node_pairs(some, verdicts(some, 3), 2, 2) == []


def test_a_child_without_a_visit_is_no_positive() -> None:
    some = tree(node(0, "unvisited", visits=0), failure(0, "bad", -1.0), answer(1, "42", None))
    assert node_pairs(some, verdicts(some, 3), 2, 2) == []


def test_answers_are_not_alternatives_of_a_node() -> None:
    some = tree(node(0, "print", 0.0, kind=StepKind.CODE_END), answer(1, "42", 1.0, 1.0), answer(1, "7", -1.0, -1.0))
    assert node_pairs(some, verdicts(some, 2), 2, 2) == []


def test_a_pair_deep_in_the_tree_has_the_steps_to_its_node_as_prefix() -> None:
    some = tree(
        node(0, "a", 0.5), node(1, "b", 0.5), node(2, "good", 1.0), failure(2, "bad", -1.0), answer(3, "42", 1.0)
    )
    (pair,) = node_pairs(some, verdicts(some, 5), 2, 2)
    assert pair.node_key == "3/2"
    assert [step.body for step in pair.prefix] == ["a", "b"]
    assert (len(pair.chosen), len(pair.rejected)) == (1, 1)


@st.composite
def trees(draw: st.DrawFn) -> tuple[SearchTree, dict[int, bool]]:
    """A tree, and verdicts on some of the ends that rollouts reached."""
    nodes: list[Node] = []
    for index in range(1, draw(st.integers(1, 25))):
        q, visits = draw(st.floats(-1, 1)), draw(st.integers(0, 3))
        terminal = draw(st.sampled_from([None, None, Terminal.ANSWERED, Terminal.CODE_ERROR]))
        reward = draw(st.sampled_from([None, -1.0, 0.0, 1.0])) if terminal else None
        kind = StepKind.ANSWER if terminal is Terminal.ANSWERED else StepKind.CODE
        parent = draw(st.integers(0, index - 1))
        nodes.append(node(parent, str(index), q, kind=kind, visits=visits, terminal=terminal, reward=reward))
    some = tree(*nodes)
    drawn = {
        i: draw(st.sampled_from([True, False, None])) for i, one in enumerate(some.nodes) if one.reward is not None
    }
    return some, {leaf: verdict for leaf, verdict in drawn.items() if verdict is not None}


@given(trees(), st.integers(1, 3), st.integers(1, 3))
def test_every_pair_keeps_the_rule(
    drawn: tuple[SearchTree, dict[int, bool]], num_positives: int, num_negatives: int
) -> None:
    some, known = drawn
    by_node: dict[str, list[PreferencePair]] = {}
    for pair in node_pairs(some, known, num_positives, num_negatives):
        by_node.setdefault(pair.node_key, []).append(pair)
        positive, negative = (int(steps[0].body) for steps in (pair.chosen, pair.rejected))
        assert some.nodes[positive].parent == some.nodes[negative].parent == int(pair.node_key.split("/")[1])
        assert some.nodes[positive].q_value > some.nodes[negative].q_value
        assert True in ends(some, known, positive)
        assert ends(some, known, negative) == {False}
    for pairs in by_node.values():
        assert len({pair.chosen for pair in pairs}) <= num_positives
        assert len({pair.rejected for pair in pairs}) <= num_negatives


def ends(some: SearchTree, known: dict[int, bool], index: int) -> set[bool | None]:
    """The verdicts on the ends that were reached through a node; None where there is none."""
    reached = (leaf for leaf, one in enumerate(some.nodes) if one.reward is not None)
    return {known.get(leaf) for leaf in reached if index in some.path(leaf)}


# --- whole solutions --------------------------------------------------------------------------------------------


def trajectory(name: str, mean_q: float, is_correct: bool, leaf: int = 0) -> Trajectory:
    steps = (Step(StepKind.CODE_END, name), Step(StepKind.ANSWER, name))
    return Trajectory("p", "r1", 0, leaf, steps, name, (mean_q, mean_q), mean_q, is_correct)


def test_the_best_correct_solutions_meet_the_worst_wrong_ones() -> None:
    found = [
        *(trajectory("a", 0.1, True), trajectory("b", 0.9, True), trajectory("c", 0.5, True)),
        *(trajectory("x", -0.1, False), trajectory("y", -0.9, False), trajectory("z", -0.5, False)),
    ]
    pairs = final_pairs(found, 2, 2)
    assert names(pairs) == [("b", "y"), ("b", "z"), ("c", "y"), ("c", "z")]
    assert {(pair.prefix, pair.node_key, len(pair.chosen)) for pair in pairs} == {((), "final", 2)}


def test_equal_solutions_count_once() -> None:
    found = [trajectory("a", 0.9, True), trajectory("a", 0.8, True, 1), trajectory("x", -1.0, False)]
    assert names(final_pairs(found, 2, 2)) == [("a", "x")]


def test_the_order_of_the_trajectories_does_not_matter() -> None:
    found = [trajectory(name, 0.5, name < "m", leaf) for leaf, name in enumerate("axbycz")]
    assert final_pairs(found, 2, 2) == final_pairs(found[::-1], 2, 2)


# --- split ------------------------------------------------------------------------------------------------------


@given(st.sets(st.text(min_size=1), min_size=2), st.floats(0, 1), st.integers(0, 9))
def test_neither_side_of_a_split_is_empty(problem_ids: set[str], fraction: float, seed: int) -> None:
    held_out = split_by_problem(problem_ids, fraction, seed)
    assert set() < held_out < problem_ids


def test_a_problem_keeps_its_side_when_others_come() -> None:
    some, more = [f"p{i}" for i in range(50)], [f"p{i}" for i in range(200)]
    assert split_by_problem(more, 0.2, 1) & set(some) == split_by_problem(some, 0.2, 1)


def test_a_split_has_about_the_asked_share_and_depends_on_the_seed() -> None:
    problem_ids = [f"p{i}" for i in range(2000)]
    held_out = split_by_problem(problem_ids, 0.2, 1)
    assert 340 < len(held_out) < 460
    assert held_out == split_by_problem(reversed(problem_ids), 0.2, 1) != split_by_problem(problem_ids, 0.2, 2)


def test_one_problem_alone_is_no_split() -> None:
    assert len(split_by_problem(["p"], 0.5, 1)) <= 1
