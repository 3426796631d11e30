"""Held-out problems + policy + PPM -> accuracies: the policy alone, and the whole system (paper 4.1)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstar_core.answers.classes import answer_classes
from rstar_core.answers.equivalence import GRADER_VERSION, Grader, Verdict
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import Engine, Evaluate, SandboxLimits, Search, Seed
from rstar_core.engines.base import PolicyEngine, RewardEngine, ZeroReward
from rstar_core.engines.load import Models, has_ppm, load_policy
from rstar_core.errors import UserError
from rstar_core.io import read_problems, write_predictions
from rstar_core.journal import Journal, open_journal
from rstar_core.journal.key import journal_key
from rstar_core.mcts.recording import recorded_trees
from rstar_core.mcts.scheduler import Growth, Job, grow
from rstar_core.mcts.search import Budget, Parts, guides_judge
from rstar_core.metrics import majority_vote, share_by_level
from rstar_core.sandbox.base import Sandbox
from rstar_core.sandbox.load import open_sandbox
from rstar_core.seeds import derived_seed
from rstar_core.types import Prediction, Problem, SearchTree, Terminal

GREEDY, SYSTEM = "greedy", "system"


@dataclass(frozen=True, slots=True)
class Method:
    """A way to answer: ``num_trees`` searches for each problem, guided by a model and never by the truth."""

    name: str
    policy: PolicyEngine
    guide: RewardEngine
    budget: Budget
    num_trees: int


def evaluate(
    *,
    round_id: str,
    benchmark: Path,
    policy: Path,
    ppm: Path,
    predictions: Path,
    seed: Seed,
    engine: Engine,
    search: Search,
    sandbox: SandboxLimits,
    evaluate: Evaluate,
) -> dict[str, Any]:
    """Answer the held-out problems; the truth is looked at only when all searches, of both methods, have ended.

    Metrics, each a share by ``all`` and ``level_<n>``: ``policy_pass@1`` is the policy alone, greedy, one sample.
    With N trees for each problem, ``system@N`` is the answer that the PPM scores best, ``majority@N`` the answer
    that most trees end with, and ``pass@N`` says whether any of the N is right, which only the truth can tell. These
    three are null where the round has no PPM. Beside them ``num_problems``, ``num_trees`` (N), ``num_tokens`` (that
    the policy wrote), ``num_undecided`` answers and ``num_failed`` trees whose search was given up; both are wrong.

    Raises:
        UserError: an input is missing or empty.
    """
    problems = read_problems(benchmark)[: evaluate.max_problems]
    if not problems:
        raise UserError(f"{benchmark}: no held-out problems; add a source with split 'benchmark' to ingest.sources")
    models = load_policy(policy, engine)
    its_methods = methods(models, ppm, search, evaluate)
    sections = {"seed": seed, "engine": engine, "search": search, "sandbox": sandbox, "evaluate": evaluate}
    params = {**sections, "GRADER_VERSION": GRADER_VERSION}
    with closing(open_journal(journal_key("evaluate", round_id, (benchmark, policy, ppm), params))) as journal:
        started = time.monotonic()

        async def work() -> tuple[list[Growth], float, list[_Marks], str]:
            async with models, open_sandbox(sandbox) as box, GraderSandbox() as graders:
                exam = _Exam(round_id, seed, box, Grader(graders), journal, engine.num_concurrent_trees, problems)
                growths = [await exam.sit(method) for method in its_methods]
                seconds = time.monotonic() - started
                return growths, seconds, [await exam.mark(method) for method in its_methods], box.level

        growths, seconds, marks, level = asyncio.run(work())
        answered = [prediction for its in marks for prediction in its.predictions]
        write_predictions(predictions, answered)
        journal.discard()
    totals = {name: sum(getattr(its, name) for its in marks) for name in ("num_tokens", "num_failed")}
    rate = sum(growth.num_tokens for growth in growths) / seconds  # what the journal had is not this run's
    timings = {"tokens/s": round(rate, 1), "sandbox": level}
    return {**accuracies(answered), **totals, "timings": timings}


def methods(models: Models, ppm: Path, search: Search, evaluate: Evaluate) -> list[Method]:
    """Greedy is a search of one candidate and one rollout; the system needs a PPM."""
    depth, uct_c = search.max_depth, search.uct_c
    greedy = models.policy(0.0, 1.0, search.max_step_tokens)
    alone = Method(GREEDY, greedy, ZeroReward(), Budget(1, 1, 0, depth, uct_c, None), 1)
    if not has_ppm(ppm):
        return [alone]
    budget = Budget(
        num_candidates=evaluate.num_candidates,
        num_rollouts=evaluate.num_rollouts,
        extra_rollouts=0,
        max_depth=depth,
        uct_c=uct_c,
        settled_after=search.settled_after,
        num_parallel_leaves=search.num_parallel_leaves,
    )
    sampler = models.policy(evaluate.temperature, search.top_p, search.max_step_tokens)
    return [alone, Method(SYSTEM, sampler, models.guide("ppm", ppm), budget, evaluate.num_trees)]


# --- answers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Marks:
    """A method's predictions, by problem and tree, how many tokens they took and how many searches were given up."""

    predictions: list[Prediction]
    num_tokens: int
    num_failed: int


