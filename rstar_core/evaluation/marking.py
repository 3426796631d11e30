"""Answers and the truth -> marked answers, and what an oracle says of their steps. The searches have ended by now."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from rstar_core.answers.equivalence import Grader, Verdict
from rstar_core.evaluation.accuracies import is_correct
from rstar_core.evaluation.answering import predictions_of
from rstar_core.evaluation.methods import SYSTEM
from rstar_core.evaluation.oracle import Labelled, Oracle
from rstar_core.journal import Journal
from rstar_core.mcts.recording import recorded_trees
from rstar_core.types import Prediction, Problem, SearchTree


async def marked(
    predictions: Sequence[Prediction], problems: Mapping[str, Problem], grader: Grader
) -> list[Prediction]:
    """``predictions`` with their verdicts; ``problems`` by id."""
    return await asyncio.gather(*(_marked(one, problems[one.problem_id], grader) for one in predictions))


async def _marked(prediction: Prediction, problem: Problem, grader: Grader) -> Prediction:
    if prediction.answer is None:
        return replace(prediction, verdict=Verdict.DIFFERENT)
    verdict = await grader.verdict(problem.answer, prediction.answer, problem.allowed)
    return replace(prediction, verdict=verdict)


@dataclass(frozen=True, slots=True)
class MethodAnswers:
    """A method's marked predictions, by problem and tree, and what the metrics count of its trees."""

    method: str
    predictions: list[Prediction]
    counts: Counter[str]


_NUM_AT_ONCE = 128


async def method_answers(
    method: str, problems: Sequence[Problem], num_trees: int, journal: Journal, grader: Grader
) -> MethodAnswers:
    """``_NUM_AT_ONCE`` problems at a time."""
    predictions: list[Prediction] = []
    counts: Counter[str] = Counter()
    for start in range(0, len(problems), _NUM_AT_ONCE):
        some = {problem.id: problem for problem in problems[start : start + _NUM_AT_ONCE]}
        trees = [list(_grown(journal, method, problem_id, num_trees)) for problem_id in some]
        pairs = zip(trees, some.values(), strict=True)
        found = await asyncio.gather(
            *(predictions_of(its, method, problem.source, problem.level, grader) for its, problem in pairs)
        )
        predictions += await marked(list(chain(*found)), some, grader)
        for tree in chain(*trees):
            counts.update(num_tokens=tree.num_tokens, num_failed=tree.is_given_up, num_too_long=tree.has_too_long)
    return MethodAnswers(method, predictions, counts)


def _grown(journal: Journal, method: str, problem_id: str, num_trees: int) -> Iterator[SearchTree]:
    return recorded_trees(journal, (record_key(method, problem_id, index) for index in range(num_trees)))


async def labelled(answers: MethodAnswers, journal: Journal, oracle: Oracle) -> list[Labelled]:
    """A right and a wrong solution by System 2 of each problem, where there are, with the oracle's first wrong step."""
    chosen: dict[tuple[str, bool], Prediction] = {}
    for one in answers.predictions:
        if one.answer is not None and one.method == SYSTEM and oracle.knows(one.problem_id):
            chosen.setdefault((one.problem_id, is_correct(one)), one)
    trees = recorded_trees(journal, [record_key(one.method, one.problem_id, one.tree_index) for one in chosen.values()])
    steps = [tree.steps(one.leaf) for tree, one in zip(trees, chosen.values(), strict=True)]
    firsts = await asyncio.gather(
        *(oracle.first_wrong(one.problem_id, its) for one, its in zip(chosen.values(), steps, strict=True))
    )
    return [(first, one.scores[:-1]) for first, one in zip(firsts, chosen.values(), strict=True)]


def record_key(method: str, problem_id: str, tree_index: int) -> str:
    return f"{method}/{problem_id}/{tree_index}"
