"""Search trees of training problems: more for those that the first leaves unsolved, judged by the truth (paper 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rstar_core.answers.equivalence import Grader, Verdict
from rstar_core.config import Round, Search
from rstar_core.engines.base import PolicyEngine, RewardEngine
from rstar_core.journal import Journal
from rstar_core.mcts.recording import recorded_trees
from rstar_core.mcts.scheduler import Job, grow, in_mixed_order
from rstar_core.mcts.search import Budget, Judge, Parts
from rstar_core.metrics import share_by_level
from rstar_core.sandbox.base import Sandbox
from rstar_core.seeds import derived_seed
from rstar_core.types import Problem, SearchTree

REWARDS = {Verdict.EQUAL: 1.0, Verdict.DIFFERENT: -1.0, Verdict.UNDECIDED: 0.0}


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
        record_generations=search.record_generations,
    )


@dataclass(frozen=True, slots=True)
class Synthesis:
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
