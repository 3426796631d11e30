"""Trees -> the answers in them, and the one answer of each method. Nothing here knows the truth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from rstar_core.answers.classes import answer_classes
from rstar_core.answers.equivalence import Grader
from rstar_core.mcts.tree import ROOT
from rstar_core.metrics import majority_vote, weighted_vote
from rstar_core.types import Prediction, SearchTree, Terminal

Own = Sequence[Prediction]  # one method's, to one problem, in the order of their trees


# --- what a method's trees found ------------------------------------------------------------------------------


async def predictions_of(
    trees: Sequence[SearchTree], method: str, source: str, level: int, grader: Grader
) -> list[Prediction]:
    """One prediction for each answered terminal that was reached, or one without an answer for a tree; not marked.

    ``trees`` are one method's for one problem; ``grader`` says which of their answers are equal.
    """
    ends = [(tree, leaf) for tree in trees for leaf in reached(tree) or [ROOT]]
    answers = [tree.nodes[leaf].answer for tree, leaf in ends]
    classes = await answer_classes(answers, grader)
    return [
        Prediction(
            problem_id=tree.problem_id,
            source=source,
            level=level,
            method=method,
            tree_index=tree.tree_index,
            leaf=leaf,
            answer=answer,
            scores=tuple(tree.nodes[index].initial_value for index in tree.path(leaf)),
            frequency=frequency(tree, leaf),
            answer_class=answer_class,
            verdict=None,
        )
        for (tree, leaf), answer, answer_class in zip(ends, answers, classes, strict=True)
    ]


def reached(tree: SearchTree) -> list[int]:
    """The answered terminals that rollouts ended at."""
    nodes = enumerate(tree.nodes)
    return [leaf for leaf, node in nodes if node.terminal is Terminal.ANSWERED and node.reward is not None]


def frequency(tree: SearchTree, leaf: int) -> float:
    """How often the policy alone would have written this: the product of its steps' shares of their siblings' samples.

    Candidates with the same text are one child; without this, a text that was sampled once would weigh as much as one
    that was sampled every time.
    """
    samples: Counter[int] = Counter()
    for node in tree.nodes[1:]:
        samples[node.parent] += node.num_samples
    return math.prod(tree.nodes[index].num_samples / samples[tree.nodes[index].parent] for index in tree.path(leaf))


# --- the answer of a method -----------------------------------------------------------------------------------


def majority(own: Own) -> Prediction | None:
    """Self-consistency: each sample has a vote (``maj@K``)."""
    return _best_of_class(own, majority_vote(one.answer_class for one in own))


def system(own: Own) -> Prediction | None:
    """System 2: every terminal votes with ``weight`` (``system@N``)."""
    return _best_of_class(own, weighted_vote((one.answer_class, weight(one)) for one in own))


def best(own: Own) -> Prediction | None:
    """The terminal that the PPM scores best (``best@N``)."""
    found = max(own, key=lambda one: one.score, default=None)
    return None if found is None or found.answer is None else found


def majority_of_trees(own: Own) -> Prediction | None:
    """Each tree's best-scored terminal has a vote (``majority@N``)."""
    trees: dict[int, Prediction] = {}
    for one in own:
        if one.tree_index not in trees or one.score > trees[one.tree_index].score:
            trees[one.tree_index] = one
    return majority(list(trees.values()))


def weight(prediction: Prediction) -> float:
    """How often the policy alone would have written it, times (1 + the PPM's score) / 2 (decisions/0012)."""
    return prediction.frequency * (1 + prediction.score) / 2


def by_problem(predictions: Iterable[Prediction], method: str) -> list[list[Prediction]]:
    groups: dict[str, list[Prediction]] = {}
    for one in predictions:
        if one.method == method:
            groups.setdefault(one.problem_id, []).append(one)
    return list(groups.values())


def _best_of_class(own: Own, answer_class: int | None) -> Prediction | None:
    if answer_class is None:
        return None
    return max((one for one in own if one.answer_class == answer_class), key=lambda one: one.score)
