"""Training problems + policy + guide -> search trees (paper 3.2)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rstar_core.answers.equivalence import GRADER_VERSION, Grader, Verdict
from rstar_core.answers.warm import GraderSandbox
from rstar_core.config import Engine, Round, SandboxLimits, Search, Seed
from rstar_core.engines.base import PolicyEngine, RewardEngine
from rstar_core.engines.load import Models, load_policy
from rstar_core.errors import UserError
from rstar_core.io import read_problems
from rstar_core.journal import Journal, open_journal
from rstar_core.journal.key import JournalKey, journal_key
from rstar_core.mcts.recording import recorded_trees
from rstar_core.mcts.scheduler import Job, grow, in_mixed_order
from rstar_core.mcts.search import Budget, Judge, Parts
from rstar_core.metrics import share_by_level
from rstar_core.publishing import publish_folder
from rstar_core.sandbox.base import Sandbox
from rstar_core.sandbox.load import open_sandbox
from rstar_core.sandbox.memo import RememberingSandbox
from rstar_core.seeds import derived_seed
from rstar_core.shards import write_trees
from rstar_core.types import Problem, SearchTree
from tasks.runner.processes import helped, num_at_once, num_processes

REWARDS = {Verdict.EQUAL: 1.0, Verdict.DIFFERENT: -1.0, Verdict.UNDECIDED: 0.0}


def synthesize(
    *,
    round_id: str,
    problems: Path,
    policy: Path,
    ppm: Path,
    trees: Path,
    seed: Seed,
    engine: Engine,
    search: Search,
    sandbox: SandboxLimits,
    round: Round,
) -> dict[str, Any]:
    """Search for solutions of every training problem; terminals are judged by the ground truth.

    A problem that its first tree leaves unsolved gets more trees, up to ``round.num_trees``, each with its own seed.
    A finished tree is on disk at once: killed and started again, the stage goes on with the others. Metrics:
    ``num_problems``, ``num_trees``, ``num_failed`` (trees whose search was given up), ``num_too_long`` (trees in which
    the policy had no room for a step somewhere), ``num_rollouts``, ``num_tokens`` (that the policy wrote),
    ``num_solved`` and ``coverage`` by the search's own verdicts; ``verify`` has the last word.

    Raises:
        UserError: an input is missing or empty, or the guide needs a PPM that its round does not have.
    """
    inputs = Inputs(round_id, problems, policy, ppm, seed, engine, search, sandbox, round)
    its_problems = inputs.read_problems()
    with closing(open_journal(inputs.key())) as journal:
        started, num_before = time.monotonic(), len(journal)
        with helped(partial(help_with, inputs), num_processes(engine) - 1):
            level = grow_all(inputs, its_problems, inputs.searchers(), journal)
        seconds = time.monotonic() - started
        totals = Totals()
        with publish_folder(trees) as folder:
            write_trees(folder, totals.count(recorded_trees(journal, recorded(journal, its_problems, round.num_trees))))
        journal.discard()
    if totals.num_too_long:
        print(
            f"{round_id}: in {totals.num_too_long} of {totals.num_trees} trees a text left no room for a step; "
            "such rollouts count as failed (too_long)",
            file=sys.stderr,
        )
    return {**totals.metrics(its_problems), "timings": {**totals.rates(num_before, seconds), "sandbox": level}}


# --- growing, here and in other processes ---------------------------------------------------------------------

Searchers = tuple[Models, PolicyEngine, RewardEngine]  # and the two engines that they made


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the trees depend on: all that another process needs to grow them too."""

    round_id: str
    problems: Path
    policy: Path
    ppm: Path
    seed: Seed
    engine: Engine
    search: Search
    sandbox: SandboxLimits
    round: Round

    def key(self) -> JournalKey:
        sections = {name: getattr(self, name) for name in ("seed", "engine", "search", "sandbox")}
        params = {**sections, f"rounds.{self.round_id}": self.round, "GRADER_VERSION": GRADER_VERSION}
        return journal_key("synthesize", self.round_id, (self.problems, self.policy, self.ppm), params)

    def read_problems(self) -> list[Problem]:
        if its := read_problems(self.problems):
            return its
        raise UserError(f"{self.problems}: no training problems; add a source with split 'train' to ingest.sources")

    def searchers(self) -> Searchers:
        models = load_policy(self.policy, self.engine)
        return models, models.sampler(self.search), models.guide(self.round.guide, self.ppm)


def help_with(inputs: Inputs) -> None:
    """Grow trees of these inputs into their journal, beside the process that will publish them."""
    with closing(open_journal(inputs.key())) as journal:
        grow_all(inputs, inputs.read_problems(), inputs.searchers(), journal)