@dataclass(frozen=True, slots=True)
class _Exam:
    round_id: str
    seed: int
    sandbox: Sandbox
    grader: Grader
    journal: Journal
    max_running: int
    problems: Sequence[Problem]

    async def sit(self, method: Method) -> Growth:
        """Search; the truth has no part in it."""
        jobs = (self._job(method, problem, index) for problem in self.problems for index in range(method.num_trees))
        num_jobs = len(self.problems) * method.num_trees
        return await grow(f"evaluate {self.round_id}, {method.name}", jobs, num_jobs, self.journal, self.max_running)

    async def mark(self, method: Method) -> _Marks:
        """Compare what the searches found with the truth, ``max_running`` problems at a time."""
        predictions: list[Prediction] = []
        num_tokens = num_failed = 0
        for start in range(0, len(self.problems), self.max_running):
            problems = self.problems[start : start + self.max_running]
            trees = [list(self._grown(method, problem)) for problem in problems]
            pairs = zip(problems, trees, strict=True)
            graded = await asyncio.gather(*(self._grade(method.name, problem, its) for problem, its in pairs))
            predictions += [one for its in graded for one in its]
            num_tokens += sum(tree.num_tokens for its in trees for tree in its)
            num_failed += sum(tree.is_given_up for its in trees for tree in its)
        return _Marks(predictions, num_tokens, num_failed)

    def _grown(self, method: Method, problem: Problem) -> Iterator[SearchTree]:
        keys = (record_key(method, problem, index) for index in range(method.num_trees))
        return recorded_trees(self.journal, keys)

    def _job(self, method: Method, problem: Problem, tree_index: int) -> Job:
        return Job(
            key=record_key(method, problem, tree_index),
            question=problem.question,
            round_id=self.round_id,
            tree_index=tree_index,
            parts=Parts(method.policy, method.guide, self.sandbox, guides_judge),
            budget=method.budget,
            seed=derived_seed(self.seed, "evaluate", self.round_id, problem.id, tree_index),
        )

    async def _grade(self, method: str, problem: Problem, trees: Sequence[SearchTree]) -> list[Prediction]:
        """One prediction for each tree, its best terminal's."""
        best = [best_terminal(tree) for tree in trees]
        classes = await answer_classes([answer for answer, _ in best], self.grader)
        return [
            Prediction(
                problem_id=problem.id,
                level=problem.level,
                method=method,
                tree_index=tree.tree_index,
                answer=answer,
                score=score,
                answer_class=answer_class,
                verdict=await self._verdict(problem, answer),
            )
            for tree, (answer, score), answer_class in zip(trees, best, classes, strict=True)
        ]

    async def _verdict(self, problem: Problem, answer: str | None) -> Verdict:
        if answer is None:
            return Verdict.DIFFERENT
        return await self.grader.verdict(problem.answer, answer, problem.allowed)


def record_key(method: Method, problem: Problem, tree_index: int) -> str:
    return f"{method.name}/{problem.id}/{tree_index}"


def best_terminal(tree: SearchTree) -> tuple[str | None, float | None]:
    """The answer that the guide scores best among those that were reached, and its score; the first of equals."""
    reached = [node for node in tree.nodes if node.terminal is Terminal.ANSWERED and node.reward is not None]
    if not reached:
        return None, None
    best = max(reached, key=lambda node: node.reward or 0.0)
    return best.answer, best.reward


# --- accuracies -----------------------------------------------------------------------------------------------


def accuracies(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The metrics that ``evaluate`` names, from its predictions; each problem's are in the order of their trees."""
    alone, system = (_by_problem(predictions, method) for method in (GREEDY, SYSTEM))
    return {
        "policy_pass@1": _share(alone, lambda own: own[0]),
        "system@N": _share(system, lambda own: max(own, key=_score)),
        "majority@N": _share(system, _most_voted),
        "pass@N": _share(system, lambda own: next(filter(_is_correct, own), own[0])),
        "num_problems": len(alone),
        "num_trees": max(map(len, system), default=None),
        "num_undecided": sum(one.verdict == Verdict.UNDECIDED for one in predictions),
    }


def _by_problem(predictions: Sequence[Prediction], method: str) -> list[list[Prediction]]:
    groups: dict[str, list[Prediction]] = {}
    for one in predictions:
        if one.method == method:
            groups.setdefault(one.problem_id, []).append(one)
    return list(groups.values())


def _share(
    groups: Sequence[list[Prediction]], chosen: Callable[[list[Prediction]], Prediction]
) -> dict[str, float] | None:
    return share_by_level((own[0].level, _is_correct(chosen(own))) for own in groups) if groups else None


def _is_correct(prediction: Prediction) -> bool:
    return prediction.verdict == Verdict.EQUAL


def _score(prediction: Prediction) -> float:
    return -math.inf if prediction.score is None else prediction.score


def _most_voted(own: list[Prediction]) -> Prediction:
    winner = majority_vote(one.answer_class for one in own)
    return next((one for one in own if one.answer_class == winner), own[0])
