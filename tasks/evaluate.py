"""Held-out problems + policy + PPM -> accuracies: the policy alone, and the whole system (paper 4.1)."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rstar_core.answers.classes import answer_classes
from rstar_core.answers.equivalence import GRADER_VERSION, Grader, Verdict
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import Engine, Evaluate, Round, SandboxLimits, Search, Seed
from rstar_core.engines.base import PolicyEngine, RewardEngine, ZeroReward
from rstar_core.engines.load import Models, has_ppm, load_policy
from rstar_core.errors import UserError
from rstar_core.io import read_pairs, read_problems, read_trajectories, read_true_states, write_predictions
from rstar_core.journal import Journal, open_journal
from rstar_core.journal.key import JournalKey, journal_key
from rstar_core.mcts.recording import recorded_trees
from rstar_core.mcts.scheduler import Job, grow, in_mixed_order
from rstar_core.mcts.search import Budget, Parts, guides_judge
from rstar_core.mcts.tree import ROOT
from rstar_core.sandbox.base import Sandbox
from rstar_core.sandbox.load import open_sandbox
from rstar_core.sandbox.memo import RememberingSandbox
from rstar_core.seeds import derived_seed
from rstar_core.types import Prediction, PreferencePair, Problem, Question, SearchTree, Terminal, Trajectory
from tasks.accuracies import FLAT, GREEDY, SYSTEM, Row, accuracies, is_correct
from tasks.oracle import Labelled, Oracle, judge_pairs, judge_trajectories, step_accuracy
from tasks.processes import helped, num_at_once, num_processes


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
    oracle: Path,
    pairs: Path | None = None,
    trajectories: Path | None = None,
    predictions: Path,
    seed: Seed,
    engine: Engine,
    search: Search,
    sandbox: SandboxLimits,
    evaluate: Evaluate,
    round: Round | None,
) -> dict[str, Any]:
    """Answer the held-out problems; the truth is looked at only when all searches, of all methods, have ended.

    The policy alone answers all of them, the other methods ``round.num_system_problems``: the same ones in every round
    of as many, and among those of a round of more.

    Metrics, each a share by ``all`` and ``level_<n>``: ``policy_pass@1`` is the policy alone, greedy, one sample;
    ``policy_pass@1_paired`` likewise, of the problems that the others answer.
    With N trees for each problem (``num_trees``) and all their answered terminals: ``system@N`` is the answer with
    the most weight, a terminal's being its frequency times (1 + the PPM's score) / 2; ``best@N`` is the terminal that
    the PPM scores best; ``majority@N`` lets each tree's best terminal vote; ``pass@N`` says whether any is right,
    which only the truth can tell. ``flat@K`` and ``flat_pass@K`` are self-consistency and its bound: as many samples
    as the trees have rollouts (``num_samples``), without search or PPM. All but the first are null without a PPM, and
    where no problem is for them.
    ``interval`` has for each the 95 % bootstrap interval over problems, and for ``system_minus_policy``, paired.
    ``curve`` has them by the number of trees. ``ppm_accuracy_benchmark`` is how often the PPM ranks a right terminal
    above a wrong one of the same problem: the mean over problems that have both; ties are half.

    By the oracle, null without one: ``ppm_step_accuracy`` (of the system's solutions, see ``oracle.step_accuracy``),
    and of the round's own training data ``pair_label_noise``, ``pair_chosen_right``, ``pair_rejected_wrong`` and
    ``right_with_wrong_step``. Beside them ``num_problems``, ``num_system_problems``, ``num_tokens`` (that the policy
    wrote, also by method), ``num_undecided`` answers and ``num_failed`` trees whose search was given up: both wrong;
    and ``num_too_long`` trees in which the policy had no room for a step somewhere.

    Raises:
        UserError: an input is missing or empty.
    """
    num_system_problems = round.num_system_problems if round else 0
    inputs = Inputs(round_id, benchmark, policy, ppm, seed, engine, search, sandbox, evaluate, num_system_problems)
    problems = inputs.read_problems()
    with closing(open_journal(inputs.key())) as journal:
        started, num_before = time.monotonic(), len(journal)
        with helped(partial(help_with, inputs), num_processes(engine) - 1):
            level = search_all(inputs, problems, load_policy(policy, engine), journal)
        seconds = time.monotonic() - started

        async def mark_all() -> tuple[list[_Marks], Row]:
            async with open_sandbox(sandbox) as opened, GraderSandbox() as graders:
                examiners = _Examiners(Grader(graders), journal)
                judge = Oracle(read_true_states(oracle), RememberingSandbox(opened))
                marks = [
                    await examiners.mark(name, inputs.problems_of(name, problems), num_trees)
                    for name, num_trees in inputs.num_trees_by_method().items()
                ]
                judged = {
                    **await judge_pairs(judge, read_both(pairs), evaluate.num_judged),
                    **await judge_trajectories(judge, read_verified(trajectories), evaluate.num_judged),
                    "ppm_step_accuracy": step_accuracy(await examiners.labelled(marks[-1], judge)),
                }
                return marks, judged

        marks, judged = asyncio.run(mark_all())
        answered = [prediction for its in marks for prediction in its.predictions]
        write_predictions(predictions, answered)
        share = 1 - num_before / max(len(journal), 1)  # what the journal had is not this run's
        journal.discard()
    tokens = {f"num_tokens_{its.method}": its.num_tokens for its in marks}
    totals = {name: sum(getattr(its, name) for its in marks) for name in ("num_tokens", "num_failed", "num_too_long")}
    timings = {"tokens/s": to_tenths(totals["num_tokens"] * share / seconds), "sandbox": level}
    return {**accuracies(answered), **judged, **totals, **tokens, "timings": timings}


def to_tenths(rate: float) -> float:
    return round(rate, 1)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the searches depend on: all that another process needs to share them. The truth is no part of it."""

    round_id: str
    benchmark: Path
    policy: Path
    ppm: Path
    seed: Seed
    engine: Engine
    search: Search
    sandbox: SandboxLimits
    evaluate: Evaluate
    num_system_problems: int | None

    def key(self) -> JournalKey:
        names = ("seed", "engine", "search", "sandbox", "evaluate", "num_system_problems")
        params = {**{name: getattr(self, name) for name in names}, "GRADER_VERSION": GRADER_VERSION}
        return journal_key("evaluate", self.round_id, (self.benchmark, self.policy, self.ppm), params)

    def read_problems(self) -> list[Problem]:
        if problems := read_problems(self.benchmark)[: self.evaluate.max_problems]:
            return problems
        raise UserError(
            f"{self.benchmark}: no held-out problems; add a source with split 'benchmark' to ingest.sources"
        )

    def num_trees_by_method(self) -> dict[str, int]:
        """Trees for each problem, by method, in their order; flat samples are as many as the trees have rollouts."""
        if self.num_system_problems == 0 or not has_ppm(self.ppm):
            return {GREEDY: 1}
        its = self.evaluate
        return {GREEDY: 1, FLAT: its.num_trees * its.num_rollouts, SYSTEM: its.num_trees}

    def problems_of(self, method: str, problems: Sequence[Problem]) -> list[Problem]:
        """Those of ``problems`` that ``method`` answers, in their order."""
        if method == GREEDY:
            return list(problems)
        drawn = sorted(problems, key=lambda problem: derived_seed(self.seed, "system", problem.id))
        chosen = {problem.id for problem in drawn[: self.num_system_problems]}
        return [problem for problem in problems if problem.id in chosen]


def help_with(inputs: Inputs) -> None:
    """Search beside the process that will mark, into its journal."""
    with closing(open_journal(inputs.key())) as journal:
        search_all(inputs, inputs.read_problems(), load_policy(inputs.policy, inputs.engine), journal)


def search_all(inputs: Inputs, problems: Sequence[Problem], models: Models, journal: Journal) -> str:
    """Have the trees of all methods in ``journal``; the isolation that their code ran under.

    A search is given a question, which has no answer: none can see one.
    """
    its_methods = methods(models, inputs)

    async def work() -> str:
        async with models, open_sandbox(inputs.sandbox) as opened:
            box = RememberingSandbox(opened)
            for method in its_methods:
                what = f"evaluate {inputs.round_id}, {method.name}"
                questions = [problem.question for problem in inputs.problems_of(method.name, problems)]
                jobs = (
                    _job(inputs, method, question, index, box)
                    for question in in_mixed_order(questions)
                    for index in range(method.num_trees)
                )
                num_jobs = len(questions) * method.num_trees
                await grow(what, jobs, num_jobs, journal, num_at_once(inputs.engine, num_jobs))
            return box.level

    return asyncio.run(work())


def _job(inputs: Inputs, method: Method, question: Question, tree_index: int, sandbox: Sandbox) -> Job:
    return Job(
        key=record_key(method.name, question.id, tree_index),
        question=question,
        round_id=inputs.round_id,
        tree_index=tree_index,
        parts=Parts(method.policy, method.guide, sandbox, guides_judge),
        budget=method.budget,
        seed=derived_seed(inputs.seed, "evaluate", inputs.round_id, method.name, question.id, tree_index),
    )


def read_both(pairs: Path | None) -> list[PreferencePair]:
    """The round's training and validation pairs; r0 has none."""
    return [pair for name in ("train", "validation") for pair in read_pairs(pairs / f"{name}.parquet")] if pairs else []


def read_verified(trajectories: Path | None) -> list[Trajectory]:
    return read_trajectories(trajectories / "trajectories.parquet") if trajectories else []


def methods(models: Models, inputs: Inputs) -> list[Method]:
    """Greedy is a search of one candidate and one rollout, as is a flat sample; the last, the system, needs a PPM."""
    search, evaluate, num_trees = inputs.search, inputs.evaluate, inputs.num_trees_by_method()
    depth, uct_c = search.max_depth, search.uct_c
    greedy = models.policy(0.0, 1.0, search.max_step_tokens)
    one = Budget(1, 1, 0, depth, uct_c, None)
    alone = Method(GREEDY, greedy, ZeroReward(), one, num_trees[GREEDY])
    if SYSTEM not in num_trees:
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
    flat = Method(FLAT, sampler, ZeroReward(), one, num_trees[FLAT])
    return [alone, flat, Method(SYSTEM, sampler, models.guide("ppm", inputs.ppm), budget, num_trees[SYSTEM])]


# --- answers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Marks:
    """A method's predictions, by problem and tree, and what the metrics count of its trees."""

    method: str
    predictions: list[Prediction]
    num_tokens: int
    num_failed: int
    num_too_long: int


_NUM_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class _Examiners:
    """Who compare what the searches found with the truth."""

    grader: Grader
    journal: Journal

    async def mark(self, method: str, problems: Sequence[Problem], num_trees: int) -> _Marks:
        """All trees of a method, ``_NUM_AT_ONCE`` problems at a time."""
        predictions: list[Prediction] = []
        num_tokens = num_failed = num_too_long = 0
        for start in range(0, len(problems), _NUM_AT_ONCE):
            some = problems[start : start + _NUM_AT_ONCE]
            trees = [list(self._grown(method, problem, num_trees)) for problem in some]
            pairs = zip(some, trees, strict=True)
            graded = await asyncio.gather(*(self._grade(method, problem, its) for problem, its in pairs))
            predictions += [one for its in graded for one in its]
            num_tokens += sum(tree.num_tokens for its in trees for tree in its)
            num_failed += sum(tree.is_given_up for its in trees for tree in its)
            num_too_long += sum(tree.has_too_long for its in trees for tree in its)
        return _Marks(method, predictions, num_tokens, num_failed, num_too_long)

    def _grown(self, method: str, problem: Problem, num_trees: int) -> Iterator[SearchTree]:
        return recorded_trees(self.journal, (record_key(method, problem.id, index) for index in range(num_trees)))

    async def _grade(self, method: str, problem: Problem, trees: Sequence[SearchTree]) -> list[Prediction]:
        """One prediction for each answered terminal that was reached, or one without an answer for a tree."""
        ends = [(tree, leaf) for tree in trees for leaf in reached(tree) or [ROOT]]
        answers = [tree.nodes[leaf].answer for tree, leaf in ends]
        classes = await answer_classes(answers, self.grader)
        return [
            Prediction(
                problem_id=problem.id,
                level=problem.level,
                method=method,
                tree_index=tree.tree_index,
                leaf=leaf,
                answer=answer,
                scores=tuple(tree.nodes[index].prior_value for index in tree.path(leaf)),
                frequency=frequency(tree, leaf),
                answer_class=answer_class,
                verdict=await self._verdict(problem, answer),
            )
            for (tree, leaf), answer, answer_class in zip(ends, answers, classes, strict=True)
        ]

    async def labelled(self, marks: _Marks, oracle: Oracle) -> list[Labelled]:
        """A right and a wrong solution of each problem, where there are, with the oracle's first wrong step."""
        chosen: dict[tuple[str, bool], Prediction] = {}
        for one in marks.predictions:
            if one.answer is not None and one.method == SYSTEM and oracle.knows(one.problem_id):
                chosen.setdefault((one.problem_id, is_correct(one)), one)
        keys = [record_key(one.method, one.problem_id, one.tree_index) for one in chosen.values()]
        trees = recorded_trees(self.journal, keys)
        steps = [tree.steps(one.leaf) for tree, one in zip(trees, chosen.values(), strict=True)]
        firsts = await asyncio.gather(
            *(oracle.first_wrong(one.problem_id, its) for one, its in zip(chosen.values(), steps, strict=True))
        )
        return [(first, one.scores[:-1]) for first, one in zip(firsts, chosen.values(), strict=True)]

    async def _verdict(self, problem: Problem, answer: str | None) -> Verdict:
        if answer is None:
            return Verdict.DIFFERENT
        return await self.grader.verdict(problem.answer, answer, problem.allowed)


def record_key(method: str, problem_id: str, tree_index: int) -> str:
    return f"{method}/{problem_id}/{tree_index}"


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
