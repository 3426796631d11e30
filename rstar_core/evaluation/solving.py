"""One question -> the answer of each method, with nothing of the truth: what ``rstar solve`` and ``rstar serve`` do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rstar_core.answers.equivalence import Grader
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import Params
from rstar_core.engines.load import has_ppm, load_policy
from rstar_core.evaluation.answering import Own, best, majority, majority_of_trees, predictions_of, system, weight
from rstar_core.evaluation.methods import FLAT, GREEDY, SYSTEM, Method, methods
from rstar_core.mcts.search import Parts, guides_judge, search
from rstar_core.mcts.tree import Tree
from rstar_core.sandbox.base import Sandbox
from rstar_core.sandbox.load import open_sandbox
from rstar_core.seeds import derived_seed
from rstar_core.types import Prediction, Question, SearchTree


@dataclass(slots=True)
class Growing:
    """A method at work on a question: its trees as they stand. Whoever holds it may watch."""

    method: Method
    trees: list[Tree] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return sum(tree.num_tokens for tree in self.trees)


@dataclass(frozen=True, slots=True)
class Found:
    """What a method's trees say: all answered terminals, and the trees as they were when they had ended."""

    method: Method
    trees: list[SearchTree]
    predictions: list[Prediction]
    seconds: float

    @property
    def num_tokens(self) -> int:
        return sum(tree.num_tokens for tree in self.trees)


@dataclass(frozen=True, slots=True)
class Answer:
    """``chosen`` is None where no answer was found; ``share`` is of the votes, or of their weight; ``way`` as in
    ``metrics/evaluate.json``."""

    way: str
    chosen: Prediction | None
    share: float | None


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
    predictions = await predictions_of(trees, its.name, "", 0, grader)
    return Found(its, trees, predictions, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class Solver:
    """A round's models, loaded, with the sandbox that their code runs in and the grader that counts votes."""

    methods: list[Method]
    sandbox: Sandbox
    grader: Grader
    seed: int

    async def find(self, question: Question, work: Growing) -> Found:
        """See ``find``."""
        return await find(question, work, self.sandbox, self.grader, self.seed)


@asynccontextmanager
async def open_solver(folder: Path, params: Params) -> AsyncIterator[Solver]:
    """The solver of the round in ``folder``, with the search settings of ``params``; loaded once, for many questions.

    Raises:
        UserError: there is no policy, or it cannot be loaded.
    """
    models = load_policy(folder / "policy", params.engine)
    ppm = folder / "ppm" if has_ppm(folder / "ppm") else None
    its_methods = methods(models, ppm, params.search, params.evaluate)
    async with models, open_sandbox(params.sandbox) as sandbox, GraderSandbox() as graders:
        yield Solver(its_methods, sandbox, Grader(graders), params.seed)


# Of each method the ways to choose among its terminals, and what a terminal's vote weighs where they vote by weight.
_WAYS: dict[str, list[tuple[str, Callable[[Own], Prediction | None], Callable[[Prediction], float] | None]]] = {
    GREEDY: [("policy_pass@1", best, None)],
    FLAT: [("maj@{}", majority, lambda one: 1.0)],
    SYSTEM: [("system@{}", system, weight), ("best@{}", best, None), ("majority@{}", majority_of_trees, None)],
}


def answers(found: Found) -> list[Answer]:
    """The method's answer; of System 2's trees first its own, then those of other ways to choose among them."""
    own = found.predictions
    return [
        Answer(name.format(found.method.num_trees), chosen := choose(own), _share(own, chosen, weigh))
        for name, choose, weigh in _WAYS[found.method.name]
    ]


def _share(own: Own, chosen: Prediction | None, weigh: Callable[[Prediction], float] | None) -> float | None:
    """How much of all votes the chosen answer has."""
    if chosen is None or weigh is None:
        return None
    votes = [(one.answer_class, weigh(one)) for one in own if one.answer]
    total = sum(vote for _, vote in votes)
    return sum(vote for one, vote in votes if one == chosen.answer_class) / total if total else None
