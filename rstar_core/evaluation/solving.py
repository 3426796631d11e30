"""One question -> the answer of each method, with nothing of the truth: what ``tasks solve`` does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rstar_core.answers.equivalence import Grader
from rstar_core.evaluation.answering import Own, best, majority, majority_of_trees, predictions_of, system, weight
from rstar_core.evaluation.methods import FLAT, GREEDY, SYSTEM, Method
from rstar_core.mcts.search import Parts, guides_judge, search
from rstar_core.mcts.tree import Tree
from rstar_core.sandbox.base import Sandbox
from rstar_core.seeds import derived_seed
from rstar_core.types import Prediction, Question, SearchTree


@dataclass(slots=True)
class Growing:
    """A method at work on a question: its trees as they stand. Whoever holds it may watch."""

    method: Method
    trees: list[Tree] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def num_tokens(self) -> int:
        return sum(tree.num_tokens for tree in self.trees)


@dataclass(frozen=True, slots=True)
class Found:
    """What a method's trees say: all answered terminals, and the trees as they were when they had ended."""

    method: Method
    trees: list[SearchTree]
    predictions: list[Prediction]
    num_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """``chosen`` is None where no answer was found; ``share`` is of the votes, or of their weight; ``way`` as in
    ``metrics/evaluate.json``."""

    way: str
    chosen: Prediction | None
    share: float | None
    found: Found


async def find(question: Question, work: Growing, sandbox: Sandbox, grader: Grader, seed: int) -> Found:
    """Grow the method's trees, all at once. The same engines, method and ``seed`` give the same ones.

    A tree's seed depends on the question, the method and its number, not on how many there are.
    """
    started = time.monotonic()
    its = work.method
    parts = Parts(its.policy, its.guide, sandbox, guides_judge)
    work.trees = [Tree() for _ in range(its.num_trees)]
    seeds = [derived_seed(seed, "solve", its.name, question.id, index) for index in range(its.num_trees)]
    await asyncio.gather(
        *(search(question, parts, its.budget, one, tree) for one, tree in zip(seeds, work.trees, strict=True))
    )
    trees = [tree.freeze(question.id, "", index) for index, tree in enumerate(work.trees)]
    predictions = await predictions_of(trees, its.name, 0, grader)
    work.seconds = time.monotonic() - started
    return Found(its, trees, predictions, work.num_tokens, work.seconds)


def answers(found: Found) -> list[Answer]:
    """The method's answer, or for System 2 those of the three ways to choose among its terminals."""
    own = found.predictions
    ways: dict[str, dict[str, Callable[[Own], Prediction | None]]] = {
        GREEDY: {"policy_pass@1": best},
        FLAT: {f"flat@{found.method.num_trees}": majority},
        SYSTEM: {
            f"system@{found.method.num_trees}": system,
            f"best@{found.method.num_trees}": best,
            f"majority@{found.method.num_trees}": majority_of_trees,
        },
    }
    return [
        Answer(way, chosen := choose(own), _share(way, own, chosen), found)
        for way, choose in ways[found.method.name].items()
    ]


def _share(way: str, own: Sequence[Prediction], chosen: Prediction | None) -> float | None:
    """How much of the vote the chosen answer has, where there is one."""
    if chosen is None or way.startswith(("policy", "best", "majority")):
        return None
    votes = [(one.answer_class, weight(one) if way.startswith("system") else 1.0) for one in own if one.answer]
    total = sum(vote for _, vote in votes)
    return sum(vote for one, vote in votes if one == chosen.answer_class) / total if total else None
