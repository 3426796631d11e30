"""Monte Carlo tree search on one problem: select, expand, execute, evaluate, back up (paper 3.2).

The search sees a ``Question``, which has no answer. What a terminal is worth comes from a ``Judge``: the ground
truth's while data is made, the guide's own score at test time.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rstar_core.answers.extract import extract_answer
from rstar_core.cot.grammar import is_program_complete, parse_step
from rstar_core.engines.base import PolicyEngine, RewardEngine
from rstar_core.mcts.backup import FAILED, back_up
from rstar_core.mcts.selection import select_child
from rstar_core.mcts.tree import ROOT, Tree
from rstar_core.sandbox.base import Outcome, Sandbox, Status
from rstar_core.seeds import derived_seed
from rstar_core.types import Candidate, Generation, Question, Step, StepKind, Terminal

Result = TypeVar("Result")
Judge = Callable[[str, float], Awaitable[float]]  # (answer, the guide's score of the answer step) -> reward


@dataclass(frozen=True, slots=True)
class Budget:
    """How far one tree goes. ``extra_rollouts`` follow only while no terminal has a positive reward.

    ``mixed_rollouts`` follow where terminals of both signs have been reached, which preferences are made from; such a
    tree is never settled.
    ``record_generations``: the tree keeps what engines said, see ``SearchTree``.
    ``num_parallel_leaves`` rollouts of a tree are under way at once; 1 is the paper's sequential search.
    """

    num_candidates: int
    num_rollouts: int
    extra_rollouts: int
    max_depth: int
    uct_c: float
    settled_after: int | None
    num_parallel_leaves: int = 1
    mixed_rollouts: int = 0
    record_generations: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """What a search works with."""

    policy: PolicyEngine
    guide: RewardEngine
    sandbox: Sandbox
    judge: Judge


async def search(question: Question, parts: Parts, budget: Budget, seed: int, tree: Tree | None = None) -> Tree:
    """One finished tree. The same engines, budget and ``seed`` give the same tree.

    ``tree`` is an empty one that grows, for whoever wants to watch.
    """
    return await _Search(question, parts, budget, seed, Tree() if tree is None else tree).run()


async def guides_judge(answer: str, score: float) -> float:
    """The judge of test time: what the guide thought of the answer."""
    return score


@dataclass(frozen=True, slots=True)
class _Expansion:
    """What becomes of a node: one child for each of ``steps``, or the ``reason`` why there is none."""

    candidates: Sequence[Candidate]
    steps: Sequence[Step] = ()
    counts: Sequence[int] = ()
    scores: Sequence[float] = ()
    reason: Terminal | None = None


class _Search:
    def __init__(self, question: Question, parts: Parts, budget: Budget, seed: int, tree: Tree) -> None:
        self._question = question
        self._parts = parts
        self._budget = budget
        self._seed = seed
        self._rng = random.Random(seed)
        self._tree = tree
        self._answers: list[str | None] = []  # of each rollout so far; None where it failed

    async def run(self) -> Tree:
        while number := self._num_next():
            leaves = await self._descend(number)
            await _all([self._judge(leaf) for leaf in dict.fromkeys(leaves)])
            for leaf in leaves:
                back_up(self._tree, leaf, self._tree[leaf].reward or 0.0)
                self._answers.append(self._tree[leaf].answer)
        return self._tree

    def _num_next(self) -> int:
        """How many rollouts set out together next; 0: the tree is finished."""
        if self._is_settled():
            return 0
        done, limit = self._tree.num_rollouts, self._budget.num_rollouts
        if done >= limit:
            limit += self._budget.extra_rollouts if not self._is_solved() else 0
            limit += self._budget.mixed_rollouts if self._is_mixed() else 0
        return min(self._budget.num_parallel_leaves, max(limit - done, 0))

    def _is_solved(self) -> bool:
        return any(node.reward is not None and node.reward > 0 for node in self._tree.nodes)

    def _is_mixed(self) -> bool:
        return self._is_solved() and any(node.reward is not None and node.reward < 0 for node in self._tree.nodes)

    def _is_settled(self) -> bool:
        """Whether the last ``settled_after`` rollouts all gave one answer."""
        needed = self._budget.settled_after
        if self._budget.mixed_rollouts and self._is_mixed():
            return False
        last = self._answers[-needed:] if needed else []
        return needed is not None and len(last) == needed and last[0] is not None and len(set(last)) == 1

    # --- select -----------------------------------------------------------------------------------------------

    async def _descend(self, number: int) -> list[int]:
        """Terminal nodes that so many rollouts reach, expanding each new node on the way.

        They go down level by level, in one order, each seeing those before it as a virtual loss: what the tree
        becomes depends on no clock.
        """
        places, depth = [ROOT] * number, 0
        while any(self._tree[place].terminal is None for place in places):
            await self._expand_all([place for place in dict.fromkeys(places) if self._is_new(place)], depth)
            places = [self._next(place) for place in places]
            depth += 1
        for place in places:
            for index in self._tree.path(place)[1:]:
                self._tree[index].num_under_way -= 1
        return places

    def _is_new(self, index: int) -> bool:
        return self._tree[index].terminal is None and not self._tree[index].children

    def _next(self, index: int) -> int:
        """Where a rollout goes on from ``index``; it stays at a terminal."""
        if self._tree[index].terminal is not None:
            return index
        child = select_child(self._tree, index, self._budget.uct_c, self._rng)
        self._tree[child].num_under_way += 1
        return child

    # --- expand -----------------------------------------------------------------------------------------------

    async def _expand_all(self, indices: Sequence[int], depth: int) -> None:
        """Give each node its children, or the reason why it has none."""
        if depth >= self._budget.max_depth:
            for index in indices:
                self._tree[index].terminal = Terminal.MAX_DEPTH
            return
        for index, expansion in zip(indices, await _all([self._expansion(index) for index in indices]), strict=True):
            self._apply(index, expansion)

    async def _expansion(self, index: int) -> _Expansion:
        prefix = self._tree.prefix(index)
        candidates = await self._parts.policy.propose(
            self._question, prefix, num_candidates=self._budget.num_candidates, seed=derived_seed(self._seed, index)
        )
        if not candidates:
            return _Expansion(candidates, reason=Terminal.TOO_LONG)
        counts, num_unparsable = _merged(candidates, prefix)
        outcomes = await self._execute(prefix, list(counts))
        kept = [_with_output(step, outcome) for step, outcome in outcomes.items() if outcome is None or _is_ok(outcome)]
        if not kept:
            return _Expansion(candidates, reason=_why_childless(num_unparsable, num_failed=len(outcomes)))
        scores = await self._parts.guide.score(self._question, prefix, kept)
        return _Expansion(candidates, kept, [counts[_without_output(step)] for step in kept], scores)

    def _apply(self, index: int, found: _Expansion) -> None:
        self._tree.num_tokens += sum(candidate.num_tokens for candidate in found.candidates)
        if self._budget.record_generations:
            self._tree.generations.append(Generation(index, tuple(found.candidates), tuple(found.scores)))
        self._tree[index].terminal = found.reason
        for step, score, num_samples in zip(found.steps, found.scores, found.counts, strict=True):
            self._add(index, step, score, num_samples)

    def _add(self, parent: int, step: Step, score: float, num_samples: int) -> None:
        child = self._tree[self._tree.add(parent, step, score, num_samples)]
        if step.kind is StepKind.ANSWER:
            child.answer = extract_answer(step.body)
            child.terminal = Terminal.ANSWERED if child.answer else Terminal.UNPARSABLE

    # --- execute ----------------------------------------------------------------------------------------------

    async def _execute(self, prefix: Sequence[Step], steps: Sequence[Step]) -> dict[Step, Outcome | None]:
        """What each step's code did after the code of ``prefix``; None for an answer, which has no code."""
        if is_program_complete(prefix):
            return dict.fromkeys(steps)
        parents = [step.body for step in prefix]
        run, problem_id = self._parts.sandbox.run, self._question.id
        outcomes = await asyncio.gather(*(run(parents, step.body, problem_id) for step in steps))
        return dict(zip(steps, outcomes, strict=True))

    # --- evaluate ---------------------------------------------------------------------------------------------

    async def _judge(self, leaf: int) -> None:
        """Give the terminal its worth, once."""
        node = self._tree[leaf]
        if node.reward is None:
            is_answer = node.terminal is Terminal.ANSWERED and node.answer is not None
            node.reward = await self._parts.judge(node.answer or "", node.initial_value) if is_answer else FAILED


async def _all(work: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Results in order; a task costs more than many an answer, so one alone gets none."""
    return [await work[0]] if len(work) == 1 else list(await asyncio.gather(*work))


def _merged(candidates: Sequence[Candidate], prefix: Sequence[Step]) -> tuple[Counter[Step], int]:
    """Distinct steps in the order of their first sample, with their counts, and how many texts were no step."""
    steps = [parse_step(candidate.text, prefix) for candidate in candidates]
    return Counter(step for step in steps if step is not None), steps.count(None)


def _is_ok(outcome: Outcome) -> bool:
    return outcome.status is Status.OK


def _with_output(step: Step, outcome: Outcome | None) -> Step:
    return step if outcome is None else Step(step.kind, step.body, outcome.stdout)


def _without_output(step: Step) -> Step:
    return Step(step.kind, step.body)


def _why_childless(num_unparsable: int, num_failed: int) -> Terminal:
    """The one reason, where all candidates share it."""
    if num_failed and num_unparsable:
        return Terminal.NO_VALID_CANDIDATE
    return Terminal.CODE_ERROR if num_failed else Terminal.UNPARSABLE