def grow_all(inputs: Inputs, problems: Sequence[Problem], searchers: Searchers, journal: Journal) -> str:
    """Have all trees in ``journal``; the isolation that their code ran under."""
    models, policy, guide = searchers

    async def work() -> str:
        async with models, open_sandbox(inputs.sandbox) as opened, GraderSandbox() as graders:
            box = RememberingSandbox(opened)
            budget = budget_of(inputs.search, inputs.round)
            synthesis = _Synthesis(inputs.round_id, inputs.seed, policy, guide, box, Grader(graders), budget, journal)
            await synthesis.run(problems, inputs.round.num_trees, partial(num_at_once, inputs.engine))
            return box.level

    return asyncio.run(work())


def budget_of(search: Search, round: Round) -> Budget:
    return Budget(
        num_candidates=round.num_candidates,
        num_rollouts=round.num_rollouts,
        extra_rollouts=round.extra_rollouts,
        max_depth=search.max_depth,
        uct_c=search.uct_c,
        settled_after=search.settled_after,
        num_parallel_leaves=search.num_parallel_leaves,
        mixed_rollouts=round.mixed_rollouts,
    )


@dataclass(frozen=True, slots=True)
class _Synthesis:
    round_id: str
    seed: int
    policy: PolicyEngine
    guide: RewardEngine
    sandbox: Sandbox
    grader: Grader
    budget: Budget
    journal: Journal

    async def run(self, problems: Sequence[Problem], num_trees: int, num_at_once: Callable[[int], int]) -> None:
        """A tree for each problem, then one more for each that is unsolved, and again."""
        unsolved = list(problems)
        for tree_index in range(num_trees):
            what = f"synthesize {self.round_id}" + (f", tree {tree_index + 1}" if tree_index else "")
            jobs = (self._job(problem, tree_index) for problem in in_mixed_order(unsolved))
            await grow(what, jobs, len(unsolved), self.journal, num_at_once(len(unsolved)))
            if tree_index + 1 < num_trees:
                trees = recorded_trees(self.journal, (record_key(problem, tree_index) for problem in unsolved))
                unsolved = [problem for problem, tree in zip(unsolved, trees, strict=True) if not is_solved(tree)]

    def _job(self, problem: Problem, tree_index: int) -> Job:
        return Job(
            key=record_key(problem, tree_index),
            question=problem.question,
            round_id=self.round_id,
            tree_index=tree_index,
            parts=Parts(self.policy, self.guide, self.sandbox, truths_judge(self.grader, problem)),
            budget=self.budget,
            seed=derived_seed(self.seed, self.round_id, problem.id, tree_index),
        )


def truths_judge(grader: Grader, problem: Problem) -> Judge:
    """The judge while data is made: +1 right, -1 wrong, 0 undecided."""

    async def judge(answer: str, score: float) -> float:
        return REWARDS[await grader.verdict(problem.answer, answer, problem.allowed)]

    return judge


def is_solved(tree: SearchTree) -> bool:
    return any(node.reward is not None and node.reward > 0 for node in tree.nodes)


# --- results --------------------------------------------------------------------------------------------------


def record_key(problem: Problem, tree_index: int) -> str:
    return f"{problem.id}/{tree_index}"


def recorded(journal: Journal, problems: Sequence[Problem], num_trees: int) -> Iterator[str]:
    """The keys of all trees, by problem, then tree."""
    keys = (record_key(problem, tree_index) for problem in problems for tree_index in range(num_trees))
    return (key for key in keys if key in journal)


@dataclass(slots=True)
class Totals:
    """What the trees that have passed through ``count`` add up to."""

    num_trees: int = 0
    num_failed: int = 0
    num_too_long: int = 0
    num_rollouts: int = 0
    num_tokens: int = 0
    solved: set[str] = field(default_factory=set)

    def count(self, trees: Iterable[SearchTree]) -> Iterator[SearchTree]:
        for tree in trees:
            self.num_trees += 1
            self.num_failed += tree.is_given_up
            self.num_too_long += tree.has_too_long
            self.num_rollouts += tree.num_rollouts
            self.num_tokens += tree.num_tokens
            if is_solved(tree):
                self.solved.add(tree.problem_id)
            yield tree

    def metrics(self, problems: Sequence[Problem]) -> dict[str, Any]:
        return {
            "num_problems": len(problems),
            "num_trees": self.num_trees,
            "num_failed": self.num_failed,
            "num_too_long": self.num_too_long,
            "num_rollouts": self.num_rollouts,
            "num_tokens": self.num_tokens,
            "num_solved": len(self.solved),
            "coverage": share_by_level((problem.level, problem.id in self.solved) for problem in problems),
        }

    def rates(self, num_before: int, seconds: float) -> dict[str, float]:
        """What was done by the second; the ``num_before`` trees that an earlier attempt left were not."""
        share = 1 - num_before / max(self.num_trees, 1)
        per_second = {"tokens/s": self.num_tokens * share / seconds, "trees/s": self.num_trees * share / seconds}
        return {name: round(rate, 2) for name, rate in per_second.items()}
